"""A store in a real SQLite file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from store_helpers import Reader, claim, submit

from db import engine


@pytest.fixture
def url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/store/mtprl.db"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory) -> Path:
    """The file of a store without rows, to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("empty") / "mtprl.db"
    engine.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(url, empty_store) -> Iterator[Engine]:
    store = engine.connect(url)
    shutil.copy(empty_store, str(store.url.database))
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
