"""A run once more: the same one goes on (resume), or a new one is made from its configuration (clone)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from backend import store
from backend.celery_app import ring
from backend.runs import devices_asked_for, difference, with_absolute_paths
from backend.settings import variables
from db import reads
from db import runs as writes
from db.reads import RunDetail
from db.statuses import ENDED, Kind, Status
from trainer import preflight
from trainer.config import EvaluationConfig, RunConfig, parse_job, resolve
from trainer.config.continuing import free, shown
from trainer.errors import ConfigError, Problem, StoreError
from trainer.folder import write_config

_LONGEST_NAME = 80


def resume(run_id: int, overrides: Sequence[str] = (), *, cause: str = "resumed by the user") -> str:
    """Queue a run that has ended, to go on from its newest checkpoint as another attempt; says in words what happens.

    Args:
        run_id: the run.
        overrides: `a.b=c` for settings that may change when a run goes on, such as steps=200.
        cause: why, in words, as the run shows it.

    Raises:
        StoreError: there is no such run, it has not ended, or nothing is left for it to do or to go on from.
        ConfigError: a setting may not change, or is refused.
    """
    with store.reading() as connection:
        run = reads.get_run(connection, run_id)
    _check_ended(run)
    config = _continued(run, overrides)
    if isinstance(config, EvaluationConfig):
        _check_problems_are_left(run)
        total = run.total_steps
    else:
        _check_something_is_left(run, config)
        total = config.steps
    _check_time_is_left(run, config)
    values = config.model_dump(mode="json")
    changes = difference(run.config, values)
    reason = "; ".join([cause, *(f"{field}: {shown(old)} → {shown(new)}" for field, old, new in changes)])
    with store.writing() as connection:
        resumed = writes.resume(
            connection,
            run_id,
            attempt=run.attempt,
            config=values,
            total_steps=total,
            devices=devices_asked_for(values),
            priority=config.launch.priority,
            retries=config.launch.retries,
            reason=reason,
            now=time.time(),
        )
        if not resumed:
            raise StoreError(f"run {run_id} was resumed by somebody else just now; `mtprl show {run_id}` shows it")
        write_config(config, Path(run.folder))
    ring(run_id)
    if isinstance(config, EvaluationConfig):
        return f"run {run_id} is queued again: {run.step} of its {total} problems are answered"
    again = "it goes on from its newest checkpoint" if run.step else "it starts anew"
    return f"run {run_id} is queued again: {again}, to step {total}"


def _check_ended(run: RunDetail) -> None:
    if run.status == Status.QUEUED:
        raise StoreError(f"run {run.id} waits in the queue already; it need not be resumed")
    if run.status not in ENDED:
        raise StoreError(f"run {run.id} is {run.status}; wait until it has ended, or stop it first")
    if not Path(run.folder).is_dir():
        command = f"mtprl clone {run.id}" if run.kind == Kind.TRAINING else "mtprl evaluate"
        raise StoreError(
            f"run {run.id} has nothing to go on from, because its folder {run.folder} is gone; `{command}` makes a new run"
        )


def _check_something_is_left(run: RunDetail, config: RunConfig) -> None:
    if config.steps <= run.step and config.steps != run.total_steps:
        raise StoreError(
            f"steps: {config.steps} is refused, because run {run.id} has made {run.step} already; give more"
        )
    if config.steps == run.total_steps and run.status == Status.FINISHED:
        raise StoreError(
            f"run {run.id} has finished all its {run.total_steps} steps; `mtprl resume {run.id} --steps {2 * run.total_steps}` "
            f"lengthens it, `mtprl clone {run.id}` makes a new run from its configuration"
        )


def _check_time_is_left(run: RunDetail, config: RunConfig | EvaluationConfig) -> None:
    longest = config.launch.max_hours
    if longest is not None and (run.seconds or 0.0) >= 3600 * longest:
        raise StoreError(
            f"run {run.id} has used all of its {longest:g} h (launch.max_hours); "
            f"`mtprl resume {run.id} --set launch.max_hours={2 * longest:g}` gives it more"
        )


def _check_problems_are_left(run: RunDetail) -> None:
    if run.status == Status.FINISHED:
        raise StoreError(f"run {run.id} has answered all its {run.total_steps} problems; nothing is left to do")


@dataclass(frozen=True, slots=True)
class Clone:
    """What a new run takes over from the one that it is made from."""

    of: int
    values: dict[str, Any]
    experiment: str
    preset: str | None

    @property
    def words(self) -> str:
        """What it is, in a sentence."""
        return f"A clone of run {self.of}: a new run with its configuration and what is changed in it."


def clone_of(connection: Connection, run_id: int) -> Clone:
    """The configuration of a run, to make another one from it.

    Raises:
        StoreError: there is no such run, or it is an evaluation.
    """
    run = reads.get_run(connection, run_id)
    if run.kind != Kind.TRAINING:
        raise StoreError(f"run {run_id} is an evaluation, which has no clones; `mtprl evaluate` makes another one")
    name = str(run.config.get("name") or "")
    # A name that the user gave would stand for two runs.
    values = {**run.config, "name": f"{name[: _LONGEST_NAME - len('-clone')]}-clone" if name else ""}
    return Clone(run_id, values, run.experiment, run.preset)


def _continued(run: RunDetail, overrides: Sequence[str]) -> RunConfig | EvaluationConfig:
    """The run's configuration with the changes.

    Raises:
        ConfigError: it is refused, or changes what may not change.
    """
    config = parse_job(resolve(run.config, overrides, variables()))
    if isinstance(config, RunConfig):
        config = with_absolute_paths(config)
    began = parse_job(run.config).model_dump(mode="json")
    fixed = [
        change
        for change in difference(began, config.model_dump(mode="json"))
        if change[0].split(".")[0] not in free(config)
    ]
    if fixed:
        change = f"--set {fixed[0][0]}={fixed[0][2]}"
        clone = f"mtprl clone {run.id} {change}" if isinstance(config, RunConfig) else f"mtprl evaluate ... {change}"
        raise ConfigError(
            [
                Problem(
                    field,
                    f"is {shown(old)} in run {run.id} and cannot become {shown(new)} when it goes on; `{clone}` makes a new run",
                )
                for field, old, new in fixed
            ]
        )
    if isinstance(config, RunConfig):
        preflight.check(config)
    else:
        preflight.check_evaluation(config)
    return config
