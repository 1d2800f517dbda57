"""INSERT ... ON CONFLICT, which SQLAlchemy spells once per database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert(connection: Connection, table: Table) -> sqlite.Insert:
    """An INSERT that offers `on_conflict_do_update` and `on_conflict_do_nothing`, alike on both databases."""
    return _INSERT[connection.dialect.name](table)  # type: ignore[return-value]


def replace(
    connection: Connection, table: Table, where: Callable[[Any], ColumnElement[bool]] | None = None
) -> sqlite.Insert:
    """An INSERT whose row takes the place of the one with its primary key, or only where `where(new row)` holds."""
    statement = insert(connection, table)
    new = statement.excluded
    values = {column.name: new[column.name] for column in table.columns if not column.primary_key}
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=values, where=None if where is None else where(new)
    )
