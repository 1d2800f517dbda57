"""Which ranks a method may have, as sure as its numbers are.

Of the intervals of all pairwise differences, at a level at which all of them hold together, those that exclude 0 say who is better for
sure. A method's rank is then at best one more than the number of methods that are surely better, and at worst the number of
methods less those that are surely worse (Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks with applications to mobility
across neighbourhoods and academic achievement across countries", Review of Economic Studies 91, 2024). All these sets contain all the
true ranks together with the probability asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from trainer.evaluation.statistics.estimates import SEEDS_FOR_METHODS, difference
from trainer.evaluation.statistics.scores import Outcomes, outcome_scores

Name = TypeVar("Name")


class RankInterval(NamedTuple):
    """The ranks that a method may have; 1 is the best."""

    best: int
    worst: int


def rank_intervals(methods: Mapping[Name, Sequence[Outcomes]], level: float = 0.95) -> dict[Name, RankInterval]:
    """The ranks by avg@k, mean over benchmarks, of the methods that have `SEEDS_FOR_METHODS` seeds; the others have none.

    The level is Bonferroni's for all pairs.

    Raises:
        ValueError: as for `compare`.
    """
    able = {name: runs for name, runs in methods.items() if len(runs) >= SEEDS_FOR_METHODS}
    if not able:
        return {}
    scores = dict(zip(able, outcome_scores(*able.values()), strict=True))
    pairs = list(combinations(able, 2))
    better = dict.fromkeys(able, 0)
    worse = dict.fromkeys(able, 0)
    for one, other in pairs:
        found = difference(scores[one], scores[other], 1 - (1 - level) / len(pairs))
        if found.low > 0:
            better[other] += 1
            worse[one] += 1
        elif found.high < 0:
            better[one] += 1
            worse[other] += 1
    return {name: RankInterval(1 + better[name], len(able) - worse[name]) for name in able}
