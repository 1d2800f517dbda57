"""Stores for the pages: none, an empty one, and one with runs of every status."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import synthetic
from streamlit.testing.v1 import AppTest

from db.engine import connect, migrate, writing
from db.statuses import Status

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
FOREVER = -1e6  # seconds of silence: heard of in the future, so that the run stays alive while the tests last


class Full(NamedTuple):
    """The filled store: its home and the ids of its runs by what they show."""

    home: Path
    runs: dict[str, int]


@pytest.fixture
def no_store(tmp_path, monkeypatch):
    return _use(tmp_path, monkeypatch)


@pytest.fixture
def empty_store(tmp_path, monkeypatch):
    migrate(f"sqlite:///{tmp_path / 'mtprl.db'}")
    return _use(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def _filled(tmp_path_factory):
    home, now = tmp_path_factory.mktemp("full"), time.time()
    url = f"sqlite:///{home / 'mtprl.db'}"
    migrate(url)
    synthetic.make_base(home)
    engine = connect(url)
    few = {"steps": 12, "now": now, "changes": {"evaluation.every": 4}}
    with writing(engine) as connection:
        runs = {
            "occ": synthetic.add_run(connection, home, "demo/occ-calibrated", **_audited(few, 1)),
            "occ again": synthetic.add_run(connection, home, "demo/occ-calibrated", seed=1, **few),
            "deep": synthetic.add_run(
                connection, home, "demo/occ", status=Status.STOPPED, **_audited(few, 2, depths=2)
            ),
            "detach": synthetic.add_run(connection, home, "demo/detach", **_audited(few, 4)),
            "off": synthetic.add_run(connection, home, "demo/off", experiment="controls", **few),
            "failed": synthetic.add_run(
                connection, home, "demo/ce", status=Status.FAILED, done=3, reason="the loss at step 4 is NaN", **few
            ),
            "lost": synthetic.add_run(connection, home, "demo/policy", status=Status.RUNNING, done=5, silent=95, **few),
            "running": synthetic.add_run(
                connection, home, "demo/policy", status=Status.RUNNING, done=6, silent=FOREVER, **_alarmed(few)
            ),
            "queued": synthetic.add_run(connection, home, "demo/ce", status=Status.QUEUED, **few),
        }
        synthetic.add_worker(connection, now=now - FOREVER)
    engine.dispose()
    return Full(home, runs)


@pytest.fixture
def full_store(_filled, tmp_path, monkeypatch):
    """A copy of its own for each test, so that one may stop a run without another noticing."""
    shutil.copytree(_filled.home, tmp_path / "home")
    _use(tmp_path / "home", monkeypatch)
    return Full(tmp_path / "home", _filled.runs)


@pytest.fixture
def open_page():
    """Open a page of the application as a browser would: `open_page("run", run="3")`."""

    def opened(name: str, /, **query: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=20)
        if name != "runs":
            app.run()  # makes the pages known
            app.switch_page(f"views/{name}.py")
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return opened


def _audited(settings: dict[str, Any], every: int, *, depths: int = 1) -> dict[str, Any]:
    changes = {**settings["changes"], "audit.every": every, "model.mtp_depths": depths}
    return {**settings, "changes": changes}


def _alarmed(settings: dict[str, Any]) -> dict[str, Any]:
    """The same with thresholds so strict that the third step raises an alarm."""
    return {**settings, "changes": {**settings["changes"], "alarms.zero_variance_share": 0.001, "alarms.steps": 3}}


def _use(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MTPRL_HOME", str(home))
    for name in ("MTPRL_DATABASE_URL", "MTPRL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return home
