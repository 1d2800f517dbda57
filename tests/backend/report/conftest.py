"""A store with experiments as a report meets them: finished, going on, failed, empty, and with markup in their names."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import synthetic
from reported import MARKUP
from sqlalchemy import Connection, insert

from backend import report, store
from db import tables
from db.engine import connect, migrate, writing
from db.statuses import Status

STEPS = 12


class Filled(NamedTuple):
    """The store's home, and its runs by experiment."""

    home: Path
    runs: dict[str, dict[str, int]]


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    home, now = tmp_path_factory.mktemp("reported"), time.time()
    url = f"sqlite:///{home / 'mtprl.db'}"
    migrate(url)
    synthetic.make_base(home)
    engine = connect(url)
    few: dict[str, Any] = {"steps": STEPS, "now": now, "changes": {"evaluation.every": 4}}
    audited = {**few, "changes": {**few["changes"], "audit.every": 1, "model.mtp_depths": 2}}
    ended = {"status": Status.FAILED, "done": 3, "reason": "the loss at step 4 is NaN <b>bold</b>"}
    with writing(engine) as connection:

        def add(preset: str, **more: Any) -> int:
            return synthetic.add_run(connection, home, f"demo/{preset}", **more)

        def alone(preset: str, experiment: str, **more: Any) -> int:
            return add(preset, experiment=experiment, **few, **more)

        runs = {
            "demo": {
                **{f"detach {seed}": add("detach", seed=seed, **few) for seed in (0, 1, 2)},
                **{f"occ {seed}": add("occ", seed=seed, **audited) for seed in (0, 1, 2)},
                **{f"policy {seed}": add("policy", seed=seed, **few) for seed in (0, 1)},
                "running": add("policy", seed=2, status=Status.RUNNING, done=7, silent=-1e6, **few),
                "failed": add("detach", seed=3, **ended, **few),
                "off": add("off", **few),
            },
            "single": {"occ": alone("occ-calibrated", "single")},
            MARKUP: {"occ": alone("occ", MARKUP)},
            "all failed": {"failed": add("occ", experiment="all failed", **ended, **few)},
            "queued": {"queued": alone("ce", "queued", status=Status.QUEUED)},
        }
        connection.execute(insert(tables.experiments).values(name="empty", created_at=now))
    engine.dispose()
    return Filled(home, runs)


@pytest.fixture
def filled(_filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Filled]:
    """A copy of its own for each test, at the path that its configurations name."""
    monkeypatch.setenv("MTPRL_HOME", str(_filled.home))
    for name in ("MTPRL_DATABASE_URL", "MTPRL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(_filled.home / "mtprl.db", tmp_path / "mtprl.db")
    monkeypatch.setenv("MTPRL_DATABASE_URL", f"sqlite:///{tmp_path / 'mtprl.db'}")
    yield _filled
    store.engine().dispose()
    store._engine.cache_clear()


@pytest.fixture
def connection(filled: Filled) -> Iterator[Connection]:
    with store.reading() as connection:
        yield connection


@pytest.fixture
def made(connection: Connection) -> Callable[[str], report.Report]:
    """The report on an experiment."""
    return lambda experiment: report.make(connection, experiment, now=1_800_000_000.0)
