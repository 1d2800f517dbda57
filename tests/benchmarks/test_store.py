from __future__ import annotations

import json

import pytest
from sqlalchemy import func, select

from benchmarks import replay, stores
from benchmarks.store import AIMS, page
from db import engine
from db.tables import metrics
from trainer.events import EVENTS_FILE, JsonlSink, parse_lines

ROWS = [{"a": float(step), "b": -float(step)} for step in range(40)]


@pytest.mark.parametrize("workload", ["one_by_one", "in_batches"])
def test_the_workloads_of_our_own_store_store_every_row(tmp_path, workload):
    system = stores.Mtprl(f"sqlite:///{tmp_path}/mtprl.db")
    assert getattr(system, workload)("run", ROWS).seconds > 0
    store = engine.connect(f"sqlite:///{tmp_path}/mtprl.db")
    with engine.reading(store) as connection:
        assert connection.execute(select(func.count()).select_from(metrics)).scalar_one() == 80
    store.dispose()


def test_the_page_compares_what_runs_on_the_same_database_and_says_which_aims_are_reached():
    values = {
        "one_by_one": 1e4,
        "in_batches": 2e5,
        "per_processor": 1e5,
        "chart_of_one": 0.01,
        "chart_of_many": 0.5,
        "bytes": 30.0,
    }
    names = [*AIMS, "MLflow, SQLite", "MLflow, PostgreSQL", "Trackio, SQLite"]
    text = page({name: {**values, "bytes": 60.0 if "MLflow" in name else 30.0} for name in names}, 3, "0.1")
    lines = text.splitlines()
    assert next(line for line in lines if line.startswith("| mtprl, SQLite / MLflow, SQLite |")).endswith("| 0.5 |")
    assert not any("mtprl, SQLite / MLflow, PostgreSQL" in line for line in lines)
    assert [
        line.rpartition("| ")[2] for line in lines if line.startswith("| mtprl, SQLite | ") and line.count("|") == 6
    ] == [
        "no |",
        "yes |",
        "no |",
        "yes |",
    ]


def test_a_replayed_run_writes_the_recorded_events_and_begins_anew_with_later_steps(tmp_path, monkeypatch):
    short = [
        {"type": "attempt_started", "attempt": 1, "step": 0, "mini_batch": -1, "time": 5.0, "resumed_from": None},
        {"type": "metrics", "attempt": 1, "step": 0, "mini_batch": -1, "time": 5.0, "values": {"a": "NaN"}},
        {"type": "metrics", "attempt": 1, "step": 3, "mini_batch": 1, "time": 5.01, "values": {"a": 1.0}},
    ]
    recorded = tmp_path / "short.jsonl.gz"
    recorded.write_bytes(replay.gzip.compress("\n".join(map(json.dumps, short)).encode()))
    monkeypatch.setattr(replay, "RECORDED", recorded)
    sink = JsonlSink(tmp_path, 1)
    replay.replay(sink, 0.1)
    sink.close()
    events = [event for event, _ in parse_lines((tmp_path / EVENTS_FILE).read_bytes())]
    assert [(event["type"], event["step"], event["mini_batch"]) for event in events[:5]] == [
        ("attempt_started", 0, -1),
        ("metrics", 0, -1),
        ("metrics", 3, 1),
        ("metrics", 4, -1),
        ("metrics", 7, 1),
    ]
    assert [event["values"] for event in events[1:3]] == [{"a": "NaN"}, {"a": 1.0}]
