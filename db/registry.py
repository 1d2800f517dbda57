"""Models and data sets that were given a name: a name, a kind, and what it stands for in a configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, select

from db import upsert
from db.statuses import Kind
from db.tables import registered, runs
from trainer.errors import StoreError

LONGEST_NAME = 80
LONGEST_NOTE = 2000
MOST_LISTED = 500
MOST_USERS = 20
"""Runs that are named of those that used something."""
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


class Registered(StrEnum):
    """What a name stands for."""

    MODEL = "model"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class Entry:
    """One of them."""

    kind: Registered
    name: str
    content: Mapping[str, Any]
    """Of a model: {"path": ...}. Of data: the section `data` of a configuration."""
    note: str
    created_by: str
    created_at: float
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Users:
    """The trainings that used something."""

    count: int
    newest: tuple[tuple[int, str], ...]
    """(id, name), the newest first, at most `MOST_USERS`."""


def add(connection: Connection, entry: Entry) -> None:
    """Give a name.

    Raises:
        StoreError: the name or the note is refused, or the name is taken.
    """
    if len(entry.name) > LONGEST_NAME or not _NAME.fullmatch(entry.name):
        raise StoreError(
            f"name: {entry.name[:90]!r} is refused; give letters, digits and . _ + - (no slash: those are folders and names of the hub), at most {LONGEST_NAME}"
        )
    if len(entry.note) > LONGEST_NOTE:
        raise StoreError(f"note: {len(entry.note):,} characters; give at most {LONGEST_NOTE:,}")
    values = {name: getattr(entry, name) for name in Entry.__dataclass_fields__}
    made = connection.execute(
        upsert.insert(connection, registered)
        .values({**values, "content": dict(entry.content)})
        .on_conflict_do_nothing()
        .returning(registered.c.name)
    )
    if made.scalar_one_or_none() is None:
        raise StoreError(f"{entry.kind} {entry.name!r} is there already; take another name, or remove that one first")


def remove(connection: Connection, kind: Registered, name: str) -> None:
    """Take a name away; what it stood for, and runs that used it, stay as they are.

    Raises:
        StoreError: there is none.
    """
    removed = connection.execute(delete(registered).where(*_is(kind, name)))
    if not removed.rowcount:
        raise StoreError(_missing(kind, name))


def find(connection: Connection, kind: Registered, name: str) -> Entry | None:
    """What a name stands for; None where it stands for nothing."""
    row = connection.execute(select(*_columns()).where(*_is(kind, name))).one_or_none()
    return None if row is None else _entry(row)


def get(connection: Connection, kind: Registered, name: str) -> Entry:
    """The same.

    Raises:
        StoreError: it stands for nothing.
    """
    found = find(connection, kind, name)
    if found is None:
        raise StoreError(_missing(kind, name))
    return found


def listed(connection: Connection, kind: Registered) -> list[Entry]:
    """All of a kind, by name."""
    statement = select(*_columns()).where(registered.c.kind == kind).order_by(registered.c.name).limit(MOST_LISTED)
    return [_entry(row) for row in connection.execute(statement)]


def users(connection: Connection, section: str, values: Mapping[str, str]) -> Users:
    """The trainings in whose configuration a section has these values, such as ("model", {"path": ...})."""
    where: list[ColumnElement[bool]] = [runs.c.kind == Kind.TRAINING]
    where += [runs.c.config[(section, name)].as_string() == value for name, value in values.items()]
    count = connection.execute(select(func.count()).select_from(runs).where(*where)).scalar_one()
    newest = connection.execute(
        select(runs.c.id, runs.c.name).where(*where).order_by(runs.c.id.desc()).limit(MOST_USERS)
    )
    return Users(count, tuple((run_id, name) for run_id, name in newest))


def _columns() -> list[Any]:
    return [registered.c[name] for name in Entry.__dataclass_fields__]


def _entry(row: Any) -> Entry:
    return Entry(Registered(row.kind), *row[1:])


def _is(kind: Registered, name: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return registered.c.kind == kind, registered.c.name == name


def _missing(kind: Registered, name: str) -> str:
    return f"{kind} {name!r} does not exist; `mtprl {'models' if kind == Registered.MODEL else 'data'}` lists those that do"
