"""The lines of a comparison: bounded reads in, and per metric a line per group with its interval over runs, the runs' own lines behind.

Runs are averaged at equal steps: over stretches of steps where they are long. Their mean and interval are those of the report
(`backend.report.curves`). Each run is smoothed by itself before it is averaged, so that an interval is one of smoothed values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from backend.comparison import axes
from backend.comparison.axes import Positions
from backend.comparison.groups import Group
from backend.comparison.smoothing import Smoothing
from backend.report.curves import Means, mean_over_seeds
from db import extremes, reads
from db.reads import RunDetail, Series

MOST_POINTS = 4000
"""Of all lines of a chart together: those of means, and as many of single runs; but see `_FEWEST`."""

_FEWEST, _LONGEST = 100, 1000  # points of a line
_FROM_VALUES = 4000  # steps: means of longer runs are made of kept sums
FEWEST_FOR_INTERVAL = 2
"""Runs. The interval of two is wide, and honest."""


@dataclass(frozen=True)
class Stretches:
    """Steps that a point of a mean is over."""

    width: int
    from_sums: bool

    def number(self, step: float) -> int:
        """Of the stretch that a step lies in."""
        return math.floor(step / self.width) if self.from_sums else math.ceil(step / self.width)


@dataclass(frozen=True)
class Values:
    """What was read of some metrics of some runs."""

    axis: str
    stretches: Stretches
    means: Means
    raw: Mapping[tuple[int, str], Series]
    """Whole where it has no more than `most_raw` points, else the extremes of stretches."""
    most_raw: int
    thinned: frozenset[tuple[int, str]]
    """Run and metric of the series that are not drawn whole."""
    fine: frozenset[str]
    """Metrics that only single mini-batches have: there is no mean of these."""
    positions: Mapping[int, Positions]
    """By run; without the runs whose positions on the axis are not known."""
    unplaced: Sequence[int]
    """Ids of those."""

    def x(self, run_id: int, steps: Sequence[float]) -> list[float]:
        """Where steps of a run stand."""
        return list(steps) if self.axis == axes.STEPS else self.positions[run_id].at(steps)


@dataclass(frozen=True)
class Raw:
    """A run's own values."""

    run: RunDetail
    group: Group
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Averaged:
    """A group's mean by step, smoothed or not."""

    group: Group
    x: Sequence[float]
    y: Sequence[float]
    half: Sequence[float]
    """Half the 95 % interval; NaN where there are fewer than `FEWEST_FOR_INTERVAL` runs."""
    n: Sequence[int]


@dataclass(frozen=True)
class Chart:
    """One metric."""

    metric: str
    raw: Sequence[Raw]
    averaged: Sequence[Averaged]
    without: Sequence[str]
    """Names of the groups that have no value."""
    thinned: bool
    """Some runs have more values than are drawn of them."""
    fine: bool
    """Only single mini-batches have it."""


def read(
    connection: Connection, groups: Sequence[Group], metrics: Sequence[str], *, axis: str, means: bool = True
) -> Values:
    """Read what charts of these metrics need, `means` where lines are averaged or smoothed."""
    runs = list({run.id: run for group in groups for run in group.runs}.values())
    ids = [run.id for run in runs]
    most_raw = _bounded(MOST_POINTS // max(len(runs), 1))
    raw = reads.series(connection, ids, metrics, max_points=most_raw)
    known = {metric for _, metric in raw}
    rest = [metric for metric in metrics if metric not in known]
    if rest:  # what is measured of single mini-batches has no value of the whole step
        raw |= reads.series(connection, ids, rest, max_points=most_raw, level="mini_batch")
    stretches = stretches_of(max((run.step for run in runs), default=0), len(groups))
    wanted = [metric for metric in metrics if metric in known] if means else []
    if axis == axes.TOKENS:
        wanted += [metric for metric in axes.TOKEN_METRICS if metric not in wanted]
    read_means = reads.long_means if stretches.from_sums else reads.stretch_means
    found: Means = read_means(connection, ids, wanted, width=stretches.width) if wanted else {}
    positions = _positions(connection, runs, found, axis)
    unplaced = [] if axis == axes.STEPS else [run_id for run_id in ids if run_id not in positions]
    thinned = frozenset(reads.longer_than(connection, ids, metrics, most_raw))
    return Values(axis, stretches, found, raw, most_raw, thinned, frozenset(rest), positions, unplaced)


def stretches_of(last: int, lines: int) -> Stretches:
    """Single steps where so many points can be drawn, else as few steps to a point as it takes.

    Args:
        last: the last step of any run.
        lines: of a chart.
    """
    width = max(-(-last // _bounded(MOST_POINTS // max(lines, 1))), 1)
    if last <= _FROM_VALUES:
        return Stretches(width, from_sums=False)
    return Stretches(extremes.STEPS * -(-width // extremes.STEPS), from_sums=True)


def chart(values: Values, groups: Sequence[Group], metric: str, smoothing: Smoothing) -> Chart:
    """The lines of one metric."""
    raw = [
        Raw(run, group, values.x(run.id, series.steps), series.values)
        for group in groups
        for run in group.runs
        if run.id not in values.unplaced and (series := values.raw.get((run.id, metric))) is not None
    ]
    found = [averaged(values, group, metric, smoothing) for group in groups]
    drawn = {one.group.name for one in raw}
    return Chart(
        metric,
        raw,
        [line for line in found if line is not None],
        [group.name for group in groups if group.name not in drawn],
        any((one.run.id, metric) in values.thinned for one in raw),
        metric in values.fine,
    )


def averaged(values: Values, group: Group, metric: str, smoothing: Smoothing) -> Averaged | None:
    """The mean over the runs of a group that have a value at a step: how many these are may change along the line."""
    at: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for run_id in group.ids:
        of_run = values.means.get((run_id, metric), ())
        if run_id in values.unplaced or not of_run:
            continue
        steps = [one.step for one in of_run]
        smooth = smoothing(steps, [one.mean for one in of_run])
        for step, x, value in zip(steps, values.x(run_id, steps), smooth, strict=True):
            at[values.stretches.number(step)].append((x, value))
    if not at:
        return None
    if len(group.averaged) == 1:
        alone = [place[0] for _, place in sorted(at.items())]
        return Averaged(
            group, [x for x, _ in alone], [value for _, value in alone], [math.nan] * len(alone), [1] * len(alone)
        )
    places = [at[number] for number in sorted(at)]
    over = [mean_over_seeds([value for _, value in place], at_least=FEWEST_FOR_INTERVAL) for place in places]
    return Averaged(
        group,
        [float(np.mean([x for x, _ in place])) for place in places],
        [mean.value for mean in over],
        [mean.half for mean in over],
        [mean.seeds for mean in over],
    )


def _bounded(points: int) -> int:
    return min(max(points, _FEWEST), _LONGEST)


def _positions(connection: Connection, runs: Sequence[RunDetail], means: Means, axis: str) -> dict[int, Positions]:
    if axis == axes.STEPS:
        return {}
    if axis == axes.HOURS:
        reached = reads.device_seconds(connection, [run.id for run in runs])
        found = {run.id: axes.by_hours(reached.get(run.id, ())) for run in runs}
    else:
        found = {
            run.id: axes.by_tokens(run, *(means.get((run.id, metric), ()) for metric in axes.TOKEN_METRICS))
            for run in runs
        }
    return {run_id: positions for run_id, positions in found.items() if positions is not None}
