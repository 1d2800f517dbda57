"""What is checked before a run is queued: model, data, devices."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from planned import lines

from backend import runs, store
from backend.planning.check import is_bad
from db.workers import worker_heartbeat
from trainer.config import RunConfig
from trainer.rollout.vllm.installed import installed_version

Config = Callable[..., RunConfig]


def test_a_run_that_could_not_work_has_a_red_check_and_others_none(home: Path, config: Config, tmp_path: Path) -> None:
    found = lines(config())
    assert not is_bad(list(found.values()))
    assert (found["Data"].level, found["Data"].words) == ("good", "4 problems read, each step takes 4")
    assert found["Devices"].words.startswith("no worker takes runs now")
    assert found["Time"].words.startswith("no run like it yet")
    assert found["Memory"].words.startswith("not estimated")
    model, data = (
        lines(config(model={"path": "/absent"}))["Model"],
        lines(config(data={"kind": "jsonl", "path": "/absent"}))["Data"],
    )
    assert (model.level, data.level) == ("bad", "bad")
    assert "data: /absent: cannot be read" in data.words
    few = lines(config(rollout={"prompts_per_step": 8, "samples_per_prompt": 2}))["Data"]
    assert (few.level, few.words) == ("bad", "4 problems, but a step needs 8 (rollout.prompts_per_step)")


def test_devices_are_those_of_workers_that_take_runs(home: Path, config: Config) -> None:
    runs.submit(config())
    with store.writing() as connection:
        worker_heartbeat(connection, "a", "h", 1, ["cpu:0", "cpu:1", "cpu:2"], time.time())
    assert (
        lines(config(), seeds=9)["Devices"].words
        == "3 runs at once on 3 devices of 1 worker, 3 free now; 1 run before them in the queue"
    )
    assert lines(config(launch={"num_processes": 2}))["Devices"].words.startswith("1 run at once")
    assert (
        "no worker has more than 3"
        in lines(config(launch={"num_processes": 4}, update={"mini_batches": 1}))["Devices"].words
    )


def test_a_benchmark_that_cannot_be_read_is_red(home: Path, config: Config) -> None:
    benchmarks = [{"name": "h", "data": {"kind": "jsonl", "path": "/absent"}}]
    found = lines(config(evaluation={"benchmarks": benchmarks}))["Benchmarks"]
    assert (found.level, found.words.startswith("evaluation.benchmarks.0: /absent")) == ("bad", True)


@pytest.mark.skipif(installed_version() is not None, reason="vllm is installed here")
def test_a_sampler_that_is_not_installed_is_red_and_the_built_in_one_needs_no_word(home: Path, config: Config) -> None:
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_response_tokens": 8}
    assert "Sampler" not in lines(config(rollout=rollout))
    found = lines(config(rollout={**rollout, "engine": "vllm"}))["Sampler"]
    assert (found.level, found.words[:44]) == ("bad", "rollout.engine: vllm is not installed beside")
