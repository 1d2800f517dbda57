"""The table `metric_extremes`: of every stretch of 32 steps of a series its smallest, largest and first non-finite value, and its sum.

A chart of a million values is made of these rows in place of the values (see db.reads.charts, db.reads.means). What stands there follows from
the table `metrics` alone: wherever values were written or removed, the stretches around them are made anew from what is stored. So
a value that is logged again, or made void by a resume, is nowhere counted twice and nowhere left over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    true,
)

from db import upsert
from db.batches import FINITE
from db.tables import metric_extremes, metrics
from trainer.events import STEP_LEVEL

STEPS = 32
"""Of a stretch."""

SUMMABLE = 1e300
"""Values up to this size are added up; sums of larger ones would not be finite."""

PLACES = 2**16
"""Per step; a mini-batch lies between -1 and 2^15 - 1."""


def place() -> ColumnElement[int]:
    """SQL: step and mini-batch of a value as one number that sorts as they do."""
    return cast(metrics.c.step, BigInteger) * PLACES + metrics.c.mini_batch + 1


def refresh(connection: Connection, run_id: int, metric_ids: Sequence[int], first_step: int, last_step: int) -> None:
    """Make the stretches that these steps lie in anew, for these metrics; call it after their values were stored."""
    steps = {"first_step": first_step // STEPS * STEPS, "last_step": last_step // STEPS * STEPS + STEPS - 1}
    statement = upsert.replace_selected(connection, metric_extremes, _of_metrics)
    connection.execute(statement, {"run": run_id, "metrics": list(metric_ids), **steps})


def remove(connection: Connection, run_id: int, metric_ids: Sequence[int], last_step: int) -> None:
    """Remove what lies after `last_step`; call it after the values were removed. `metric_ids` are those that the run still has."""
    of_run, stretch = metric_extremes.c.run_id == run_id, last_step // STEPS
    connection.execute(delete(metric_extremes).where(of_run, metric_extremes.c.stretch >= stretch))
    refresh(connection, run_id, metric_ids, last_step, last_step)


def _of_metrics() -> Any:
    """SELECT of the rows of the table, from the values of one run."""
    run = bindparam("run", type_=Integer)
    fine = case((metrics.c.mini_batch == STEP_LEVEL, 0), else_=1)
    stretch = metrics.c.step // literal(STEPS, literal_execute=True)
    summable = func.abs(metrics.c.value) <= literal(SUMMABLE, literal_execute=True)
    found = (
        select(
            metrics.c.metric_id,
            fine.label("fine"),
            stretch.label("stretch"),
            func.min(metrics.c.value).label(
                "lowest"
            ),  # a value that is not finite is NULL, which min and max pass over
            func.max(metrics.c.value).label("highest"),
            func.min(case((metrics.c.code != FINITE, place()))).label("odd_at"),
            func.count(case((summable, 1))).label("summed"),
            func.sum(case((summable, metrics.c.step), else_=0)).label("step_sum"),
            func.sum(case((summable, metrics.c.value), else_=0.0)).label("value_sum"),
        )
        .where(
            metrics.c.run_id == run,
            metrics.c.metric_id.in_(bindparam("metrics", expanding=True)),
            metrics.c.step.between(bindparam("first_step", type_=Integer), bindparam("last_step", type_=Integer)),
        )
        .group_by(metrics.c.metric_id, fine, stretch)
        .subquery()
    )

    def first(value: ColumnElement[float]) -> Any:
        return (
            select(place())
            .where(
                metrics.c.run_id == run,
                metrics.c.metric_id == found.c.metric_id,
                metrics.c.step.between(found.c.stretch * STEPS, found.c.stretch * STEPS + STEPS - 1),
                fine == found.c.fine,
                metrics.c.value == value,
            )
            .order_by(metrics.c.step, metrics.c.mini_batch)
            .limit(1)
            .scalar_subquery()
        )

    columns = {
        "run_id": run,
        **{
            name: found.c[name]
            for name in (
                "metric_id",
                "fine",
                "stretch",
                "lowest",
                "highest",
                "odd_at",
                "summed",
                "step_sum",
                "value_sum",
            )
        },
        "lowest_at": first(found.c.lowest),
        "highest_at": first(found.c.highest),
    }
    return select(*(columns[column.name].label(column.name) for column in metric_extremes.c)).where(true())
