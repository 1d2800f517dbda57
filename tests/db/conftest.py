"""A store in a real SQLite file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from store_helpers import Reader, claim, submit

from db import engine


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/store/mtprl.db"


@pytest.fixture
def store(url) -> Iterator[Engine]:
    engine.migrate(url)
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
