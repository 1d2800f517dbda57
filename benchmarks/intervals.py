"""Means and paired differences over few seeds, with Student's intervals and p-values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import sqrt
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

from trainer.evaluation.statistics import student_quantile


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over seeds; with fewer than two values there is no interval, and `half` and `p` are NaN."""

    value: float
    half: float
    """Half the width of the interval."""
    p: float
    """Two-sided, of the hypothesis that the true mean is 0."""
    n: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.value + self.half


def mean(values: Sequence[float], level: float = 0.95) -> Mean:
    """Mean with Student's interval and p-value.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("there is nothing to average")
    value, n = fmean(values), len(values)
    if n < 2:
        return Mean(value, float("nan"), float("nan"), n)
    error = stdev(values) / sqrt(n)
    if error == 0:
        return Mean(value, 0.0, 0.0 if value else 1.0, n)
    return Mean(value, student_quantile(level, n - 1) * error, student_p(value / error, n - 1), n)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of two means over the same seeds, with Fieller's interval: infinite where the denominator may be 0."""

    value: float
    low: float
    high: float
    n: int


def ratio(numerators: Sequence[float], denominators: Sequence[float], level: float = 0.95) -> Ratio:
    """Sum over sum, pair by pair one seed's; all ratios r for which the mean of numerator - r denominator may be 0 (Fieller, Journal
    of the Royal Statistical Society B 16, 1954).

    Raises:
        ValueError: no pairs, or sequences of different lengths.
    """
    if not numerators or len(numerators) != len(denominators):
        raise ValueError(
            f"a ratio needs pairs; there are {len(numerators)} numerators and {len(denominators)} denominators"
        )
    n, top, bottom = len(numerators), fmean(numerators), fmean(denominators)
    value = top / bottom if bottom else float("nan")
    if n < 2:
        return Ratio(value, float("nan"), float("nan"), n)
    (tt, tb), (_, bb) = np.cov(numerators, denominators) / n * student_quantile(level, n - 1) ** 2
    # The ends solve (top - r bottom)^2 = tt - 2 r tb + r^2 bb.
    square, middle, constant = bottom**2 - bb, top * bottom - tb, top**2 - tt
    if square <= 0:
        return Ratio(value, float("-inf"), float("inf"), n)
    half = sqrt(max(0.0, middle**2 - square * constant))
    return Ratio(value, float(middle - half) / float(square), float(middle + half) / float(square), n)


def student_p(t: float, freedom: int) -> float:
    """Probability that Student's t with `freedom` degrees is further from 0 than `t`; the integral of `student_quantile`, read backwards."""
    angle, mass = _mass(freedom)
    return float(1 - np.interp(np.arctan(abs(t) / sqrt(freedom)), angle, mass))


@cache
def _mass(freedom: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Angles from 0 to pi / 2, and the probability that arctan(|t| / sqrt(freedom)) is below each."""
    angle = np.linspace(0, np.pi / 2, 40_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return angle, mass / mass[-1]


def paired(values: Mapping[int, float], others: Mapping[int, float]) -> list[float]:
    """`values` minus `others`, of the seeds that both have."""
    return [values[seed] - others[seed] for seed in sorted(values.keys() & others.keys())]


def pooled(blocks: Sequence[tuple[Mapping[int, float], Mapping[int, float]]]) -> list[float]:
    """Per seed that all blocks have, the mean over blocks of the paired difference: seeds are what varies, blocks are fixed."""
    seeds = set.intersection(*(values.keys() & others.keys() for values, others in blocks)) if blocks else set()
    return [fmean(values[seed] - others[seed] for values, others in blocks) for seed in sorted(seeds)]
