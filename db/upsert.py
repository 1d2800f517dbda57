"""INSERT ... ON CONFLICT, which SQLAlchemy spells once per database."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

Condition = Callable[[Any], ColumnElement[bool]]


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that offers `on_conflict_do_update` and `on_conflict_do_nothing`, alike on both databases."""
    return _INSERT[connection.dialect.name](table)


def replace(connection: Connection, table: Table, where: Condition | None = None) -> sqlite.Insert:
    """An INSERT whose row takes the place of the one with its primary key, or only where `where(new row)` holds.

    `where` must be a function of a module: statements are kept by it, because to build one takes longer than to run it.
    """
    return _replace(connection.dialect.name, table, where)


@cache
def _replace(dialect: str, table: Table, where: Condition | None) -> sqlite.Insert:
    statement = _INSERT[dialect](table)
    new = statement.excluded
    values = {column.name: new[column.name] for column in table.columns if not column.primary_key}
    condition = None if where is None else where(new)
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values, where=condition)
