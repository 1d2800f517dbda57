"""The leaderboard: what is compared with what."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from boards_now import boards

from backend import labels, show
from backend.leaderboard import FieldDifference, boards_from_json, boards_to_json
from backend.leaderboard.protocol import differences
from db.statuses import Status

Make = Callable[..., int]
HALF = {"a": [1, 0], "b": [0, 1], "c": [1, 0], "d": [1, 0]}
MOST = {"a": [1, 1], "b": [1, 1], "c": [1, 0], "d": [1, 1]}
NONE = {"a": [0, 0], "b": [0, 0], "c": [0, 0], "d": [0, 0]}


def test_the_evaluation_after_the_last_step_of_finished_runs_counts(finished: Make) -> None:
    finished("detach", MOST, earlier=HALF)
    finished("ce", HALF, earlier=MOST)
    finished("policy", HALF, earlier=MOST, status=Status.FAILED)
    finished("occ", MOST, at_step=3)
    [board] = boards()
    assert [row.regime for row in board.rows] == ["detach", "ce"]
    assert [row.mean.value for row in board.rows] == [0.875, 0.5]
    assert [row.mean.problems for row in board.rows] == [4, 4]
    detach, ce = board.rows
    assert detach.difference is None
    assert ce.difference is not None
    assert ce.difference.to == detach.key
    assert ce.difference.mean.value == pytest.approx(-0.375)
    assert (ce.step_seconds, ce.acceptance) == (2.0, pytest.approx(0.7))


def test_acceptance_is_that_of_the_last_ten_values_of_each_seed(finished: Make) -> None:
    finished("detach", HALF, seed=0, accepted=[0.0] * 7 + [0.8] * 10)
    finished("detach", HALF, seed=1, accepted=[0.4] * 10 + [0.6] * 10)
    assert boards()[0].rows[0].acceptance == pytest.approx(0.7)


def test_seeds_are_pooled_and_the_newest_run_of_a_seed_counts(finished: Make) -> None:
    finished("detach", HALF, seed=0)
    newest = finished("detach", MOST, seed=0)
    other = finished("detach", MOST, seed=1)
    [board] = boards()
    assert [(row.run_ids, row.seeds) for row in board.rows] == [((newest, other), (0, 1))]
    assert board.caveat.startswith("2 seeds rank nothing: the intervals speak of these checkpoints")
    assert board.rows[0].rank is None


def test_one_seed_ranks_nothing_and_three_do(finished: Make) -> None:
    finished("detach", HALF, seed=0)
    assert boards()[0].caveat.startswith("One seed ranks nothing: the intervals speak of these checkpoints")
    finished("detach", HALF, seed=1)
    finished("detach", HALF, seed=2)
    assert boards()[0].caveat == ""
    assert boards()[0].rows[0].rank == (1, 1)
    finished("ce", HALF, seed=0)
    [board] = boards()
    assert board.caveat.startswith("One seed ranks nothing: the intervals for ce speak of these checkpoints")
    [ce] = [row for row in board.rows if row.regime == "ce"]
    assert ce.rank is None
    assert ce.difference is not None
    assert (ce.difference.p, ce.difference.mean.scope) == (None, "these checkpoints, not these methods")


def test_methods_that_differ_in_a_setting_are_rows_of_their_own_and_say_which(finished: Make) -> None:
    finished("detach", HALF)
    finished("detach", MOST, optimizer={"lr": 0.5})
    finished("ce", MOST, optimizer={"lr": 0.5})
    finished("detach", NONE, optimizer={"lr": 0.25})
    [board] = boards()
    rows = {(row.regime, row.variant): row for row in board.rows}
    assert set(rows) == {*(("detach", f"optimizer.lr={lr}") for lr in (1e-06, 0.5, 0.25)), ("ce", "")}
    difference = rows["ce", ""].difference
    assert difference is not None
    assert difference.mean.value == 0.0  # to the detach of the same learning rate


def test_of_several_detached_runs_trained_alike_the_one_whose_heads_learn_alike_is_the_baseline(finished: Make) -> None:
    finished("detach", HALF)
    finished("detach", MOST, mtp={"head_loss_scale": 0.5})
    finished("ce", MOST)
    finished("policy", NONE, mtp={"head_loss": "ce", "head_loss_scale": 0.25})
    [board] = boards()
    found = {row.regime: row.difference.mean.value for row in board.rows if row.difference is not None}
    assert found == {"ce": 0.375, "policy": -0.875}  # to none alike: to the newest


def test_only_the_experiment_that_was_asked_for_is_shown(finished: Make) -> None:
    finished("detach", HALF)
    assert len(boards("board")) == 1
    assert boards("another") == []


def test_archived_trainings_and_evaluations_count_only_when_asked_for_and_are_counted(
    finished: Make, evaluated: Make, mtprl: Callable[..., tuple[int, str, str]]
) -> None:
    kept, away = finished("detach", HALF, seed=0), finished("detach", MOST, seed=1)
    jobs = [evaluated(run, NONE) for run in (kept, away)]
    later = evaluated(kept, MOST)
    labels.archive([away, later])
    by_how = {board.evaluated: board for board in boards()}
    assert {row.run_ids for board in by_how.values() for row in board.rows} == {(kept,)}
    assert by_how["by a job of its own"].rows[0].runs[0].evaluated_by == jobs[0]
    everything = {board.evaluated: board for board in boards(archived=True)}
    assert everything["by the training itself"].rows[0].run_ids == (kept, away)
    assert {run.evaluated_by for run in everything["by a job of its own"].rows[0].runs} == {later, jobs[1]}
    assert "2 archived runs are left out; --archived counts them" in mtprl("leaderboard")[2]
    code, out, err = mtprl("leaderboard", "--archived", "--json")
    assert (code, "left out" in err, json.loads(out)[1]["rows"][0]["runs"][1]["run_id"]) == (0, False, away)
    labels.archive([away, later], undo=True)
    assert mtprl("leaderboard")[2] == ""


# --- order -------------------------------------------------------------------------------------------------


def test_a_board_that_compares_methods_comes_before_newer_ones_of_few_seeds(finished: Make) -> None:
    for seed in range(3):
        finished("detach", HALF, seed=seed)
        finished("ce", MOST, seed=seed)
    finished("detach", HALF, steps=6)
    for seed in range(3):
        finished("detach", HALF, seed=seed, steps=7)  # one method: enough seeds, and nothing to compare
    finished("ce", HALF, seed=0, steps=7)
    assert [board.steps for board in boards()] == [5, 7, 6]


def test_of_boards_of_the_same_runs_that_of_jobs_comes_first_and_else_that_of_the_newest_run(
    finished: Make, evaluated: Make
) -> None:
    detach, ce = finished("detach", HALF), finished("ce", HALF)
    evaluated(detach, MOST)
    evaluated(ce, MOST)
    by_training, by_job = "by the training itself", "by a job of its own"
    assert [board.evaluated for board in boards()] == [by_job, by_training]
    finished("policy", HALF)
    assert [board.evaluated for board in boards()] == [by_training, by_job]


# --- jobs that evaluate ------------------------------------------------------------------------------------


def test_evaluations_by_jobs_stand_on_a_board_of_their_own(finished: Make, evaluated: Make) -> None:
    detach, ce = finished("detach", HALF, seed=0), finished("ce", HALF, seed=0)
    jobs = [evaluated(detach, MOST), evaluated(ce, HALF)]
    by_how = {board.evaluated: board for board in boards()}
    assert set(by_how) == {"by the training itself", "by a job of its own"}
    board = by_how["by a job of its own"]
    assert [(row.regime, row.mean.value) for row in board.rows] == [("detach", 0.875), ("ce", 0.5)]
    assert [row.runs[0].evaluated_by for row in board.rows] == jobs
    assert [row.run_ids for row in board.rows] == [(detach,), (ce,)]


def test_the_newest_finished_job_of_a_protocol_counts(finished: Make, evaluated: Make) -> None:
    detach = finished("detach", HALF)
    evaluated(detach, NONE)
    newest = evaluated(detach, MOST)
    evaluated(detach, NONE, status=Status.STOPPED)
    evaluated(detach, NONE, step=3)  # of a checkpoint on the way
    [board] = [board for board in boards() if board.evaluated == "by a job of its own"]
    assert [(row.mean.value, row.runs[0].evaluated_by) for row in board.rows] == [(0.875, newest)]


def test_maj_at_k_needs_answers_that_were_kept_and_pass_at_k_several_samples(finished: Make, evaluated: Make) -> None:
    detach = finished("detach", {"a": [1, 0], "b": [0, 0]})
    [board] = boards()
    assert board.rows[0].maj_at_k is None
    assert board.rows[0].pass_at_k is not None
    assert board.rows[0].pass_at_k.value == 0.5
    evaluated(detach, {"a": [1, 1, 0], "b": [0, 1, 0]})
    [job] = [board for board in boards() if board.evaluated == "by a job of its own"]
    assert job.rows[0].maj_at_k is not None
    assert (job.rows[0].maj_at_k.value, job.samples) == (0.5, 3)
    finished("ce", {"a": [1], "b": [0]}, evaluation={"samples": 1})
    assert boards()[0].rows[0].pass_at_k is None


def test_a_row_of_which_one_seed_kept_no_answers_has_no_maj_at_k(finished: Make) -> None:
    finished("detach", HALF, seed=0, texts=True)
    assert boards()[0].rows[0].maj_at_k is not None
    finished("detach", HALF, seed=1)
    [board] = boards()
    assert board.rows[0].seeds == (0, 1)
    assert board.rows[0].maj_at_k is None


@pytest.mark.parametrize(("marks", "shown"), [([1], ["-", "-"]), ([1, 1], ["100.0", "100.0"])])
def test_show_and_the_board_have_pass_and_maj_of_several_samples_alone(
    finished: Make, mtprl: Callable[..., tuple[int, str, str]], marks: list[int], shown: list[str]
) -> None:
    run = finished("detach", {"a": marks, "b": marks}, texts=True, evaluation={"samples": len(marks)})
    [line] = [line.split() for line in mtprl("show", str(run))[1].splitlines() if line.startswith("sums ")]
    assert line[-2:] == shown
    [said] = json.loads(mtprl("show", str(run), "--json")[1])["results"]["benchmarks"]
    row = boards()[0].rows[0]
    assert (said["pass_at_k"] is None) == (row.pass_at_k is None) == (len(marks) == 1)
    assert (said["maj_at_k"] is None) == (row.maj_at_k is None) == (len(marks) == 1)


# --- never mixed -------------------------------------------------------------------------------------------

ROLLOUT = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_response_tokens": 8}
CHANGES = {
    "steps": ("steps", {"steps": 6}),
    "samples per prompt": ("rollout.samples_per_prompt", {"rollout": {**ROLLOUT, "samples_per_prompt": 3}}),
    "prompts": (
        "rollout.prompts_per_step",
        {"rollout": {**ROLLOUT, "prompts_per_step": 2}, "update": {"mini_batches": 2}},
    ),
    "longest response": ("rollout.max_response_tokens", {"rollout": {**ROLLOUT, "max_response_tokens": 9}}),
    "reward": ("reward.incorrect", {"reward": {"incorrect": 0.0}}),
    "template": ("data.template", {"data": "template"}),
    "heads": ("model.mtp_depths", {"model": "depths"}),
    "samples": ("evaluation.samples", {"terms": {"samples": 2}, "outcomes": {key: [1] for key in HALF}}),
    "temperature": ("evaluation.temperature", {"terms": {"temperature": 0.5}}),
    "top-p": ("evaluation.top_p", {"terms": {"top_p": 0.7}}),
    "top-k": ("evaluation.top_k", {"terms": {"top_k": 20}}),
    "what ends an answer": ("evaluation.stop", {"terms": {"stop": ["###"]}}),
    "engine": ("evaluation.engine", {"terms": {"engine": "vllm"}}),
    "longest answer": ("evaluation.max_response_tokens", {"terms": {"max_tokens": 16}}),
    "problems": ("sums.revision", {"terms": {"revision": "r2"}}),
    "grader": ("evaluation.grader", {"terms": {"grader": "2"}}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_runs_of_another_protocol_stand_on_another_board_that_says_in_what(
    finished: Make, values: dict[str, Any], what: str
) -> None:
    field, change = CHANGES[what]
    change = dict(change)
    if change.get("data") == "template":
        change["data"] = {**values["data"], "template": "Q: {problem}"}
    if change.get("model") == "depths":
        change["model"] = {**values["model"], "mtp_depths": 2}
    outcomes = change.pop("outcomes", HALF)
    if what == "samples":
        change = {"evaluation": {"samples": 1}, "terms": {"samples": 1}}
    finished("detach", HALF)
    finished("ce", outcomes, **change)
    found = boards()
    assert [[row.regime for row in board.rows] for board in found] == [["ce"], ["detach"]]
    assert all(row.difference is None for board in found for row in board.rows)
    newer, older = found
    assert (newer.nearest, newer.differs) == (None, ())
    assert older.nearest == newer.key
    assert field in {one.field for one in older.differs}
    assert all(one.here != one.there for one in older.differs)


def test_what_memory_allows_sets_no_trainings_apart(finished: Make) -> None:
    finished("detach", HALF)
    finished("ce", MOST, rollout={**ROLLOUT, "sequences_at_once": 4})
    [board] = boards()
    assert len(board.rows) == 2


def test_a_board_and_the_run_say_what_sampled_the_answers(
    finished: Make, mtprl: Callable[..., tuple[int, str, str]]
) -> None:
    run = finished("detach", HALF, terms={"engine": "vllm", "top_k": 20, "stop": ["###"]})
    [board] = boards()
    assert (board.engine, board.top_k, board.stop) == ("vllm", 20, ("###",))
    assert board.decoding == "with vLLM at temperature 1, top-p 1, top-k 20, ending at '###'"
    assert f"sampled {board.decoding}" in " ".join(mtprl("show", str(run))[1].split())
    [older] = boards_from_json(boards_to_json([replace(board, protocol={})]))
    assert older.decoding == "with the built-in sampler at temperature 1, top-p 1"


def test_rows_that_lack_a_benchmark_are_not_averaged_with_those_that_have_it(finished: Make) -> None:
    finished("detach", {"sums": HALF, "products": MOST})
    finished("ce", {"sums": MOST})
    both, one = sorted(boards(), key=lambda board: -len(board.benchmarks))
    assert (both.benchmarks, one.benchmarks) == (("products", "sums"), ("sums",))
    assert [row.regime for row in both.rows] == ["detach"]
    assert both.rows[0].mean.value == pytest.approx((0.5 + 0.875) / 2)
    assert "benchmarks" in {difference.field for board in (both, one) for difference in board.differs}


def test_jobs_with_another_prompt_are_not_mixed(finished: Make, evaluated: Make) -> None:
    evaluated(finished("detach", HALF, seed=0), HALF)
    evaluated(finished("ce", HALF, seed=0), HALF, template="{problem} Think.")
    jobs = [board for board in boards() if board.evaluated == "by a job of its own"]
    assert [[row.regime for row in board.rows] for board in jobs] == [["ce"], ["detach"]]
    [difference] = differences(jobs[1].protocol, jobs[0].protocol)
    assert difference == FieldDifference("sums.template", "{problem}", "{problem} Think.")


def test_problems_without_a_recorded_revision_are_told_apart_by_their_ids(finished: Make) -> None:
    unsaid = {"revision": None}
    finished("detach", HALF, terms=unsaid)
    finished("occ", {key: HALF[key] for key in reversed(HALF)}, terms=unsaid)
    finished("ce", {"e": [1, 1]}, terms=unsaid)
    assert sorted(len(board.rows) for board in boards()) == [1, 2]


def test_a_board_is_shown_and_written_as_json(finished: Make) -> None:
    finished("detach", HALF)
    finished("ce", MOST)
    [board] = boards()
    console = show.console()
    with console.capture() as capture:
        show.print_boards(console, [board])
    assert "avg@2" in capture.get()
    assert "+37.5" in capture.get()
    assert show.boards_json([board])[0]["rows"][0]["mean"]["value"] == 0.875
