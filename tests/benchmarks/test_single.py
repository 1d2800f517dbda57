"""Real runs of five steps, from a base that has hardly learnt anything."""

import json
import time
from pathlib import Path

import pytest
import torch

from benchmarks import bases, plan
from benchmarks.bases import Pair, base_folder, exact_accuracy, make_base, teacher_forced
from benchmarks.single import curve, rounded, run_job
from benchmarks.workers import Results, run_all
from trainer.models.demo_base import character_tokenizer
from trainer.models.storage import load_joint
from trainer.tasks import Grader, grade

TINY = plan.merged(plan.RECIPE, {"steps": 5, "rollout": {"prompts_per_step": 4, "samples_per_prompt": 2}})


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("regimes")
    make_base(folder, "sorting", making=bases.SMALL._replace(target=(0.0, 1.0), train_problems=100, test_problems=16))
    return folder


def job(arm: str, algorithm: str = "dapo", seed: int = 0) -> plan.Job:
    by_name = {known.name: known for known in plan.ARMS}
    return plan.Job("main", by_name[arm], "sorting", algorithm, seed, 1e-4, TINY)


@pytest.mark.parametrize("task", bases.TASKS)
def test_right_responses_are_right_and_nothing_else_is(task):
    for pair in bases.draw(task, 20, seed=0):
        assert grade(pair.response, pair.answer).correct
        assert not grade(pair.response[:-1], pair.answer).correct
    assert len({pair.problem for pair in bases.draw(task, 50, seed=1)}) == 50


def test_exact_accuracy_is_the_product_of_the_tokens_probabilities(out):
    joint, tokenizer = load_joint(str(base_folder(out, "sorting") / "model"), 1), character_tokenizer()
    pairs = [Pair("312456=", "123456"), Pair("21=", "12")]  # of different lengths: padding must not count
    expected = []
    for pair in pairs:
        tokens = [*tokenizer(pair.problem + pair.response)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            probs = joint.trunk(torch.tensor([tokens])).logits[0].double().softmax(dim=-1)
        prompt = len(pair.problem)
        expected.append(torch.stack([probs[i - 1, tokens[i]] for i in range(prompt, len(tokens))]).prod().item())
    assert exact_accuracy(joint, teacher_forced(tokenizer, pairs)) == pytest.approx(sum(expected) / 2, rel=1e-3)


def test_a_run_gives_one_small_line_of_results(out):
    with Grader() as grader:
        row = run_job(job("occ-calibrated"), out, None, grader)
        off = run_job(job("off", "gspo"), out, None, grader)
    assert row["key"] == job("occ-calibrated").key
    assert 0 <= row["final"] <= 1
    assert row["coefficient_mean"] >= 0
    assert len(row["mtp/acceptance_greedy"]) == 2
    assert "coefficient_mean" not in off
    assert len(json.dumps(row)) < 3000
    assert not any(path.is_file() for path in (out / "no-checkpoints").rglob("*"))


@pytest.mark.slow
def test_finished_runs_are_not_made_again_and_a_control_takes_its_leaders_coefficient(out, tmp_path):
    results, made = Results(tmp_path / "runs.jsonl"), []
    jobs = [job("matched-control"), job("occ-calibrated"), job("off")]
    results.add({"key": job("off").key})

    def run(again: Results, minutes: float = 10) -> None:
        deadline = time.monotonic() + 60 * minutes
        run_all(jobs, out, again, 1, deadline, lambda finished, row, left: made.append((finished.arm.name, left)))

    run(results, minutes=0)
    assert made == []
    run(results)
    assert made == [("occ-calibrated", 1), ("matched-control", 0)]
    leader, follower = (results.rows[job(name).key] for name in ("occ-calibrated", "matched-control"))
    assert follower["coefficient_mean"] == pytest.approx(leader["coefficient_mean"])
    run(Results(tmp_path / "runs.jsonl"))
    assert len(made) == 2


def test_curves_are_means_over_tenths_and_numbers_are_short():
    assert curve([(step, float(step)) for step in range(1, 21)], 20) == [1.5 + 2 * part for part in range(10)]
    assert rounded({"a": [0.123456789, 3], "b": "text"}) == {"a": [0.12346, 3], "b": "text"}
