"""Series for charts: as many points as a chart can show, chosen in SQL.

A series that has no more than `max_points` values is returned whole. A longer one is cut into buckets of about equally many steps;
of each bucket its smallest, its largest and its first non-finite value are taken, so that no spike and no NaN is lost, and
of the whole series its first and its last value. Where a bucket would be longer than the stretches of `db.extremes`, it is one of
whole stretches, and they are read in place of the values. What is taken depends on the stored values only. The number of statements
does not depend on the number of series, and no value that is not taken leaves the database.

Values that are to be set against each other come from `aligned`: of a long run it takes every so many-th place, for all metrics
the same ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any, Literal

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    bindparam,
    case,
    func,
    literal,
    select,
    true,
    union,
)

from db.batches import FINITE
from db.extremes import PLACES, STEPS, place
from db.reads.metrics import decode
from db.tables import metric_extremes, metric_names, metrics, runs
from trainer.events import STEP_LEVEL

Level = Literal["step", "mini_batch"]

_ENDS = 2
_POINTS_PER_BUCKET = 3
_FINE: dict[Level, int] = {"step": 0, "mini_batch": 1}

_WHOLE, _VALUES, _STRETCHES = range(3)
"""What a series is made of: all its values, the extremes of its values, or those of its stretches."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one metric in one run, in the order of step and mini-batch; `mini_batches` are -1 at step level."""

    steps: tuple[int, ...]
    mini_batches: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Aligned:
    """Values of several metrics of one run at the same places, in the order of step and mini-batch."""

    steps: tuple[int, ...]
    mini_batches: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    """By metric, one per place; NaN where the metric has none there. Metrics with no value at all are left out."""
    total: int
    """How many places there are; more than here where they were thinned out."""


def series(
    connection: Connection,
    run_ids: Sequence[int],
    names: Sequence[str],
    *,
    max_points: int = 1000,
    level: Level = "step",
) -> dict[tuple[int, str], Series]:
    """Bounded series by (run id, metric name), from one statement; those without a value are left out.

    Args:
        max_points: most points of a series, at least 2.
        level: `step` for the values of whole steps, `mini_batch` for those of their mini-batches.
    """
    if max_points < _ENDS:
        raise ValueError(f"max_points: {max_points} is too few; a series needs its first and its last point")
    buckets = (max_points - _ENDS) // _POINTS_PER_BUCKET
    parameters = {"run_ids": list(run_ids), "names": list(names), "max_points": max_points, "buckets": buckets}
    result = {}
    for key, rows in groupby(connection.execute(_statement(level), parameters), key=lambda row: (row[0], row[1])):
        points = [(step, mini_batch, decode(value, code)) for _, _, step, mini_batch, value, code in rows]
        steps, mini_batches, numbers = zip(*points, strict=True)
        result[key] = Series(steps, mini_batches, numbers)
    return result


def longer_than(
    connection: Connection, run_ids: Sequence[int], names: Sequence[str], most: int
) -> set[tuple[int, str]]:
    """Run id and metric name of the series with more than `most` values of whole steps: those that `series` does not return whole."""
    inside = (metrics.c.run_id == runs.c.id, metrics.c.metric_id == metric_names.c.id, _at("step"))
    next_one = select(literal(1)).where(*inside).offset(most).limit(1).correlate(runs, metric_names)
    statement = select(runs.c.id, metric_names.c.name).join_from(runs, metric_names, true())
    found = connection.execute(
        statement.where(runs.c.id.in_(run_ids), metric_names.c.name.in_(names), next_one.exists())
    )
    return set(found.tuples())


