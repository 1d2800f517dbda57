"""How long a run will take, from earlier runs that were alike: median seconds per step x steps, and its evaluations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from backend.words import duration
from db import reads
from db.reads import Earlier
from trainer.config import RunConfig

LEAST_STEPS = 3
"""Steps of a run before it says something."""
_MOST_RUNS = 10
_STEPS_EACH = 100
_ALIKE = (
    "model",
    "mtp.head_loss",
    "regime.kind",
    "regime.exact_every",
    "data.kind",
    "data.path",
    "data.id",
    "data.task",
    "rollout",
    "update",
    "launch.num_processes",
    "audit",
)
"""Settings that have to be equal; others hardly change the time of a step."""
_EVALUATED_ALIKE = ("evaluation.benchmarks", "evaluation.samples", "rollout.max_response_tokens")


@dataclass(frozen=True, slots=True)
class Pace:
    """What earlier runs needed, in seconds."""

    step: float
    """Median over the runs of each run's median."""
    low: float
    """Nine of ten steps took longer."""
    high: float
    """Nine of ten steps took less."""
    evaluation: float | None
    """Median of one evaluation; None where no run evaluated in the same way."""
    runs: tuple[int, ...]
    """The runs it is from."""

    def total(self, config: RunConfig, step: float | None = None) -> float:
        """Seconds of a whole run, evaluations counted where their time is known; loading and waiting are not."""
        per_step = self.step if step is None else step
        return config.steps * per_step + evaluations(config) * (self.evaluation or 0.0)

    def words(self, config: RunConfig) -> str:
        """The estimate with its range, and what it is from."""
        about, low, high = (duration(self.total(config, step)) for step in (self.step, self.low, self.high))
        without = ", evaluations not counted" if evaluations(config) and self.evaluation is None else ""
        like = f"run {self.runs[0]}" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        return f"about {about} ({low} to {high}{without}), at {duration(self.step)} per step as in {like} like it"


def evaluations(config: RunConfig) -> int:
    """How often a run evaluates: before training, in between and after the last step."""
    if not config.evaluation.benchmarks:
        return 0
    return 1 + -(-config.steps // config.evaluation.every)


def pace(
    connection: Connection, config: RunConfig, devices: str | None, among: Sequence[Earlier] | None = None
) -> Pace | None:
    """What runs of like configuration on like devices needed; None where there is none yet.

    Args:
        connection: a look at the store.
        config: the run, with absolute paths.
        devices: the kind of devices that it will get, such as cpu or cuda; None: any.
        among: the trainings to look among, where they have been read already.
    """
    asked = config.model_dump(mode="json")
    found = earlier(connection) if among is None else among
    alike = [one for one in found if _same(one.config, asked, _ALIKE) and _like(one.devices, devices)]
    alike = alike[:_MOST_RUNS]
    ids = [one.id for one in alike]
    steps = reads.newest_values(connection, ids, "time/step_seconds", steps=_STEPS_EACH)
    if not steps:
        return None
    same = [one.id for one in alike if _same(one.config, asked, _EVALUATED_ALIKE)]
    evaluated = reads.newest_values(connection, same, "time/evaluating_seconds", steps=10 * _STEPS_EACH)
    pooled = sorted(value for values in steps.values() for value in values)
    once = [value for values in evaluated.values() for value in values]
    return Pace(
        step=statistics.median(statistics.median(values) for values in steps.values()),
        low=pooled[int(0.1 * (len(pooled) - 1))],
        high=pooled[math.ceil(0.9 * (len(pooled) - 1))],
        evaluation=statistics.median(once) if once else None,
        runs=tuple(sorted(steps)),
    )


def earlier(connection: Connection) -> list[Earlier]:
    """The trainings that may say something."""
    return reads.earlier_trainings(connection, least_steps=LEAST_STEPS)


def _same(there: Mapping[str, Any], here: Mapping[str, Any], fields: Sequence[str]) -> bool:
    return all(_at(there, field) == _at(here, field) for field in fields)


def _at(values: Any, field: str) -> Any:
    for part in field.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _like(had: Sequence[str] | None, wanted: str | None) -> bool:
    return wanted is None or bool(had and had[0].partition(":")[0] == wanted)
