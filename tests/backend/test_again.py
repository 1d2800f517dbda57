"""Runs once more: the same one goes on, or another one is made from it."""

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from backend_harness import look
from standin_supervisor import PROGRAM

from backend import again, runs, show, store
from backend.supervisor import supervise
from db import claims, reads
from db.statuses import Status
from trainer.config import RunConfig, parse
from trainer.errors import ConfigError, StoreError

Config = Callable[..., RunConfig]
Claimed = Callable[..., int]


def train(run_id: int) -> None:
    """The next attempt, to its end."""
    with store.writing() as connection:
        claim = claims.claim_next(connection, host=socket.gethostname(), devices=["cpu:0"], now=time.time())
    assert claim is not None
    assert claim.run_id == run_id
    supervise(run_id, claim.attempt, program=PROGRAM)


@pytest.fixture
def finished(config: Config) -> int:
    run_id = runs.submit(config(steps=4), experiment="mine")
    train(run_id)
    return run_id


def test_a_finished_run_is_lengthened_and_goes_on_where_it_was(finished: int) -> None:
    said = again.resume(finished, ["steps=7"])
    assert said == f"run {finished} is queued again: it goes on from its newest checkpoint, to step 7"
    assert (look(finished).status, look(finished).total_steps) == (Status.QUEUED, 7)
    train(finished)
    run = look(finished)
    assert (run.status, run.step, run.attempt, run.resumed_from) == (Status.FINISHED, 7, 2, 4)
    assert yaml.safe_load((Path(run.folder) / "config.yaml").read_text())["steps"] == run.config["steps"] == 7
    assert run.attempts[1].cause == "resumed by the user; steps: 4 → 7"
    with store.reading() as connection:
        assert "resumed by the user; steps: 4 → 7" in [row.message for row in reads.run_events(connection, finished)]
        series = reads.series(connection, [finished], ["reward/mean"])[finished, "reward/mean"]
    assert list(series.steps) == [1, 2, 3, 4, 5, 6, 7]


def test_a_run_that_failed_goes_on_with_other_settings_of_its_launch(config: Config) -> None:
    run_id = runs.submit(config("fail", launch={"retries": 5}))
    train(run_id)
    assert (look(run_id).status, look(run_id).attempt) == (Status.FAILED, 1)  # no accident: it is not tried again
    again.resume(run_id, ["launch.priority=3"])
    assert (look(run_id).status, look(run_id).priority) == (Status.QUEUED, 3)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "has finished all its 4 steps; `mtprl resume 1 --steps 8` lengthens it, `mtprl clone 1` makes a new run"),
        (["steps=3"], "steps: 3 is refused, because run 1 has made 4 already; give more"),
        (
            ["steps=9", "optimizer.lr=0.5"],
            "optimizer.lr: is 1e-06 in run 1 and cannot become 0.5 when it goes on; `mtprl clone 1 --set optimizer.lr=0.5`",
        ),
        (["steps=nine"], "steps: 'nine'"),
    ],
)
def test_what_cannot_go_on_is_refused_in_words(finished: int, overrides: list[str], says: str) -> None:
    with pytest.raises((StoreError, ConfigError)) as refused:
        again.resume(finished, overrides)
    assert says in str(refused.value)
    assert look(finished).status == Status.FINISHED


def test_a_run_that_has_not_ended_or_has_no_folder_is_not_resumed(claimed: Claimed, config: Config) -> None:
    active, queued = claimed(), runs.submit(config())
    with pytest.raises(StoreError, match="is starting; wait until it has ended, or stop it first"):
        again.resume(active)
    with pytest.raises(StoreError, match="waits in the queue already"):
        again.resume(queued)
    runs.stop(queued)
    shutil.rmtree(look(queued).folder)
    with pytest.raises(StoreError, match=f"its folder .* is gone; `mtprl clone {queued}` makes a new run"):
        again.resume(queued)


def test_a_clone_says_what_it_comes_from_and_in_what_it_differs(finished: int) -> None:
    with store.reading() as connection:
        clone = again.clone_of(connection, finished)
    values: dict[str, Any] = {**clone.values, "regime": {"kind": "ce"}, "steps": 9}
    run_id = runs.submit(parse(values), experiment=clone.experiment, preset=clone.preset, cloned_from=finished)
    run = look(run_id)
    assert (run.cloned_from, run.experiment, run.name) == (finished, "mine", "finish-clone")
    assert run.difference == [["steps", 4, 9], ["regime.kind", "detach", "ce"]]
    assert show.origin_in_words(run) == f"run {finished}, steps: 4 → 9; regime.kind: detach → ce"
    assert look(finished).difference is None
