"""INSERT ... ON CONFLICT, which SQLAlchemy spells once per database, and the way in for many rows, which each has its own of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, MetaData, Select, Table, delete, select
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
    return _replace(connection.dialect.name, table, where, None)


def replace_selected(connection: Connection, table: Table, selected: Callable[[], Select]) -> sqlite.Insert:
    """An INSERT of what `selected()` selects, in the order of the table's columns; rows take the place of those with their primary keys.

    The SELECT must have a WHERE, without which SQLite mistakes ON CONFLICT for a join. `selected` must be a function of a module.
    """
    return _replace(connection.dialect.name, table, None, selected)


def replace_many(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows, given in the order of the table's columns, in the place of those with their primary keys.

    All keys are different; in their order, rows go in fastest. SQLAlchemy's own way of many rows takes longer than the database.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_sqlite_sql(table), list(rows))
        return
    incoming, take_over = _copied(table)
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table}) ON COMMIT DELETE ROWS")
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {incoming} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    connection.execute(take_over)
    connection.execute(delete(incoming))  # more may follow before the commit


@cache
def _replace(
    dialect: str, table: Table, where: Condition | None, selected: Callable[[], Select] | None
) -> sqlite.Insert:
    statement = _INSERT[dialect](table)
    if selected is not None:
        statement = statement.from_select([column.name for column in table.columns], selected())
    new = statement.excluded
    values = {column.name: new[column.name] for column in table.columns if not column.primary_key}
    condition = None if where is None else where(new)
    return statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=values, where=condition)


@cache
def _sqlite_sql(table: Table) -> str:
    return str(_replace("sqlite", table, None, None).compile(dialect=sqlite.dialect()))


@cache
def _copied(table: Table) -> tuple[Table, Any]:
    """A table for rows on their way in, and the statement that takes them over."""
    name = f"incoming_{table.name}"
    incoming = Table(name, MetaData(), *(Column(column.name, column.type) for column in table.columns))
    return incoming, _replace("postgresql", table, None, lambda: select(incoming))
