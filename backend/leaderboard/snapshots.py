"""Freezing boards for good: a link shows what it showed when it was made, whatever runs come or go later."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from backend.leaderboard.board import Board, boards_from_json, boards_to_json
from db import snapshots
from db.snapshots import Snapshot
from trainer.errors import StoreError

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Frozen:
    """The boards of one time."""

    snapshot: Snapshot
    experiment: str | None
    """The experiment whose boards they are; None: of all."""
    boards: list[Board]


def freeze(connection: Connection, title: str, boards: Sequence[Board], experiment: str | None) -> Snapshot:
    """Keep the boards as they are.

    Raises:
        StoreError: there are none, or the title is empty or too long.
    """
    if not boards:
        raise StoreError("there is no board to freeze yet: no finished training has an evaluation after its last step")
    content = f'{{"format": {_FORMAT}, "experiment": {json.dumps(experiment)}, "boards": {boards_to_json(boards)}}}'
    return snapshots.keep(connection, title.strip(), content, time.time())


def thaw(connection: Connection, token: str) -> Frozen:
    """The boards of a snapshot.

    Raises:
        StoreError: there is none of this token, it was changed, or it is of a newer version of the program.
    """
    snapshot, text = snapshots.read(connection, token)
    content = json.loads(text)
    if content["format"] != _FORMAT:
        raise StoreError(
            f"snapshot {token!r} has format {content['format']}, this version reads {_FORMAT}; use the version that made it"
        )
    return Frozen(snapshot, content["experiment"], boards_from_json(json.dumps(content["boards"])))


def listed(connection: Connection) -> list[Snapshot]:
    """The newest first."""
    return snapshots.listed(connection)


def moved_on(frozen: Frozen, live: Sequence[Board]) -> bool:
    """Whether the live boards say something else by now."""
    return boards_to_json(frozen.boards) != boards_to_json(live)
