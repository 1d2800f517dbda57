"""Evaluations as runs of the queue: what is refused, what stands in the row, and what follows a finished training."""

import json
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

from backend import again, evaluations, registry, runs, store
from backend.leaderboard.protocol import prompts_of
from backend.supervisor import supervise
from db import claims, reads
from db.runs import request_stop
from db.statuses import Kind, Status
from trainer.config import EvaluationConfig, RunConfig, load_job
from trainer.config.schema import Sampler, Vllm
from trainer.errors import ConfigError, StoreError
from trainer.manifest import seal
from trainer.rollout.vllm.installed import installed_version

Config = Callable[..., RunConfig]
Mtprl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def suite(tmp_path: Path) -> str:
    """A file of the user's with three problems."""
    path = tmp_path / "held_out.jsonl"
    path.write_text("".join(f'{{"id": "q{n}", "problem": "{n}+1", "answer": "{n + 1}"}}\n' for n in range(3)))
    return str(path)


@pytest.fixture
def trained(config: Config, values: dict[str, Any]) -> int:
    """A run with checkpoints of the steps 2 and 4, which asks its problems in a template."""
    data = {**values["data"], "template": "Q: {problem}"}
    evaluation = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "stop": ["\n\n"]}
    run_id = runs.submit(config(steps=4, data=data, seed=3, evaluation=evaluation), experiment="mine")
    for step in (2, 4):
        _checkpoint(run_id, step, Path(values["model"]["path"]))
    return run_id


def _checkpoint(run_id: int, step: int, model: Path) -> None:
    folder = Path(look(run_id).folder) / "checkpoints" / f"step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "model").symlink_to(model)


def train(run_id: int, *, shut_down: bool = False) -> None:
    with store.writing() as connection:
        claim = claims.claim_next(connection, host=socket.gethostname(), devices=["cpu:0"], now=time.time())
    assert claim is not None
    assert claim.run_id == run_id
    supervise(run_id, claim.attempt, program=PROGRAM, shut_down=shut_down)


def test_a_checkpoint_is_evaluated_in_the_form_in_which_its_run_was_trained(trained: int, suite: str) -> None:
    prepared = evaluations.prepare(evaluations.checkpoint(look(trained)), suite, {"samples": 2})
    job = look(evaluations.queue(prepared))
    assert (job.kind, job.evaluates, job.evaluates_step) == (Kind.EVALUATION, trained, 4)
    assert (job.experiment, job.regime, job.algorithm, job.seed, job.total_steps) == ("mine", "detach", "dapo", 3, 3)
    assert job.name == "held_out.jsonl of finish at step 4"
    written = load_job(Path(job.folder) / "config.yaml")
    assert isinstance(written, EvaluationConfig)
    assert written.model.path.endswith("checkpoints/step-000004/model")
    assert (written.samples, written.temperature, written.top_p, written.max_response_tokens) == (2, 0.6, 0.95, 8)
    assert (written.top_k, written.stop, written.rollout.engine) == (20, ("\n\n",), "builtin")
    assert (written.benchmarks[0].name, written.benchmarks[0].data.template) == ("held_out", "Q: {problem}")
    earlier = evaluations.checkpoint(look(trained), 2)
    assert earlier.values["model"]["path"].endswith("step-000002/model")


def test_the_first_problems_alone_are_named_and_said_to_be_another_protocol(
    mtprl: Mtprl, trained: int, suite: str
) -> None:
    code, out, err = mtprl("evaluate", str(trained), "--suite", suite, "--limit", "2", "--samples", "1")
    assert code == 0, err
    assert "only the first problems of held_out (2): not comparable with results on all of them" in err
    assert "2 problems, 1 samples each" in out
    job = look(int(out.split()[1]))
    assert (job.name, job.total_steps) == ("held_out.jsonl first 2 of finish at step 4", 2)
    limited, whole = (
        evaluations.prepare(evaluations.checkpoint(look(trained)), suite, limit=limit) for limit in (2, None)
    )
    assert (limited.problems, whole.problems, whole.warnings) == (2, 3, ())
    assert prompts_of(job)["held_out"]["limit"] == 2
    assert "limit" not in prompts_of(look(evaluations.queue(whole)))["held_out"]


