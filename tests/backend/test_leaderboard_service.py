"""The leaderboard: what is compared with what."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from backend import runs, show, store
from backend.leaderboard import Board, leaderboard
from db import claims
from db.ingest import ingest
from db.statuses import Status
from trainer.config import RunConfig
from trainer.events import MemorySink

Config = Callable[..., RunConfig]
HALF = {"a": [1, 0], "b": [0, 1], "c": [1, 0], "d": [1, 0]}
MOST = {"a": [1, 1], "b": [1, 1], "c": [1, 0], "d": [1, 1]}


@pytest.fixture
def finished(config: Config, values: dict[str, Any]) -> Callable[..., int]:
    """Make a finished run with evaluations of these outcomes, the last one last."""

    def make(regime: str, *outcomes: dict[str, list[int]], status: Status = Status.FINISHED, **changes: Any) -> int:
        benchmark = {"name": "sums", "data": values["data"]}
        evaluation = {"benchmarks": [benchmark], "samples": 2, "top_p": 1.0} | changes.pop("evaluation", {})
        run_id = runs.submit(config(regime={"kind": regime}, evaluation=evaluation, **changes), experiment="board")
        sink = MemorySink()
        for step, items in enumerate(outcomes):
            rows = [{"id": item, "outcomes": values} for item, values in items.items()]
            sink.emit("evaluation", step=step, benchmark="sums", samples=2, temperature=1.0, top_p=1.0, items=rows)
        for step, (seconds, acceptance) in enumerate([(9.0, 0.5), (1.0, 0.7), (2.0, 0.9)]):
            sink.emit("metrics", step=step, values={"time/step_seconds": seconds, "mtp/acceptance_greedy": acceptance})
        with store.writing() as connection:
            host = socket.gethostname()
            assert claims.claim_next(connection, host=host, devices=["cpu:0"], now=time.time())
            ingest(connection, run_id, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
            ended = {"status": status, "reason": "", "exit_code": 0, "now": time.time()}
            claims.finish(connection, run_id=run_id, attempt=1, **ended)
        return run_id

    return make


def boards(experiment: str | None = None) -> list[Board]:
    with store.reading() as connection:
        return leaderboard(connection, experiment)


def test_the_last_evaluation_of_finished_runs_counts(finished: Callable[..., int]) -> None:
    finished("detach", HALF, MOST)
    finished("ce", MOST, HALF)
    finished("policy", MOST, HALF, status=Status.FAILED)
    [board] = boards()
    assert [row.regime for row in board.rows] == ["detach", "ce"]
    assert [row.score.value for row in board.rows] == [0.875, 0.5]
    assert [row.score.problems for row in board.rows] == [4, 4]
    detach, ce = board.rows
    assert detach.difference is None
    assert ce.difference is not None
    assert ce.difference.value == pytest.approx(-0.375)
    assert (ce.step_seconds, ce.acceptance) == (2.0, pytest.approx(0.7))


def test_seeds_are_pooled_and_the_newest_run_of_a_seed_counts(finished: Callable[..., int]) -> None:
    finished("detach", HALF, seed=0)
    newest = finished("detach", MOST, seed=0)
    other = finished("detach", MOST, seed=1)
    [board] = boards()
    assert [(row.run_ids, row.seeds) for row in board.rows] == [((newest, other), (0, 1))]
    assert board.caveat.startswith("2 seeds rank nothing: the intervals speak of these checkpoints")


def test_one_seed_ranks_nothing_and_three_do(finished: Callable[..., int]) -> None:
    finished("detach", HALF, seed=0)
    assert boards()[0].caveat.startswith("One seed ranks nothing: the intervals speak of these checkpoints")
    finished("detach", HALF, seed=1)
    finished("detach", HALF, seed=2)
    assert boards()[0].caveat == ""
    finished("ce", HALF, seed=0)
    assert boards()[0].caveat.startswith("One seed ranks nothing: the intervals for ce speak of these checkpoints")


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 6},
        {"rollout": {"prompts_per_step": 4, "samples_per_prompt": 3, "max_response_tokens": 8}},
    ],
)
def test_runs_of_another_protocol_stand_on_another_board(finished: Callable[..., int], change: dict[str, Any]) -> None:
    finished("detach", HALF)
    finished("ce", MOST, **change)
    found = boards()
    assert [len(board.rows) for board in found] == [1, 1]
    assert all(row.difference is None for board in found for row in board.rows)


def test_runs_that_were_asked_other_problems_are_not_mixed(finished: Callable[..., int]) -> None:
    finished("detach", HALF)
    finished("ce", {"e": [1, 1]})
    assert len(boards()) == 2


def test_methods_that_differ_in_a_setting_are_rows_of_their_own_and_say_which(finished: Callable[..., int]) -> None:
    finished("detach", HALF)
    finished("detach", MOST, optimizer={"lr": 0.5})
    finished("ce", MOST, optimizer={"lr": 0.5})
    [board] = boards()
    rows = {(row.regime, row.variant): row for row in board.rows}
    assert set(rows) == {("detach", "optimizer.lr=1e-06"), ("detach", "optimizer.lr=0.5"), ("ce", "")}
    difference = rows["ce", ""].difference
    assert difference is not None
    assert difference.value == 0.0  # to the detach of the same learning rate


def test_only_the_experiment_that_was_asked_for_is_shown(finished: Callable[..., int]) -> None:
    finished("detach", HALF)
    assert len(boards("board")) == 1
    assert boards("another") == []


def test_a_board_is_shown_and_written_as_json(finished: Callable[..., int]) -> None:
    finished("detach", HALF)
    finished("ce", MOST)
    [board] = boards()
    console = show.console()
    with console.capture() as capture:
        console.print(show.board_table(board))
    assert "avg@2" in capture.get()
    assert "+37.5" in capture.get()
    assert show.board_json(board)["rows"][0]["score"]["value"] == 0.875
