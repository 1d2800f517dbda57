"""P-values of trainings dealt out anew, and their correction."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from trainer.evaluation.statistics import holm, permutation_test
from trainer.evaluation.statistics.permutation import MOST_WAYS


def runs(*right: int, of: int = 10, benchmark: str = "sums") -> list[dict[str, dict[str, list[int]]]]:
    """Runs that got so many of the problems right."""
    return [{benchmark: {str(n): [int(n < count)] for n in range(of)}} for count in right]


@pytest.mark.parametrize(
    ("a", "b", "p", "smallest"),
    [
        ((9, 8, 7), (3, 2, 1), 0.1, 0.1),  # the most extreme of 20 ways, and its mirror image
        ((9, 8, 2), (3, 7, 1), 8 / 20, 0.1),
        ((5, 5, 5), (5, 5, 5), 1.0, 0.1),
        ((9, 9, 9, 9), (1, 1, 1), 1 / 35, 1 / 35),
        ((9,), (1,), 1.0, 1.0),
    ],
)
def test_p_by_hand(a, b, p, smallest):
    found = permutation_test(runs(*a), runs(*b))
    assert found.p == pytest.approx(p)
    assert found.smallest == pytest.approx(smallest)


def test_p_is_the_share_of_ways_that_differ_as_much():
    values = np.random.default_rng(5).integers(0, 11, 9)
    found = abs(values[:5].mean() - values[5:].mean())
    ways = [set(chosen) for chosen in combinations(range(9), 5)]
    means = [(values[list(way)].mean(), values[list(set(range(9)) - way)].mean()) for way in ways]
    share = np.mean([abs(one - other) >= found - 1e-9 for one, other in means])
    assert permutation_test(runs(*values[:5]), runs(*values[5:])).p == pytest.approx(share)


def test_the_sides_may_be_swapped():
    a, b = runs(9, 4, 7, 6), runs(3, 5, 2)
    assert permutation_test(a, b) == permutation_test(b, a)


def test_of_several_benchmarks_the_mean_is_dealt_out():
    # Each benchmark alone says 0.1; together the seeds' means are equal.
    up, down = runs(9, 8, 7), runs(1, 2, 3, benchmark="products")
    a = [one | other for one, other in zip(up, down, strict=True)]
    b = [one | other for one, other in zip(runs(1, 2, 3), runs(9, 8, 7, benchmark="products"), strict=True)]
    assert permutation_test(a, b).p == 1.0


def test_many_trainings_are_dealt_out_at_random_and_the_same_in_every_call():
    generator = np.random.default_rng(1)
    assert comb(20, 10) > MOST_WAYS
    a, b = (runs(*generator.integers(0, 101, 10), of=100) for _ in range(2))
    assert permutation_test(a, b) == permutation_test(a, b)
    assert 0.05 < permutation_test(a, b).p <= 1
    extreme = permutation_test(runs(*range(11, 21), of=20), runs(*range(10), of=20))
    assert extreme.smallest <= extreme.p <= 3 * extreme.smallest
    assert extreme.smallest == 1 / (MOST_WAYS + 1)


def test_holm_is_stepwise_and_never_falls():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.7, "b": 0.6}) == {"b": 1.0, "a": 1.0}


def test_holm_by_hand_multiplies_the_smallest_by_all_and_the_largest_by_one():
    # 3 x 0.02, then 2 x 0.03, then 1 x 0.05, none below the one before.
    assert holm({"last": 0.05, "first": 0.02, "second": 0.03}) == pytest.approx(
        {"first": 0.06, "second": 0.06, "last": 0.06}
    )
    # Only the first stays below 0.05: 3 x 0.01, then 2 x 0.03, then 0.5.
    assert holm({"a": 0.5, "b": 0.01, "c": 0.03}) == pytest.approx({"b": 0.03, "c": 0.06, "a": 0.5})