def test_a_model_that_no_run_made_stands_by_itself(values: dict[str, Any], suite: str) -> None:
    job = look(evaluations.queue(evaluations.prepare(evaluations.model(values["model"]["path"]), suite)))
    assert (job.experiment, job.regime, job.evaluates, job.evaluates_step) == ("evaluations", "base", None, None)
    assert (job.config["samples"], job.config["max_response_tokens"]) == (32, 8192)  # the paper's


@pytest.mark.parametrize(
    ("settings", "overrides", "says"),
    [
        ({"samples": 0}, [], "samples: "),
        ({"top_p": 2.0}, [], "top_p: "),
        ({}, ["steps=3"], "steps: "),
        ({}, ["benchmarks.0.data.chat=true"], "has no chat template; set chat to false"),
        ({}, ["benchmarks.0.data.path=nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
    ],
)
def test_what_could_not_work_is_refused_and_nothing_is_made(
    trained: int, suite: str, home: Path, settings: dict[str, Any], overrides: list[str], says: str
) -> None:
    before = sorted((home / "runs").iterdir())
    with pytest.raises(ConfigError, match=says):
        evaluations.prepare(evaluations.checkpoint(look(trained)), suite, settings, overrides)
    assert sorted((home / "runs").iterdir()) == before


@pytest.fixture
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a vLLM were installed that can sample from any model."""
    monkeypatch.setattr("trainer.preflight.engine_problems", lambda config: [])


def test_a_checkpoint_is_sampled_as_its_run_samples_unless_another_engine_is_asked_for(
    config: Config, values: dict[str, Any], suite: str, with_vllm: None
) -> None:
    drafting = {"draft_tokens": 1, "cache_gib": 2.0}
    rollout = {**values["rollout"], "engine": "vllm", "vllm": drafting}
    run_id = runs.submit(config(steps=4, rollout=rollout))
    _checkpoint(run_id, 4, Path(values["model"]["path"]))

    def sampler(**settings: Any) -> Sampler:
        return evaluations.prepare(evaluations.checkpoint(look(run_id)), suite, settings).config.rollout

    usual = Sampler(engine="vllm", vllm=Vllm(draft_tokens=1, cache_gib=2.0))
    assert sampler() == usual
    assert sampler(engine="vllm") == usual
    assert sampler(engine="builtin") == Sampler()
    model = evaluations.model(values["model"]["path"])
    assert evaluations.prepare(model, suite).config.rollout == Sampler()
    assert evaluations.prepare(model, suite, {"engine": "vllm"}).config.rollout == Sampler(engine="vllm")


@pytest.mark.parametrize(
    ("settings", "overrides", "says"),
    [
        ({"engine": "vllm"}, [], "stop: stop strings do not go with rollout.engine vllm yet"),
        ({"engine": "sglang"}, [], "rollout.engine: "),
        ({}, ["rollout.vllm.draft_tokens=1"], "rollout.vllm.draft_tokens: 1 has no effect with rollout.engine builtin"),
        ({}, ["rollout.vllm.dtype=half"], "dtype: is no setting here"),
    ],
)
def test_what_an_engine_cannot_do_is_refused(
    trained: int, suite: str, with_vllm: None, settings: dict[str, Any], overrides: list[str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        evaluations.prepare(evaluations.checkpoint(look(trained)), suite, settings, overrides)


@pytest.mark.skipif(installed_version() is not None, reason="vllm is installed here")
def test_an_engine_that_is_not_installed_is_refused_before_anything_is_queued(
    values: dict[str, Any], suite: str
) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.engine: vllm is not installed beside this program"):
        evaluations.prepare(evaluations.model(values["model"]["path"]), suite, {"engine": "vllm"})


def test_only_checkpoints_that_are_there_are_evaluated(trained: int, config: Config, suite: str) -> None:
    with pytest.raises(StoreError, match=r"run 1 has no checkpoint of step 3; choose one of 2, 4"):
        evaluations.checkpoint(look(trained), 3)
    without = runs.submit(config())
    with pytest.raises(
        StoreError, match=r"run 2 has no checkpoint yet; it saves one every 50 steps and after the last"
    ):
        evaluations.checkpoint(look(without))
    job = evaluations.queue(evaluations.prepare(evaluations.checkpoint(look(trained)), suite))
    with pytest.raises(StoreError, match="is itself an evaluation"):
        evaluations.checkpoint(look(job))


def test_a_stopped_evaluation_is_resumed_with_what_may_change_and_has_no_clones(trained: int, suite: str) -> None:
    job = evaluations.queue(evaluations.prepare(evaluations.checkpoint(look(trained)), suite))
    with store.writing() as connection:
        request_stop(connection, job, time.time())
    with pytest.raises(
        ConfigError, match=r"samples: is 32 in run 2 and cannot become 4 .* `mtprl evaluate \.\.\. --set samples=4`"
    ):
        again.resume(job, ["samples=4"])
    assert again.resume(job, ["sequences=8"]) == "run 2 is queued again: 0 of its 3 problems are answered"
    assert look(job).config["sequences"] == 8
    with store.reading() as connection, pytest.raises(StoreError, match="which has no clones"):
        again.clone_of(connection, job)


def test_an_evaluation_whose_time_is_over_or_whose_folder_is_gone_is_not_resumed(
    values: dict[str, Any], suite: str
) -> None:
    settings = {"launch": {"max_hours": 1e-6}}
    job = evaluations.queue(evaluations.prepare(evaluations.model(values["model"]["path"]), suite, settings))
    train(job)
    with pytest.raises(StoreError, match=rf"`mtprl resume {job} --set launch\.max_hours=2e-06` gives it more"):
        again.resume(job)
    shutil.rmtree(look(job).folder)
    with pytest.raises(StoreError, match=r"is gone; `mtprl evaluate` makes a new run"):
        again.resume(job)


def test_a_finished_training_queues_the_evaluation_that_it_asked_for_once(
    config: Config, values: dict[str, Any], suite: str
) -> None:
    run_id = runs.submit(config(steps=4, evaluation={"afterwards": {"suite": suite, "samples": 3}, "top_p": 0.9}))
    _checkpoint(run_id, 4, Path(values["model"]["path"]))
    train(run_id)
    assert look(run_id).status == Status.FINISHED
    with store.reading() as connection:
        [job] = reads.list_runs(connection, kind=Kind.EVALUATION)
        said = [row.message for row in reads.run_events(connection, run_id)]
    assert (job.status, job.evaluates, job.evaluates_step, job.total_steps) == (Status.QUEUED, run_id, 4, 3)
    assert f"run {job.id} is queued, to evaluate it" in said
    written = yaml.safe_load((Path(job.folder) / "config.yaml").read_text())
    assert (written["samples"], written["top_p"], written["max_response_tokens"]) == (3, 0.9, 8)


def test_an_evaluation_that_cannot_be_queued_leaves_the_training_finished_and_says_why(
    config: Config, suite: str
) -> None:
    run_id = runs.submit(config(steps=4, evaluation={"afterwards": {"suite": suite}}))
    train(run_id)  # the stand-in saves no model
    assert look(run_id).status == Status.FINISHED
    with store.reading() as connection:
        said = {row.message: row.severity for row in reads.run_events(connection, run_id)}
        assert reads.list_runs(connection, kind=Kind.EVALUATION) == []
    [words] = [words for words in said if "could not be queued" in words]
    assert "has no checkpoint yet" in words
    assert said[words] == "warning"


def test_a_training_whose_evaluation_names_no_suite_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.afterwards\.suite: 'nothing' is not known"):
        runs.submit(config(evaluation={"afterwards": {"suite": "nothing"}}))


def test_a_run_that_was_stopped_is_not_evaluated(config: Config, values: dict[str, Any], suite: str) -> None:
    run_id = runs.submit(config(steps=4, evaluation={"afterwards": {"suite": suite}}))
    _checkpoint(run_id, 4, Path(values["model"]["path"]))
    train(run_id, shut_down=True)
    assert look(run_id).status == Status.STOPPED
    with store.reading() as connection:
        assert reads.list_runs(connection, kind=Kind.EVALUATION) == []


# --- from the shell ----------------------------------------------------------------------------------------


def rate(run_id: int, accuracies: dict[int, float]) -> None:
    """Say of checkpoints what the trainer says of them."""
    run = look(run_id)
    for step, accuracy in accuracies.items():
        folder = Path(run.folder) / "checkpoints" / f"step-{step:06d}"
        about = {"step": step, "config": run.config, "accuracy": accuracy}
        (folder / "about.json").write_text(json.dumps(about))
        seal(folder)


def test_several_runs_are_evaluated_in_one_call_all_or_none(
    mtprl: Mtprl, trained: int, config: Config, values: dict[str, Any], suite: str
) -> None:
    other = runs.submit(config(steps=4))
    _checkpoint(other, 2, Path(values["model"]["path"]))
    code, out, err = mtprl("evaluate", str(trained), str(other), "--suite", suite, "--step", "4")
    assert (code, "run 2 has no checkpoint of step 4; choose one of 2" in err) == (1, True)
    with store.reading() as connection:
        assert reads.list_runs(connection, kind=Kind.EVALUATION) == []
    code, out, _ = mtprl("evaluate", str(trained), str(other), "--suite", suite, "--step", "2")
    assert (code, out.count("is queued, of ")) == (0, 2)
    with store.reading() as connection:
        jobs = reads.list_runs(connection, kind=Kind.EVALUATION)
    assert {(job.evaluates, job.evaluates_step) for job in jobs} == {(trained, 2), (other, 2)}


def test_the_best_checkpoint_is_evaluated_where_there_is_one(mtprl: Mtprl, trained: int, suite: str) -> None:
    assert "so that none is the best" in mtprl("evaluate", str(trained), "--suite", suite, "--best")[2]
    rate(trained, {2: 0.75, 4: 0.5})
    code, _, err = mtprl("evaluate", str(trained), "--suite", suite, "--best")
    assert code == 0, err
    with store.reading() as connection:
        [job] = reads.list_runs(connection, kind=Kind.EVALUATION)
    assert job.evaluates_step == 2
    assert "--best name two checkpoints" in mtprl("evaluate", str(trained), "--best", "--step", "2")[2]


def test_a_registered_model_is_evaluated_by_its_name(
    mtprl: Mtprl, trained: int, values: dict[str, Any], suite: str
) -> None:
    registry.add_model("finish", values["model"]["path"])
    registry.add_model("small", values["model"]["path"])
    assert mtprl("evaluate", "finish", "--suite", suite)[0] == 0  # the run of that name
    assert mtprl("evaluate", "small", "--model", "finish", "--suite", suite)[0] == 0
    with store.reading() as connection:
        jobs = reads.list_runs(connection, kind=Kind.EVALUATION)
    assert sorted(job.evaluates or 0 for job in jobs) == [0, 0, trained]
    code, _, err = mtprl("evaluate", "smal", "--suite", suite)
    assert (code, "run 'smal' does not exist" in err, "near to it: small" in err) == (1, True, True)
    assert "--step: is for a run's checkpoints" in mtprl("evaluate", "small", "--step", "2")[2]
    assert "give what to evaluate" in mtprl("evaluate")[2]
