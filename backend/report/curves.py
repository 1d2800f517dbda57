"""Means over seeds, with their intervals: of curves at every step that all seeds have, and of whole runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from db.reads import StretchMean
from trainer.evaluation.statistics import SEEDS_FOR_METHODS, student_quantile

Means = Mapping[tuple[int, str], Sequence[StretchMean]]
"""By run and metric."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds and half its 95 % interval (Student's t), which is NaN with fewer than `SEEDS_FOR_METHODS` seeds."""

    value: float
    half: float
    seeds: int


@dataclass(frozen=True, slots=True)
class Curve:
    """A mean over seeds by step."""

    steps: tuple[float, ...]
    means: tuple[Mean, ...]
    seeds: int
    cut: bool
    """Some seeds have values at further steps, where there is no mean of all."""


def mean_over_seeds(values: Sequence[float], *, at_least: int = SEEDS_FOR_METHODS) -> Mean:
    """The mean of one value per seed; with fewer than `at_least` (2 or more) there is no interval.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("there is nothing to average")
    n = len(values)
    if n < at_least:
        return Mean(float(np.mean(values)), math.nan, n)
    half = student_quantile(0.95, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Mean(float(np.mean(values)), half, n)


def curve(means: Means, run_ids: Sequence[int], metric: str) -> Curve | None:
    """The mean over the runs that have the metric, at the places where all of them have it for the same steps; None where none has it."""
    found = [means[run_id, metric] for run_id in run_ids if (run_id, metric) in means]
    if not found:
        return None
    places = [{(one.step, one.values): one.mean for one in of_run} for of_run in found]
    common = sorted(set.intersection(*(set(of_run) for of_run in places)))
    return Curve(
        steps=tuple(step for step, _ in common),
        means=tuple(mean_over_seeds([of_run[place] for of_run in places]) for place in common),
        seeds=len(found),
        cut=any(len(of_run) > len(common) for of_run in places),
    )


def over_run(means: Means, run_id: int, metric: str) -> float | None:
    """Mean of a metric over all steps of a run."""
    found = means.get((run_id, metric), ())
    total = sum(one.values for one in found)
    return sum(one.mean * one.values for one in found) / total if total else None


def over_runs(means: Means, run_ids: Sequence[int], metric: str) -> Mean | None:
    """The mean over the runs that have the metric of each one's mean over its steps."""
    values = [value for run_id in run_ids if (value := over_run(means, run_id, metric)) is not None]
    return mean_over_seeds(values) if values else None