def aligned(
    connection: Connection,
    run_id: int,
    names: Sequence[str],
    *,
    anchor: str,
    max_places: int = 400,
    level: Level = "mini_batch",
) -> Aligned:
    """Values of the metrics `names` at the places where the metric `anchor` has one.

    Of more than `max_places` places every k-th one is taken, counted back from the last, with the smallest k that suffices.
    """
    in_order = (metrics.c.step, metrics.c.mini_batch)
    numbered = (
        select(
            *in_order,
            func.row_number().over(order_by=in_order).label("number"),
            func.count().over().label("total"),
        )
        .join_from(metrics, metric_names, metrics.c.metric_id == metric_names.c.id)
        .where(metrics.c.run_id == run_id, metric_names.c.name == anchor, _at(level))
        .subquery()
    )
    every = (numbered.c.total + max_places - 1) // max_places
    chosen = select(numbered.c.step, numbered.c.mini_batch, numbered.c.total).where(
        (numbered.c.total - numbered.c.number) % every == 0
    )
    places = {(step, mini_batch): total for step, mini_batch, total in connection.execute(chosen)}
    # Lists in the place of a join: planners are tempted to read a metric's whole series for every place.
    steps, mini_batches = ({place[part] for place in places} for part in (0, 1))
    statement = (
        select(*in_order, metric_names.c.name, metrics.c.value, metrics.c.code)
        .join_from(metrics, metric_names, metrics.c.metric_id == metric_names.c.id)
        .where(metrics.c.run_id == run_id, metric_names.c.name.in_(names))
        .where(metrics.c.step.in_(steps), metrics.c.mini_batch.in_(mini_batches))
    )
    values: dict[str, dict[tuple[int, int], float]] = defaultdict(dict)
    for step, mini_batch, name, value, code in connection.execute(statement):
        if (step, mini_batch) in places:
            values[name][step, mini_batch] = decode(value, code)
    ordered = sorted(places)
    return Aligned(
        steps=tuple(step for step, _ in ordered),
        mini_batches=tuple(mini_batch for _, mini_batch in ordered),
        values={
            name: tuple(values[name].get(place, math.nan) for place in ordered) for name in names if name in values
        },
        total=next(iter(places.values()), 0),
    )


