"""Rank correlation: against values worked out by hand, a second implementation, and the coverage that its interval promises."""

import math
import statistics

import numpy as np
import pytest

from trainer.evaluation.rank_correlation import FEWEST_PAIRS, spearman


def by_counting(values: list[float]) -> list[float]:
    """Ranks by their definition: how many values are smaller, and half of those that are equal."""
    return [sum(other < value for other in values) + (1 + values.count(value)) / 2 for value in values]


def second_opinion(x: list[float], y: list[float]) -> float:
    return statistics.correlation(by_counting(x), by_counting(y))


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([1, 2, 3, 4, 5], [10, 20, 40, 80, 160], 1.0),
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),  # squared rank differences 1 1 1 1 0: 1 - 6 * 4 / 120
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / math.sqrt(4.5 * 5)),  # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4
        ([0.3, -1e9, 7.0], [2.0, 1.0, 3.0], 1.0),
    ],
)
def test_values_worked_out_by_hand(x, y, expected):
    assert spearman(x, y).value == pytest.approx(expected)


def test_it_agrees_with_a_second_implementation_ties_included():
    generator = np.random.default_rng(0)
    for _ in range(50):
        n = int(generator.integers(5, 40))
        x, y = generator.integers(0, 8, size=(2, n)).astype(float).tolist()
        if len(set(x)) > 1 and len(set(y)) > 1:
            assert spearman(x, y).value == pytest.approx(second_opinion(x, y), abs=1e-12)


def test_the_interval_is_fishers_with_the_variance_for_ranks():
    value, low, high, n = spearman([1, 2, 3, 4, 5, 6, 7], [1, 3, 2, 4, 6, 5, 7])
    assert (value, n) == (pytest.approx(1 - 6 * 4 / 336), 7)
    half = 1.959964 * math.sqrt((1 + value**2 / 2) / 4)
    assert (low, high) == pytest.approx((math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)))


def test_pairs_that_are_not_finite_are_left_out():
    assert spearman([1, 2, math.nan, 3, 4, 5], [1, 2, 9, math.inf, 3, 4]) == spearman([1, 2, 4, 5], [1, 2, 3, 4])


def test_values_without_an_order_give_nan():
    for x, y in (([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]), ([1], [2]), ([], []), ([math.nan] * 5, [1, 2, 3, 4, 5])):
        result = spearman(x, y)
        assert all(math.isnan(part) for part in result[:3])
        assert result.n == sum(map(math.isfinite, x))


def test_an_order_that_agrees_throughout_is_not_certain():
    up, down = spearman(range(FEWEST_PAIRS), range(FEWEST_PAIRS)), spearman(range(5), range(5, 0, -1))
    assert (up.value, up.high) == (1, 1)
    assert -0.5 < up.low < 0.5
    assert (down.value, down.low, down.high) == (-1, -1, -up.low)
    assert spearman(range(50), range(50)).low > 0.99
    assert spearman([1, 2, 3], [1, 2, 3]) == (1, -1, 1, 3)


def test_values_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match="x has 2 values and y 3"):
        spearman([1, 2], [1, 2, 3])


@pytest.mark.parametrize(("correlation", "n"), [(0.0, 10), (0.5, 25), (0.8, 40), (-0.8, 40)])
def test_the_interval_holds_the_truth_as_often_as_it_says(correlation, n):
    # Of two normal variables the rank correlation is 6 / pi asin(r / 2).
    truth, draws = 6 / math.pi * math.asin(correlation / 2), 800
    x, noise = np.random.default_rng(1).standard_normal((2, draws, n))
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    found = [spearman(*pairs) for pairs in zip(x, y, strict=True)]
    covered = sum(result.low <= truth <= result.high for result in found) / draws
    assert 0.93 <= covered <= 0.985
    assert statistics.mean(result.value for result in found) == pytest.approx(truth, abs=0.04)
