"""Evaluations as runs of the queue: of a model, of a run's checkpoint, and of a run that has just finished."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from backend import store
from backend.celery_app import ring
from backend.checkpoints import listed
from backend.runs import check_experiment, folders_or_none, make, settled_benchmarks, settled_model
from backend.settings import variables
from db.reads import RunDetail
from db.statuses import ENDED, Kind
from trainer import preflight
from trainer.config import Benchmark, EvaluationConfig, parse, parse_job, resolve
from trainer.config.data import Prompted
from trainer.config.evaluating import PAPER_MAX_TOKENS
from trainer.config.schema import Sampler
from trainer.errors import ConfigError, Problem, StoreError
from trainer.evaluation import suites
from trainer.folder import checkpoints

BASE = "base"
"""What stands in the place of the regime where the model was made by no run."""
EXPERIMENT = "evaluations"
"""The experiment of evaluations of models that no run made."""

_LONGEST_NAME = 80
_DECODING = {"temperature", "top_p", "top_k", "stop"}
"""What an evaluation has in common with the run's own."""


@dataclass(frozen=True, slots=True)
class Evaluable:
    """A model to evaluate: a run's checkpoint, or a model that no run made."""

    values: Mapping[str, Any]
    """What follows for the evaluation's configuration."""
    called: str
    """In a name."""
    run: RunDetail | None = None
    step: int | None = None
    """The step after which the checkpoint was saved."""
    prompts: Mapping[str, Any] | None = None
    """How the run makes prompts of problems; None: as the suite does."""


def model(path: str) -> Evaluable:
    """A model by its folder or its name on the hub, asked by its chat template where it has one."""
    return Evaluable(
        {"model": {"path": path}}, Path(path).name, prompts={"chat": preflight.has_chat_template(path) or False}
    )


def checkpoint(run: RunDetail, step: int | None = None) -> Evaluable:
    """A run's checkpoint, by default the newest.

    Raises:
        StoreError: the run is no training, or has no such checkpoint.
    """
    if run.kind != Kind.TRAINING:
        raise StoreError(f"run {run.id} is itself an evaluation; name the run that it evaluates, or a model")
    found = checkpoints(Path(run.folder))
    if not found:
        if run.status in ENDED:
            raise StoreError(
                f"run {run.id} has ended ({run.status}) without a checkpoint, so there is nothing to evaluate"
            )
        every = run.config.get("checkpoint", {}).get("every", "?")
        raise StoreError(f"run {run.id} has no checkpoint yet; it saves one every {every} steps and after the last")
    if step is None:
        step = max(found)
    elif step not in found:
        raise StoreError(
            f"run {run.id} has no checkpoint of step {step}; choose one of {', '.join(map(str, sorted(found)))}"
        )
    values: dict[str, Any] = {"model": {"path": str(found[step])}}
    prompts = None
    try:
        config = parse(run.config)
    except ConfigError:
        pass  # of an older version: what its settings meant is not known any more
    else:
        values["model"]["mixed_precision"] = config.model.mixed_precision
        values["max_response_tokens"] = config.rollout.max_response_tokens
        values |= config.evaluation.model_dump(mode="json", include=_DECODING)
        values["rollout"] = config.rollout.model_dump(mode="json", include=set(Sampler.model_fields))
        prompts = {name: getattr(config.data, name) for name in Prompted.model_fields}
    return Evaluable(values, f"{run.name} at step {step}", run, step, prompts)


def best_step(run: RunDetail) -> int:
    """The step of a run's best checkpoint by its own held-out accuracy.

    Raises:
        StoreError: none of its checkpoints was evaluated when it was saved.
    """
    found = next((one for one in listed(Path(run.folder), run.config) if one.best), None)
    if found is None:
        raise StoreError(
            f"run {run.id} has no checkpoint with an accuracy of its own evaluations, so that none is the best; name one by its step, or take the newest"
        )
    return found.step


@dataclass(frozen=True, slots=True)
class Prepared:
    """An evaluation that can be queued."""

    config: EvaluationConfig
    of: Evaluable
    problems: int
    warnings: tuple[str, ...]
    """What is not as expected of the suite."""


