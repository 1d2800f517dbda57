"""How fast earlier runs were: what an estimate of a new run's time is made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from db.statuses import Kind
from db.tables import attempts, latest_metrics, metric_names, metrics, runs
from trainer.events import STEP_LEVEL

LOOKED_AT = 200
"""Newest trainings that are looked at."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A training that made steps."""

    id: int
    config: Mapping[str, Any]
    devices: Sequence[str] | None
    """Of its last attempt."""


def earlier_trainings(connection: Connection, *, least_steps: int, limit: int = LOOKED_AT) -> list[Earlier]:
    """The newest trainings that made at least so many steps, the newest first."""
    last = (attempts.c.run_id == runs.c.id) & (attempts.c.number == runs.c.attempt)
    statement = (
        select(runs.c.id, runs.c.config, attempts.c.devices)
        .join_from(runs, attempts, last)
        .where(runs.c.kind == Kind.TRAINING, runs.c.step >= least_steps)
        .order_by(runs.c.id.desc())
        .limit(limit)
    )
    return [Earlier(*row) for row in connection.execute(statement)]


def newest_values(connection: Connection, run_ids: Sequence[int], name: str, *, steps: int) -> dict[int, list[float]]:
    """By run: the finite values of a metric over its last `steps` steps."""
    last = latest_metrics.c
    recent = (
        (metrics.c.run_id == last.run_id)
        & (metrics.c.metric_id == last.metric_id)
        & (metrics.c.step > last.step - steps)
        & (metrics.c.mini_batch == STEP_LEVEL)
    )
    statement = (
        select(last.run_id, metrics.c.value)
        .join_from(latest_metrics, metric_names)
        .join(metrics, recent)
        .where(last.run_id.in_(run_ids), metric_names.c.name == name, metrics.c.value.is_not(None))
        .order_by(last.run_id, metrics.c.step)
    )
    found: dict[int, list[float]] = defaultdict(list)
    for run_id, value in connection.execute(statement):
        found[run_id].append(value)
    return dict(found)
