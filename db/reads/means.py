"""Means of metrics over equal stretches of steps: what averages over runs are made of.

Of short stretches they are made of the values, of long ones (`long_means`) of the sums that `db.extremes` keeps.

Of a long run a chart's extremes (`db.reads.charts`) are at other steps than those of the next run; means over the same stretches are
not. Stretch i of width w holds the steps from (i - 1) w + 1 to i w; step 0, what was before training, is one by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from db import extremes
from db.tables import metric_extremes, metric_names, metrics
from trainer.events import STEP_LEVEL


class StretchMean(NamedTuple):
    """Mean of one metric of one run over a stretch of steps."""

    step: float
    """Mean of the steps that have a finite value."""
    mean: float
    values: int
    """Finite values; others are left out."""


def stretch_means(
    connection: Connection, run_ids: Sequence[int], names: Sequence[str], *, width: int
) -> dict[tuple[int, str], list[StretchMean]]:
    """By run and metric, in the order of steps: means over the values of whole steps; without stretches that have none.

    Args:
        width: steps of a stretch, at least 1.
    """
    if width < 1:
        raise ValueError(f"width: {width} is no number of steps; give 1 or more")
    table = metrics.c
    number = (table.step + width - 1) // width
    found: dict[tuple[int, str], list[StretchMean]] = defaultdict(list)
    for run_id in run_ids:  # one statement for each: the database then sorts no more than a run's values at once
        statement = (
            select(metric_names.c.name, func.avg(table.step), func.avg(table.value), func.count())
            .join_from(metrics, metric_names, table.metric_id == metric_names.c.id)
            .where(table.run_id == run_id, metric_names.c.name.in_(names))
            .where(table.mini_batch == STEP_LEVEL, table.value.is_not(None))
            .group_by(metric_names.c.name, number)
            .order_by(metric_names.c.name, number)
        )
        for name, step, mean, count in connection.execute(statement):
            found[run_id, name].append(StretchMean(float(step), mean, count))
    return dict(found)


def long_means(
    connection: Connection, run_ids: Sequence[int], names: Sequence[str], *, width: int
) -> dict[tuple[int, str], list[StretchMean]]:
    """The same, without reading the values: stretch i holds the steps from i w to (i + 1) w - 1, step 0 among them.

    Values beyond +-1e300 are left out like those that are not finite.

    Args:
        width: steps of a stretch, a multiple of `db.extremes.STEPS`.
    """
    if width < 1 or width % extremes.STEPS:
        raise ValueError(f"width: {width} is no multiple of {extremes.STEPS}")
    table = metric_extremes.c
    number = table.stretch // (width // extremes.STEPS)
    sums = (func.sum(table.step_sum), func.sum(table.value_sum), func.sum(table.summed))
    called = select(metric_names.c.id, metric_names.c.name).where(metric_names.c.name.in_(names))
    by_id = dict(connection.execute(called).tuples().all())
    found: dict[tuple[int, str], list[StretchMean]] = defaultdict(list)
    for run_id in run_ids:
        for metric_id, name in by_id.items():  # one series at a time: nothing but its stretches is then sorted
            statement = (
                select(*sums)
                .where(table.run_id == run_id, table.metric_id == metric_id, table.fine == 0, table.summed > 0)
                .group_by(number)
                .order_by(number)
            )
            for steps, total, count in connection.execute(statement):
                found[run_id, name].append(StretchMean(int(steps) / int(count), total / int(count), int(count)))
    return dict(found)
