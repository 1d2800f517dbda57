"""Why queued runs wait, in words, by the rule that workers claim them by."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import Connection

from backend import fleet
from db import queue
from db.queue import Offer, Turn


def reasons(connection: Connection) -> dict[int, str]:
    """By run: why it waits, for the queued runs that are next."""
    offers = queue.offers(connection, time.time() - fleet.WORKER_SILENT)
    nobody = "" if offers else _nobody(connection)
    turns = queue.turns(queue.queued(connection), offers, queue.taken(connection))
    return {turn.run.run_id: _with_cause(turn, nobody or _in_words(turn, offers)) for turn in turns}


def _nobody(connection: Connection) -> str:
    if fleet.alive(connection):
        return "every worker is drained; `mtprl undrain` lets them take runs"
    return "no worker is alive; run `mtprl up`"


def _in_words(turn: Turn, offers: Sequence[Offer]) -> str:
    wanted, place = turn.run.devices, f"place {turn.place} in the queue"
    devices = f"{wanted} devices" if wanted > 1 else "a device"
    most = max(len(offer.names) for offer in offers)
    if most < wanted:
        return f"waits for {devices}; no worker has more than {most}"
    if turn.given is not None:
        return f"{place}; next on {turn.given.host}"
    if turn.held is None:
        return place
    return f"{place}; waits for {devices}, {turn.free} of {len(turn.held.names)} free on {turn.held.host}"


def _with_cause(turn: Turn, words: str) -> str:
    return f"{words} ({turn.run.reason})" if turn.run.reason else words
