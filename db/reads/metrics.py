"""Metric values: names, latest values and the export of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from db.batches import FINITE, INFINITY, MINUS_INFINITY, NAN
from db.tables import latest_metrics, metric_names, metrics
from trainer.events import STEP_LEVEL

_NON_FINITE = {NAN: math.nan, INFINITY: math.inf, MINUS_INFINITY: -math.inf}
_EXPORT_ROWS = 5000


class Point(NamedTuple):
    """One value of a metric; `mini_batch` is -1 where it is a whole step's."""

    step: int
    mini_batch: int
    value: float
    time: float


class ExportRow(NamedTuple):
    """One value as `mtprl export` writes it."""

    run: int
    attempt: int
    metric: str
    step: int
    mini_batch: int
    value: float
    time: float


class Average(NamedTuple):
    """A mean, None where there is no finite value; how many values it is of, and how many more are not finite."""

    mean: float | None
    values: int
    left_out: int


def decode(value: float | None, code: int) -> float:
    """The number that the columns `value` and `code` hold."""
    return value if code == FINITE and value is not None else _NON_FINITE[code]


def metric_list(connection: Connection, run_id: int) -> list[str]:
    """Names of the metrics that the run has, in alphabetical order."""
    statement = (
        select(metric_names.c.name).join_from(latest_metrics, metric_names).where(latest_metrics.c.run_id == run_id)
    )
    return sorted(connection.execute(statement).scalars())


def latest(connection: Connection, run_id: int) -> dict[str, Point]:
    """The newest value of every metric of the run. A step's own value counts as newer than those of its mini-batches."""
    table = latest_metrics.c
    statement = (
        select(metric_names.c.name, table.step, table.mini_batch, table.value, table.code, table.time)
        .join_from(latest_metrics, metric_names)
        .where(table.run_id == run_id)
        .order_by(metric_names.c.name)
    )
    return {
        name: Point(step, mini_batch, decode(value, code), time)
        for name, step, mini_batch, value, code, time in connection.execute(statement)
    }


def mini_batch_mean(connection: Connection, run_id: int, names: Sequence[str]) -> Average:
    """Mean of all values of these metrics at mini-batches, as far as they are finite."""
    table = metrics.c
    statement = (
        # A value that is not finite is NULL, which neither avg nor count(value) takes in.
        select(func.avg(table.value), func.count(table.value), func.count())
        .join_from(metrics, metric_names, metrics.c.metric_id == metric_names.c.id)
        .where(table.run_id == run_id, metric_names.c.name.in_(names), table.mini_batch != STEP_LEVEL)
    )
    mean, values, rows = connection.execute(statement).one()
    return Average(mean, values, rows - values)


def export_rows(
    connection: Connection, run_id: int, names: Sequence[str] | None = None, *, whole_steps: bool = False
) -> Iterator[ExportRow]:
    """All values of the run, streamed: by metric name, then step, then mini-batch.

    Args:
        names: only these metrics, in this order.
        whole_steps: only the values of whole steps.
    """
    table = metrics.c
    for name in metric_list(connection, run_id) if names is None else names:
        statement = (
            select(table.attempt, table.step, table.mini_batch, table.value, table.code, table.time)
            .join_from(metrics, metric_names, metrics.c.metric_id == metric_names.c.id)
            .where(table.run_id == run_id, metric_names.c.name == name)
            .order_by(table.step, table.mini_batch)
        )
        if whole_steps:
            statement = statement.where(table.mini_batch == STEP_LEVEL)
        for attempt, step, mini_batch, value, code, time in connection.execute(
            statement, execution_options={"yield_per": _EXPORT_ROWS}
        ):
            yield ExportRow(run_id, attempt, name, step, mini_batch, decode(value, code), time)