@cache
def _statement(level: Level) -> Any:
    """Rows (run id, name, step, mini-batch, value, code) in that order, of all series together."""
    spans = _spans(level)
    picked = _picked(level, spans)
    short = (spans.c.kind == _WHOLE) & _at(level)
    long = (metrics.c.step == picked.c.place // PLACES) & (metrics.c.mini_batch == picked.c.place % PLACES - 1)
    parts = [
        select(
            source.c.run_id, source.c.name, metrics.c.step, metrics.c.mini_batch, metrics.c.value, metrics.c.code
        ).join_from(source, metrics, _of(source) & condition)
        for source, condition in ((spans, short), (picked, long))
    ]
    rows = parts[0].union_all(parts[1]).subquery()
    return select(rows).order_by(rows.c.run_id, rows.c.name, rows.c.step, rows.c.mini_batch)


def _spans(level: Level) -> CTE:
    """One row per series: its first and last stretch and value, and what it is to be made of."""
    run, name = runs.alias(), metric_names.alias()
    stretches = (
        metric_extremes.c.run_id == run.c.id,
        metric_extremes.c.metric_id == name.c.id,
        metric_extremes.c.fine == _FINE[level],
    )
    ends = (
        select(run.c.id.label("run_id"), name.c.id.label("metric_id"), name.c.name)
        .add_columns(
            *(
                select(end(metric_extremes.c.stretch))
                .where(*stretches)
                .correlate(run, name)
                .scalar_subquery()
                .label(which)
                for which, end in (("first_stretch", func.min), ("last_stretch", func.max))
            )
        )
        .join_from(run, name, true())
        .where(run.c.id.in_(bindparam("run_ids", expanding=True)), name.c.name.in_(bindparam("names", expanding=True)))
        .cte("ends")
    )
    inside, in_order = (_of(ends), _at(level)), (metrics.c.step, metrics.c.mini_batch)
    backwards = [column.desc() for column in in_order]
    first = select(place()).where(*inside, metrics.c.step >= ends.c.first_stretch * STEPS).order_by(*in_order).limit(1)
    last = (
        select(place()).where(*inside, metrics.c.step < (ends.c.last_stretch + 1) * STEPS).order_by(*backwards).limit(1)
    )
    most, buckets = bindparam("max_points", type_=Integer), bindparam("buckets", type_=Integer)
    some = select(literal(1)).where(*inside).limit(most + 1).correlate(ends)
    count = select(func.count()).select_from(some.subquery()).scalar_subquery()
    kind = case(
        (count <= most, _WHOLE),
        (ends.c.last_stretch - ends.c.first_stretch + 1 >= buckets, _STRETCHES),
        else_=_VALUES,
    )
    return (
        select(
            *ends.c, first.scalar_subquery().label("first"), last.scalar_subquery().label("last"), kind.label("kind")
        )
        .where(ends.c.first_stretch.is_not(None))
        .cte("spans")
    )


def _picked(level: Level, spans: CTE) -> CTE:
    """The places of the values to show of each long series, without repetition."""
    buckets = bindparam("buckets", type_=Integer)
    number = select(literal(0, BigInteger).label("number")).where(buckets > 0).cte("bucket", recursive=True)
    number = number.union_all(select(number.c.number + 1).where(number.c.number + 1 < buckets))

    def bucket(
        position: ColumnElement[int], first: ColumnElement[int], last: ColumnElement[int]
    ) -> ColumnElement[bool]:
        width = last - first + 1
        begin, end = (first + width * each // buckets for each in (number.c.number, number.c.number + 1))
        return (position >= begin) & (position < end)

    finite, in_order = metrics.c.code == FINITE, (metrics.c.step, metrics.c.mini_batch)
    of_values = (_of(spans), _at(level), bucket(metrics.c.step, spans.c.first // PLACES, spans.c.last // PLACES))
    extremes = metric_extremes.c
    of_stretches = (
        extremes.run_id == spans.c.run_id,
        extremes.metric_id == spans.c.metric_id,
        extremes.fine == _FINE[level],
        bucket(extremes.stretch, spans.c.first_stretch, spans.c.last_stretch),
    )
    choices = {
        _VALUES: (
            select(place()).where(*of_values, finite).order_by(metrics.c.value, *in_order).limit(1),
            select(place()).where(*of_values, finite).order_by(metrics.c.value.desc(), *in_order).limit(1),
            select(place()).where(*of_values, ~finite).order_by(*in_order).limit(1),
        ),
        _STRETCHES: (
            select(extremes.lowest_at)
            .where(*of_stretches, extremes.lowest.is_not(None))
            .order_by(extremes.lowest, extremes.lowest_at)
            .limit(1),
            select(extremes.highest_at)
            .where(*of_stretches, extremes.highest.is_not(None))
            .order_by(extremes.highest.desc(), extremes.highest_at)
            .limit(1),
            select(func.min(extremes.odd_at)).where(*of_stretches),
        ),
    }
    series_columns = (spans.c.run_id, spans.c.metric_id, spans.c.name)
    of_buckets = [
        select(*series_columns, choice.correlate(spans, number).scalar_subquery().label("place")).select_from(
            spans.join(number, spans.c.kind == kind)
        )
        for kind, of_kind in choices.items()
        for choice in of_kind
    ]
    ends = [
        select(*series_columns, end.label("place")).where(spans.c.kind != _WHOLE)
        for end in (spans.c.first, spans.c.last)
    ]
    return union(*of_buckets, *ends).cte("picked")


def _at(level: Level) -> ColumnElement[bool]:
    return metrics.c.mini_batch == STEP_LEVEL if level == "step" else metrics.c.mini_batch != STEP_LEVEL


def _of(source: CTE) -> ColumnElement[bool]:
    return (metrics.c.run_id == source.c.run_id) & (metrics.c.metric_id == source.c.metric_id)
