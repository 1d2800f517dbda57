"""How alike two measurements order the same things: Spearman's rank correlation with an interval.

The interval is Fisher's z with the variance that Bonett and Wright give for ranks, (1 + r^2 / 2) / (n - 3) ("Sample size
requirements for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65, 2000): ranks spread more than the
1 / (n - 3) of a product-moment correlation. It takes the pairs as independent of one another.

Pure functions on numpy; no torch, no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FEWEST_PAIRS = 5
"""Pairs below which a rank correlation says nothing: of four, one in twelve random orders is perfect, forwards or backwards."""


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation of n pairs, -1 to 1, with its interval; NaN where one side has a single value, and so no order."""

    value: float
    low: float
    high: float
    n: int


def spearman(x: Sequence[float], y: Sequence[float], level: float = 0.95) -> RankCorrelation:
    """Rank correlation of the pairs that are finite on both sides; equal values share the mean of their ranks.

    With fewer than four pairs the interval is everything from -1 to 1. Where the two orders agree throughout, the interval's
    inner end is that of the next smaller value that so many pairs can have, because the formula would give it no width.

    Raises:
        ValueError: x and y have different lengths.
    """
    if len(x) != len(y):
        raise ValueError(f"x has {len(x)} values and y {len(y)}; a rank correlation needs pairs")
    pairs = np.array([x, y], dtype=np.float64)
    first, second = (_ranks(side) for side in pairs[:, np.isfinite(pairs).all(axis=0)])
    n = len(first)
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if spread == 0:
        return RankCorrelation(np.nan, np.nan, np.nan, n)
    value = min(1.0, max(-1.0, float((first * second).sum()) / spread))
    if n < 4:
        return RankCorrelation(value, -1.0, 1.0, n)
    # Two neighbours changing places cost 12 / (n^3 - n): no order comes closer to a perfect one.
    inside = min(abs(value), 1 - 12 / (n**3 - n)) * np.sign(value)
    half = NormalDist().inv_cdf((1 + level) / 2) * np.sqrt((1 + inside**2 / 2) / (n - 3))
    low, high = (float(np.tanh(np.arctanh(inside) + side)) for side in (-half, half))
    return RankCorrelation(value, -1.0 if value == -1 else low, 1.0 if value == 1 else high, n)


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks of the values, less their mean; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return ranks - (len(values) + 1) / 2