def prepare(
    of: Evaluable,
    suite: str,
    settings: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    limit: int | None = None,
) -> Prepared:
    """Make the configuration of an evaluation and refuse what could not work. Reads the suite's problems.

    Args:
        of: what to evaluate.
        suite: as `trainer.evaluation.suites.resolve` takes it.
        settings: values of the configuration, such as samples; `engine` stands for rollout.engine; None in it: the default, which of
            how a run's checkpoint is sampled is as the run's own evaluations are.
        overrides: `a.b=c` for any other value.
        limit: only the first problems of each benchmark; None: all.

    Raises:
        ConfigError: with every reason.
    """
    found = suites.resolve(suite, {**os.environ, **variables()})
    longest = found.max_response_tokens or of.values.get("max_response_tokens") or PAPER_MAX_TOKENS
    given = {name: value for name, value in (settings or {}).items() if value is not None}
    asked = [benchmark.model_copy(update={"limit": limit}) for benchmark in found.benchmarks]
    benchmarks = [_prompted(benchmark, of.prompts).model_dump(mode="json") for benchmark in asked]
    engine = given.pop("engine", None)
    if engine not in (None, of.values.get("rollout", {}).get("engine")):
        given["rollout"] = {"engine": engine}
    values = {
        "kind": "evaluation",
        **of.values,
        "suite": found.name,
        "benchmarks": benchmarks,
        "max_response_tokens": longest,
        **given,
    }
    config = parse_job(resolve(values, overrides, variables()))
    assert isinstance(config, EvaluationConfig)
    settled = {"model": settled_model(config.model), "benchmarks": settled_benchmarks(config.benchmarks)}
    config = config.model_copy(update=settled)
    return Prepared(config, of, _count(config), (*found.warnings, *_shortened(config)))


def queue(prepared: Prepared, *, experiment: str | None = None) -> int:
    """Queue an evaluation and return its run's id. It stands with the run that it evaluates, unless an experiment is given.

    Raises:
        ConfigError: the experiment's name is refused.
    """
    [run_id] = queue_all([prepared], experiment=experiment)
    return run_id


def queue_all(asked: Sequence[Prepared], *, experiment: str | None = None) -> list[int]:
    """The same for several: all of them or none.

    Raises:
        ConfigError: the experiment's name is refused.
    """
    ids = []
    with folders_or_none() as folders, store.writing() as connection:
        for prepared in asked:
            usual = prepared.of.run.experiment if prepared.of.run else EXPERIMENT
            where = usual if experiment is None else experiment
            ids.append(queue_within(connection, prepared, folders, experiment=where))
    for run_id in ids:
        ring(run_id)
    return ids


def queue_within(connection: Connection, prepared: Prepared, folders: list[Path], *, experiment: str) -> int:
    """Queue an evaluation in the caller's transaction; its folder is added to `folders`."""
    check_experiment(connection, experiment)
    config, run = prepared.config, prepared.of.run
    suite = ",".join(part.rpartition("/")[2] for part in config.suite.split(","))
    return make(
        connection,
        config,
        folders,
        kind=Kind.EVALUATION,
        experiment=experiment,
        name=config.name or _usable(f"{suite}{_first(config)} of {prepared.of.called}"),
        regime=run.regime if run else BASE,
        algorithm=run.algorithm if run else "",
        seed=run.seed if run else config.seed,
        preset=run.preset if run else None,
        total_steps=prepared.problems,
        evaluates=run.id if run else None,
        evaluates_step=prepared.of.step,
    )


def prepare_afterwards(run: RunDetail) -> Prepared | None:
    """The evaluation that a finished training asked for (evaluation.afterwards); None where it asked for none.

    Raises:
        MtprlError: it could not work.
    """
    if run.kind != Kind.TRAINING or not (run.config.get("evaluation") or {}).get("afterwards"):
        return None
    config = parse(run.config)
    afterwards = config.evaluation.afterwards
    assert afterwards is not None
    settings = {
        "samples": afterwards.samples,
        "max_response_tokens": afterwards.max_response_tokens,
        "launch": config.launch.model_dump(mode="json"),
    }
    return prepare(checkpoint(run), afterwards.suite, settings)


def _count(config: EvaluationConfig) -> int:
    """How many problems it has.

    Raises:
        ConfigError: it could not work.
    """
    try:
        return preflight.check_evaluation(config)
    except ConfigError as error:
        if not any(".data.id" in problem.field for problem in error.problems):
            raise
        fix = "or set MTPRL_BENCHMARKS_DIR to a folder that holds the benchmarks as JSONL files (docs/data.md)"
        raise ConfigError([*error.problems, Problem("", fix)]) from None


def _prompted(benchmark: Benchmark, prompts: Mapping[str, Any] | None) -> Benchmark:
    """The benchmark, asked in the form in which the policy was trained."""
    return benchmark.model_copy(update={"data": benchmark.data.model_copy(update=prompts or {})})


def _first(config: EvaluationConfig) -> str:
    """What the name of an evaluation of fewer problems adds to its suite's; "" where all are asked or the benchmarks differ in how many."""
    limits = {benchmark.limit for benchmark in config.benchmarks}
    return f" first {limits.pop()}" if len(limits) == 1 and None not in limits else ""


def _shortened(config: EvaluationConfig) -> list[str]:
    """Words for benchmarks of which only the first problems are asked."""
    limited = [f"{benchmark.name} ({benchmark.limit})" for benchmark in config.benchmarks if benchmark.limit]
    said = f"only the first problems of {', '.join(limited)}: not comparable with results on all of them, and on a board of its own"
    return [said] if limited else []


def _usable(name: str) -> str:
    """A text as a run may be called."""
    return re.sub(r"[^\w .+-]", "-", name)[:_LONGEST_NAME].strip()
