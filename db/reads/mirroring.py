"""What a live copy of the store reads: how far each run is, where its attempts went on from, and the values of a stretch of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, select

from db import tables
from db.reads.metrics import decode
from db.statuses import ENDED, Status
from db.tables import attempts, latest_metrics, metric_names, metrics, run_events, runs
from trainer.events import STEP_LEVEL


class Progress(NamedTuple):
    """How far a run is."""

    run_id: int
    name: str
    experiment: str
    attempt: int
    complete: int
    """The last step of which every value is stored; -1 where none is. Of a run that trains, the step before the last: an evaluation may follow."""


class StepValue(NamedTuple):
    """A value of a whole step."""

    step: int
    metric: str
    value: float
    time: float


def progress(connection: Connection, *, experiment: str | None = None, run_id: int | None = None) -> list[Progress]:
    """The runs that have begun, of one experiment or only this one where they are given, the oldest first."""
    table = tables.experiments
    statement = (
        select(runs.c.id, runs.c.name, table.c.name, runs.c.attempt, runs.c.step, runs.c.status)
        .join_from(runs, table)
        .where(runs.c.attempt > 0)
        .order_by(runs.c.id)
    )
    if experiment is not None:
        statement = statement.where(table.c.name == experiment)
    if run_id is not None:
        statement = statement.where(runs.c.id == run_id)
    return [
        Progress(*row[:4], row.step if Status(row.status) in ENDED else row.step - 1)
        for row in connection.execute(statement)
    ]


def beginnings(connection: Connection, run_id: int, after: int) -> list[tuple[int, int]]:
    """(attempt, last step that stayed: -1 where none did) of the attempts after `after` whose trainers have begun, the first one first."""
    began = (
        select(run_events.c.attempt)
        .where(run_events.c.run_id == run_id, run_events.c.type == "attempt_started", run_events.c.attempt > after)
        .distinct()
    )
    statement = (
        select(attempts.c.number, attempts.c.resumed_from)
        .where(attempts.c.run_id == run_id, attempts.c.number.in_(began))
        .order_by(attempts.c.number)
    )
    return [(number, -1 if step is None else step) for number, step in connection.execute(statement)]


def step_values(connection: Connection, run_id: int, first: int, last: int) -> Iterator[StepValue]:
    """The values of whole steps from `first` to `last`, by step."""
    of_metric = (metrics.c.run_id == latest_metrics.c.run_id) & (metrics.c.metric_id == latest_metrics.c.metric_id)
    statement = (
        select(metrics.c.step, metric_names.c.name, metrics.c.value, metrics.c.code, metrics.c.time)
        .join_from(latest_metrics, metric_names)
        .join(metrics, of_metric)
        .where(latest_metrics.c.run_id == run_id, metrics.c.mini_batch == STEP_LEVEL)
        .where(metrics.c.step >= first, metrics.c.step <= last)
        .order_by(metrics.c.step, metric_names.c.name)
    )
    for step, name, value, code, time in connection.execute(statement):
        yield StepValue(step, name, decode(value, code), time)
