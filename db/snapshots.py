"""Snapshots: what the leaderboard showed at one time, kept for good.

A snapshot's token is a hash of all that it holds. So a link names its content, the same content is kept once, and a row that
somebody changed by hand is found out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import Connection, select

from db import upsert
from db.tables import snapshots
from trainer.errors import StoreError

LONGEST_TITLE = 200
"""Characters: what the store's column holds."""
MOST_LISTED = 200
_TOKEN_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One of them, its content apart."""

    token: str
    title: str
    created_at: float
    """Seconds since the epoch."""


def keep(connection: Connection, title: str, content: str, now: float) -> Snapshot:
    """Store a snapshot.

    Raises:
        StoreError: the title is empty or too long.
    """
    if not 0 < len(title.strip()) <= LONGEST_TITLE:
        raise StoreError(f"title: {title[:40]!r} has {len(title)} characters; give one of 1 to {LONGEST_TITLE}")
    kept = Snapshot(_token(title, content, now), title, now)
    values = {"token": kept.token, "title": title, "created_at": now, "content": content}
    connection.execute(upsert.insert(connection, snapshots).values(values).on_conflict_do_nothing())
    return kept


def read(connection: Connection, token: str) -> tuple[Snapshot, str]:
    """A snapshot and its content.

    Raises:
        StoreError: there is none of this token, or its row was changed.
    """
    row = connection.execute(select(snapshots).where(snapshots.c.token == token)).one_or_none()
    if row is None:
        raise StoreError(f"snapshot {token!r} does not exist; `mtprl leaderboard --snapshots` lists those that do")
    if _token(row.title, row.content, row.created_at) != token:
        raise StoreError(
            f"snapshot {token!r} was changed in the database after it was frozen: its content is not the one of its link"
        )
    return Snapshot(token, row.title, row.created_at), row.content


def listed(connection: Connection) -> list[Snapshot]:
    """The newest first."""
    columns = [snapshots.c[name] for name in Snapshot.__dataclass_fields__]
    statement = select(*columns).order_by(snapshots.c.created_at.desc(), snapshots.c.token).limit(MOST_LISTED)
    return [Snapshot(*row) for row in connection.execute(statement)]


def _token(title: str, content: str, created_at: float) -> str:
    said = json.dumps([title, created_at, content])
    return hashlib.sha256(said.encode()).hexdigest()[:_TOKEN_LENGTH]
