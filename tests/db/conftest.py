"""A store in a real SQLite file and in a real PostgreSQL: every test that asks for one runs on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from databases import Database, Postgres, Sqlite, postgres_server
from sqlalchemy import Engine
from store_helpers import Reader, claim, submit

from db import engine


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory) -> Sqlite:
    return Sqlite(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgres]:
    with postgres_server() as address:
        yield Postgres(address)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request) -> Database:
    return request.getfixturevalue(request.param)


@pytest.fixture
def empty(database) -> Iterator[str]:
    """The address of a database without tables."""
    with database.empty() as url:
        yield url


@pytest.fixture
def url(database) -> Iterator[str]:
    """The address of `store`."""
    with database.store() as url:
        yield url


@pytest.fixture
def store(url) -> Iterator[Engine]:
    store = engine.connect(url)
    yield store
    store.dispose()


@pytest.fixture
def run(store) -> int:
    """A claimed run."""
    with engine.writing(store) as connection:
        run_id = submit(connection)
        claim(connection)
    return run_id


@pytest.fixture
def reader(store, run) -> Reader:
    return Reader(store, run)
