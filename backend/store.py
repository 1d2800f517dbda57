"""The store of this installation: its engine, transactions on it, and the check that its tables are there.

with store.reading() as connection:
    rows = reads.list_runs(connection)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from backend.settings import settings
from db import engine as db
from trainer.errors import StoreError

UNREACHABLE = (OperationalError, InterfaceError, PoolTimeoutError)
"""Errors of a database that does not answer now, or has no room: worth another try."""


def engine() -> Engine:
    """The engine of the database that the environment names; one per process and address."""
    return _engine(settings().database_url)


@contextmanager
def reading() -> Iterator[Connection]:
    """One read-only transaction."""
    with db.reading(engine()) as connection:
        yield connection


@contextmanager
def writing() -> Iterator[Connection]:
    """One read-write transaction: committed at the end, rolled back on an error."""
    with db.writing(engine()) as connection:
        yield connection


def is_ready() -> bool:
    """Whether the database is there and its tables are at the newest version; makes nothing."""
    address = make_url(settings().database_url)
    # Asked before there is an engine, which makes the folder of its file.
    if address.get_backend_name() == "sqlite" and not Path(str(address.database)).is_file():
        return False
    # Pages ask again and again; a database that was at the newest version does not go back.
    if str(address) not in _ready and db.is_current(engine()):
        _ready.add(str(address))
    return str(address) in _ready


def require() -> None:
    """Make sure that the database is there and its tables are at the newest version; makes nothing.

    Raises:
        StoreError: it is not, and what to do.
    """
    if is_ready():
        return
    home = settings().home
    if settings().database_url.startswith("sqlite") and not home.is_dir():
        raise StoreError(f"there is no store in {home}; check MTPRL_HOME, or run `mtprl up`, which makes it")
    raise StoreError(
        "the database is not there yet, or of another version; run `mtprl migrate`, or `mtprl up`, which does it, too"
    )


def cause(error: Exception) -> str:
    """What the database itself said, without SQLAlchemy's statement around it."""
    return (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]


_ready: set[str] = set()
_engine = cache(db.connect)
