"""What the benchmark of the regimes runs, and how a finished run is known again."""

from dataclasses import replace

import pytest

from benchmarks import plan
from benchmarks.workers import Results

LRS = {(base, algorithm): 1e-4 for base in plan.BASES for algorithm in plan.ALGORITHMS}


def test_every_job_has_a_key_of_its_own():
    jobs = [*plan.sweep(), *plan.main(5, LRS), *plan.audit(LRS)]
    assert len({job.key for job in jobs}) == len(jobs)
    assert len(plan.main(5, LRS)) == 5 * len(plan.ARMS) * len(plan.BASES) * len(plan.ALGORITHMS)


def test_key_changes_with_everything_that_the_result_depends_on():
    job = plan.main(1, LRS)[0]
    others = [
        replace(job, lr=2e-4),
        replace(job, seed=1),
        replace(job, recipe=plan.merged(plan.RECIPE, {"steps": 3})),
        replace(job, arm=replace(job.arm, values={"regime": {"kind": "detach"}})),
    ]
    assert len({job.key, *(other.key for other in others)}) == 5


@pytest.mark.parametrize("arm", plan.ARMS, ids=lambda arm: arm.name)
def test_every_arm_is_a_configuration(arm, tmp_path):
    config = plan.Job("main", arm, "sorting", "gspo", 3, 1e-4).config(tmp_path, 0.25 if arm.follows else None)
    assert config.regime.kind == arm.values["regime"]["kind"]
    assert config.optimizer.lr == pytest.approx(1e-4 * arm.lr_factor)
    assert (config.seed, config.steps) == (3, plan.RECIPE["steps"])


def test_official_arm_has_several_micro_batches_and_the_control_its_coefficient(tmp_path):
    by_name = {job.arm.name: job.config(tmp_path, 0.25 if job.arm.follows else None) for job in plan.main(1, LRS)}
    official, control = by_name["occ-official"], by_name["matched-control"]
    sequences = official.rollout.prompts_per_step * official.rollout.samples_per_prompt // official.update.mini_batches
    assert sequences // official.update.micro_batch_sequences >= 2
    assert (control.regime.coefficient, control.mtp.head_loss) == (0.25, by_name["occ-calibrated"].mtp.head_loss)


def test_control_follows_the_run_of_its_own_base_algorithm_and_seed():
    jobs = {job.key: job for job in plan.main(2, LRS)}
    followers = [job for job in jobs.values() if job.leader]
    assert len(followers) == 2 * len(plan.BASES) * len(plan.ALGORITHMS)
    for job in followers:
        leader = jobs[job.leader]
        assert leader.arm.name == "occ-calibrated"
        assert (leader.base, leader.algorithm, leader.seed) == (job.base, job.algorithm, job.seed)
        assert list(jobs).index(leader.key) < list(jobs).index(job.key)


def test_settings_that_the_trainer_does_not_know_are_seen(tmp_path):
    job = plan.main(1, LRS)[0]
    assert job.is_known(tmp_path)
    assert not replace(job, arm=plan.Arm("new", {"regime": {"kind": "unheard-of"}})).is_known(tmp_path)


def test_best_learning_rate_is_that_of_the_best_mean_and_broken_runs_count_as_nothing():
    finals = {1e-4: [0.5, 0.6], 2e-4: [0.9, None], 4e-4: [0.4, 0.4]}
    rows = [
        {"block": "sweep", "base": "sorting", "algorithm": "dapo", "lr": lr, **({"final": final} if final else {})}
        for lr, values in finals.items()
        for final in values
    ]
    assert plan.best_lrs([*rows, {"block": "main", "final": 1.0}]) == {("sorting", "dapo"): 1e-4}


def test_results_outlive_a_torn_line(tmp_path):
    path = tmp_path / "runs.jsonl"
    Results(path).add({"key": "a", "final": 0.5})
    with path.open("a") as file:
        file.write('{"key": "b", "fi')
    again = Results(path, stamp={"started": "today"})
    assert set(again.rows) == {"a"}
    again.add({"key": "c", "final": 0.7})
    assert set(Results(path).rows) == {"a", "c"}
    assert Results(path).rows["c"] == again.rows["c"] == {"key": "c", "final": 0.7, "started": "today"}
    assert "started" not in Results(path).rows["a"]
