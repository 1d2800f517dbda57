"""Engine and transactions, for SQLite and PostgreSQL.

SQLite runs in WAL mode, where readers and the one writer never wait for each other. A transaction says at its start which
of the two it is: a writer begins with BEGIN IMMEDIATE, because one that begins as a reader and writes later fails at once,
without waiting, when somebody else wrote in between. A reader cannot write at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError

from trainer.errors import StoreError

_BUSY_TIMEOUT_MS = 30_000
_MIGRATION_LOCK = 0x6D747072  # any number that nothing else in the database locks: "mtpr" in ASCII


def connect(url: str) -> Engine:
    """An engine for the store; on SQLite, the file's folder is made where it is absent.

    An engine must not be carried over a fork: make one per process.

    Raises:
        StoreError: `url` is not the address of an SQLite file or of a PostgreSQL database.
    """
    address = _parse(url)
    if address.get_backend_name() == "postgresql":
        return create_engine(address, pool_pre_ping=True)
    folder = Path(str(address.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: the database's folder cannot be made ({error.strerror}); choose another one"
        ) from None
    engine = create_engine(address)
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One read-write transaction: committed at the end, rolled back on an error. Waits for other writers on SQLite."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read-only transaction on a single state of the store; it neither waits for writers nor makes them wait."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        yield connection


def migrate(url: str) -> None:
    """Bring the tables to the newest version; safe to call again, and from several processes at once.

    Raises:
        StoreError: the database was written by a newer version of the program.
    """
    engine = connect(url)
    try:
        if is_current(engine):
            return
        with engine.connect().execution_options(writes=True) as connection:
            _foreign_keys_off(connection)
            with connection.begin():
                _upgrade(connection)
    finally:
        engine.dispose()


def is_current(engine: Engine) -> bool:
    """Whether the tables are at the newest version."""
    with reading(engine) as connection:
        applied = MigrationContext.configure(connection).get_current_heads()
    return set(applied) == set(ScriptDirectory.from_config(_alembic_config()).get_heads())


def _parse(url: str) -> URL:
    expected = "expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        address = make_url(url)
    except ArgumentError:
        raise StoreError(f"the database address cannot be read; {expected}") from None
    shown = address.render_as_string(hide_password=True)
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(f"{shown}: {address.get_backend_name()} is not supported as a database; {expected}")
    if address.get_backend_name() == "sqlite" and address.database in (None, "", ":memory:"):
        raise StoreError(f"{shown}: a database in memory cannot be shared between processes; {expected}")
    return address


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # sqlite3 starts no transactions by itself; _on_sqlite_begin does
    for pragma in (
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",  # first, because switching to WAL may have to wait
        "journal_mode = WAL",
        "synchronous = NORMAL",  # with WAL: a power cut may lose the last commits, never damage the file
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _foreign_keys_off(connection: Connection) -> None:
    """Let a migration rebuild a table on SQLite: dropping the old one would delete every row that refers to it."""
    if connection.dialect.name == "sqlite":
        connection.connection.cursor().execute("PRAGMA foreign_keys = OFF")


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    config = _alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"the database cannot be used by this version of mtprl, which is older than the one that wrote it; update mtprl ({error})"
        ) from None


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config
