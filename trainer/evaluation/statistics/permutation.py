"""P-values without assumptions: how often trainings that were dealt out at random differ as much.

Were two methods the same, it would not matter which of them a training is called after. So the trainings of both are dealt out anew in
every way, and p is the share of the ways in which the means differ at least as much as they do (Fisher, "The design of
experiments", 1935; Phipson and Smyth, "Permutation p-values should never be zero", Statistical Applications in Genetics and
Molecular Biology 9, 2010). The unit is the training: its samples and problems share its luck. With few trainings there are few
ways, and p cannot be small whatever the numbers are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from trainer.evaluation.statistics.scores import Array, Outcomes, outcome_scores

MOST_WAYS = 20_000
"""Ways to deal out that are all gone through; where there are more, so many are drawn at random, the same in every call."""

_ROUNDING = 1e-12
"""Differences this close are equal."""

Name = TypeVar("Name")


class Permutation(NamedTuple):
    """Whether two methods may be the same."""

    p: float
    """Two-sided."""
    smallest: float
    """The smallest p that so many trainings can give: 0.1 with 3 a side, 0.008 with 5."""


def permutation_test(a: Sequence[Outcomes], b: Sequence[Outcomes]) -> Permutation:
    """Whether the difference of avg@k, mean over benchmarks, is more than that of trainings dealt out at random.

    Exact where there are at most `MOST_WAYS` ways.

    Raises:
        ValueError: as for `compare`.
    """
    scores = [method.by_seed for method in outcome_scores(a, b)]
    sizes = len(a), len(b)
    trainings = np.concatenate(scores)
    found = abs(scores[0].mean() - scores[1].mean())
    apart = _apart(trainings, _ways(*sizes))
    extreme = int((apart >= found - _ROUNDING).sum())
    ways = comb(sum(sizes), sizes[0])
    # Where both sides are of a size, each way has a mirror image whose means differ as much.
    smallest = (2 if sizes[0] == sizes[1] else 1) / ways
    if ways <= MOST_WAYS:
        return Permutation(extreme / ways, smallest)
    return Permutation((extreme + 1) / (MOST_WAYS + 1), max(smallest, 1 / (MOST_WAYS + 1)))


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Adjusted p-values: the chance of one false finding among all of them stays below the level.

    Holm, "A simple sequentially rejective multiple test procedure" (Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted: dict[Name, float] = {}
    largest = 0.0
    ordered = sorted(p_values.items(), key=lambda item: item[1])
    for place, (name, p) in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - place) * p))
        adjusted[name] = largest
    return adjusted


def _apart(trainings: Array, ways: npt.NDArray[np.intp]) -> Array:
    """How far apart the two means are, for each way [ways, trainings called a]."""
    size_a = ways.shape[1]
    sums = trainings[ways].sum(axis=1)
    return np.abs(sums / size_a - (trainings.sum() - sums) / (len(trainings) - size_a))


@lru_cache(maxsize=32)
def _ways(size_a: int, size_b: int) -> npt.NDArray[np.intp]:
    """Which trainings are called a: [ways, size_a]."""
    total = size_a + size_b
    if comb(total, size_a) <= MOST_WAYS:
        return np.array(list(combinations(range(total), size_a)))
    return np.random.default_rng(0).random((MOST_WAYS, total)).argsort(axis=1)[:, :size_a]
