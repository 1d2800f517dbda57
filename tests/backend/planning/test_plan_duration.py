"""The time of a run, estimated from runs like it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from planned import lines

from backend import runs, store
from backend.planning import duration
from backend.runs import with_absolute_paths
from db import claims, ingest
from db.workers import set_draining, worker_heartbeat
from trainer.config import RunConfig, parse
from trainer.events import MemorySink


def made(config: RunConfig, seconds: list[float], device: str = "cpu:0") -> int:
    """Submit a run and let it make steps of these times, with one evaluation of 4 s."""
    run_id = runs.submit(config)
    sink = MemorySink()
    sink.emit(
        "attempt_started",
        step=0,
        pid=1,
        host="h",
        total_steps=9,
        resumed_from=None,
        threads=1,
        device="cpu",
        versions={},
    )
    for step, lasted in enumerate(seconds, 1):
        sink.emit("metrics", step=step, values={"time/step_seconds": lasted})
    sink.emit("metrics", step=len(seconds), values={"time/evaluating_seconds": 4.0})
    for event in sink.events:
        event["time"] = 1.0
    with store.writing() as connection:
        claim = claims.claim_next(connection, host="h", devices=[device], now=time.time())
        assert claim is not None
        ingest.ingest(connection, run_id, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
        claims.finish(connection, run_id=run_id, attempt=1, status="finished", reason="", exit_code=0, now=time.time())
    return run_id


@pytest.fixture
def evaluated(values: dict[str, Any]) -> dict[str, Any]:
    benchmark = {"name": "held-out", "data": values["data"]}
    return {**values, "name": "", "steps": 10, "evaluation": {"benchmarks": [benchmark], "every": 4}}


def test_time_is_the_median_of_like_runs_times_the_steps_and_the_evaluations(
    home: Path, evaluated: dict[str, Any]
) -> None:
    config = with_absolute_paths(parse(evaluated))
    ids = [made(config, [1.0, 1.0, 9.0]), made(config, [3.0, 3.0, 3.0])]
    made(config.model_copy(update={"update": config.update.model_copy(update={"epochs": 2})}), [100.0] * 3)
    made(config, [100.0] * 3, device="cuda:0")
    made(config, [100.0] * (duration.LEAST_STEPS - 1))
    with store.reading() as connection:
        pace = duration.pace(connection, config, "cpu")
        assert duration.pace(connection, parse({**evaluated, "regime": {"kind": "oracle"}}), "cpu") is None
    assert pace is not None
    assert (pace.runs, pace.step, pace.low, pace.high, pace.evaluation) == (tuple(ids), 2.0, 1.0, 9.0, 4.0)
    assert duration.evaluations(config) == 4  # before training, after steps 4, 8 and 10
    assert pace.total(config) == 10 * 2.0 + 4 * 4.0
    assert pace.words(config) == "about 36 s (26 s to 1 min 46 s), at 2 s per step as in 2 runs like it"


def test_the_time_of_a_grid_counts_seeds_and_what_runs_at_once(home: Path, evaluated: dict[str, Any]) -> None:
    detach, ce = (parse({**evaluated, "regime": {"kind": kind}}) for kind in ("detach", "ce"))
    made(with_absolute_paths(detach), [1.0] * 3)
    made(with_absolute_paths(ce), [3.0] * 3)
    each = (10 * 1.0 + 4 * 4.0, 10 * 3.0 + 4 * 4.0)  # 26 and 46 s
    with store.writing() as connection:
        worker_heartbeat(connection, "w", "h", 1, [f"cpu:{n}" for n in range(4)], time.time())
        worker_heartbeat(connection, "away", "h", 2, [f"cpu:{n}" for n in range(4, 9)], time.time())
        set_draining(connection, ["away"], True)
    assert (
        lines(detach, ce, seeds=3)["Time"].words
        == f"6 runs of 26 s to 46 s each, about {3 * sum(each) / 4:.0f} s in all"
    )
    assert lines(detach, ce)["Time"].words.endswith(f"about {sum(each) / 2:.0f} s in all"), (
        "two runs keep two devices busy"
    )


def test_an_evaluation_of_another_kind_is_not_counted_and_said_so(home: Path, evaluated: dict[str, Any]) -> None:
    made(parse(evaluated), [2.0] * 3)
    config = parse({**evaluated, "evaluation": {**evaluated["evaluation"], "samples": 32}})
    with store.reading() as connection:
        pace = duration.pace(connection, with_absolute_paths(config), None)
    assert pace is not None
    assert pace.evaluation is None
    assert "evaluations not counted" in pace.words(config)


UNLIKE: dict[str, dict[str, Any]] = {
    "longer responses": {"rollout": {"max_response_tokens": 16}},
    "more samples": {"rollout": {"samples_per_prompt": 4}},
    "another model": {"model": {"path": "/models/other"}},
    "more depths": {"model": {"mtp_depths": 2}},
    "more optimiser steps": {"update": {"mini_batches": 2}},
    "other data": {"data": {"path": "/data/other.jsonl"}},
    "another regime": {"regime": {"kind": "off"}},
}


@pytest.mark.parametrize("change", UNLIKE)
def test_a_run_that_differs_in_what_takes_time_says_nothing(home: Path, evaluated: dict[str, Any], change: str) -> None:
    made(parse(evaluated), [2.0] * 3)
    [(section, values)] = UNLIKE[change].items()
    other = parse({**evaluated, section: {**evaluated.get(section, {}), **values}})
    another_rate = parse({**evaluated, "optimizer": {"lr": 1e-7}})
    with store.reading() as connection:
        assert duration.pace(connection, with_absolute_paths(other), "cpu") is None
        assert duration.pace(connection, with_absolute_paths(another_rate), "cpu") is not None


def test_of_a_long_run_its_newest_steps_count(
    home: Path, evaluated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duration, "_STEPS_EACH", 3)
    config = with_absolute_paths(parse(evaluated))
    made(config, [50.0, 50.0, 50.0, 1.0, 2.0, 3.0])
    with store.reading() as connection:
        pace = duration.pace(connection, config, "cpu")
    assert pace is not None
    assert (pace.step, pace.low, pace.high) == (2.0, 1.0, 3.0)
