"""Runs whose owner is gone: what a worker does for those of its host, and for those of hosts that nobody hears of any more.

A run of this host whose supervisor died gets another supervisor, which goes on with the trainer where it lives. A run of another
host can only be given up: once nothing has been heard of the host for long, and no trainer holds the run's folder.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from backend import processes, store
from backend.processes import Process
from backend.trainer_process import MARK, TrainerProcess, unmark
from db import claims
from db.claims import OwnerRow
from trainer.folder import is_held

NEVER_HEARD = 15.0
"""Seconds that a new supervisor has to record itself."""
HOST_GONE = 120.0
"""Seconds without any sign of a host after which its runs are given up."""
LONGEST_GAP = 20.0
"""Seconds between two looks after which what was seen before says nothing: the store or this worker was away meanwhile."""
ORPHANS_EVERY = 30.0
"""Seconds between two searches for trainers that belong to nobody."""

log = logging.getLogger(__name__)


def lost_its_supervisor(owner: OwnerRow, now: float) -> bool:
    """Whether the silent owner, of this host, has no supervisor any more."""
    if owner.supervisor_pid is None:
        return owner.heartbeat_at < now - NEVER_HEARD
    return not processes.alive(owner.supervisor_pid, owner.supervisor_started)


def trainer_lives(owner: OwnerRow) -> bool:
    """Whether the trainer of an owner of this host lives, recorded or not."""
    if processes.alive(owner.trainer_pid, owner.trainer_started):
        return True
    return TrainerProcess.find(Path(owner.folder), owner.attempt) is not None


class Absences:
    """How long nothing has been heard of the owners of runs on other hosts.

    Measured by this worker's own clock from when it saw the last sign change, so that neither a wrong clock of another host nor an
    outage of the database, which silences everybody, makes a run look abandoned.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], tuple[tuple[float, float], float]] = {}
        self._looked_at = 0.0

    def gone(self, rows: Sequence[tuple[OwnerRow, float]], now: float) -> list[OwnerRow]:
        """The owners of which, and of whose host's workers, nothing was heard for HOST_GONE seconds.

        Args:
            rows: each owner elsewhere, and when a worker of its host was last heard of.
            now: monotonic seconds.
        """
        before = self._seen if now - self._looked_at < LONGEST_GAP else {}
        self._looked_at = now
        self._seen = {}
        for owner, worker_at in rows:
            key, sign = (owner.run_id, owner.attempt), (owner.heartbeat_at, worker_at)
            last_sign, since = before.get(key, (None, now))
            self._seen[key] = (sign, since if sign == last_sign else now)
        return [owner for owner, _ in rows if now - self._seen[owner.run_id, owner.attempt][1] > HOST_GONE]


def give_up(owner: OwnerRow) -> None:
    """Take the run from an owner whose host is gone; it is queued again, or ends."""
    if is_held(Path(owner.folder)):
        log.warning("run %d: nothing is heard of %s, but its trainer holds the run's folder", owner.run_id, owner.host)
        return
    reason = f"its host {owner.host} has not been heard of for {HOST_GONE:g} s"
    with store.writing() as connection:
        status = claims.lose(connection, run_id=owner.run_id, attempt=owner.attempt, reason=reason, now=time.time())
    log.warning("run %d is %s: %s", owner.run_id, status or "somebody else's", reason)


class Orphans:
    """Ends trainers of this host that are left of attempts which own their run no more."""

    def __init__(self, grace: float):
        self._grace = grace
        self._asked: dict[Process, float] = {}
        self._looked_at = -ORPHANS_EVERY

    def end(self) -> None:
        """Look for some, now and then: SIGTERM at first, SIGKILL where that did not help."""
        now = time.monotonic()
        if now - self._looked_at < (1.0 if self._asked else ORPHANS_EVERY):
            return
        self._looked_at = now
        orphans = self._find()
        self._asked = {process: self._asked.get(process, now) for process in orphans}
        for process, asked in self._asked.items():
            if asked == now:
                log.warning("process %d belongs to an attempt that is over; it is ended", process.pid)
                processes.ask_to_end(process)
            elif now - asked > self._grace:
                processes.kill(process)

    def _find(self) -> list[Process]:
        found = {process: unmark(value) for process, value in processes.marked(MARK).items()}
        if not found:
            return []
        with store.reading() as connection:
            owners = claims.active_attempts(connection, sorted({folder for _, folder in found.values()}))
        # Trainers of runs that are not in this store are none of our business.
        return [
            process for process, (attempt, folder) in found.items() if folder in owners and owners[folder] != attempt
        ]
