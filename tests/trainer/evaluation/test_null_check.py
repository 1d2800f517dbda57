"""Null check: trainings and problems are drawn anew, hundreds of times, and intervals, p-values and ranks keep their promises.

Methods that are the same differ from training to training. An analysis that takes the samples of several trainings for samples of one
finds differences between them; that it does is checked, too, so that these tests could fail.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from trainer.evaluation.statistics import Outcomes, avg_at_k, compare, permutation_test, rank_intervals

REPETITIONS = 300
ONE, SEVERAL = (40,), (30, 60, 15)
"""Problems of each benchmark."""
KEPT = (0.92, 0.985)
"""What 95 % may come out as in so many repetitions, three standard deviations below."""


def draw(
    generator: np.random.Generator, difficulties: Sequence[np.ndarray], seeds: int, *, spread: float = 0.4, k: int = 4
) -> list[Outcomes]:
    """Runs of one method on benchmarks of these difficulties (log-odds), whose trainings differ by `spread` on all of them."""
    luck = generator.normal(0, spread, seeds)
    return [
        {str(number): sampled(generator, own + of_seed, k) for number, own in enumerate(difficulties)}
        for of_seed in luck
    ]


def sampled(generator: np.random.Generator, log_odds: np.ndarray, k: int) -> dict[str, list[int]]:
    mine = log_odds + generator.normal(0, 0.5, log_odds.size)
    right = generator.random((mine.size, k)) < 1 / (1 + np.exp(-mine))[:, None]
    return {str(n): samples.tolist() for n, samples in enumerate(right.astype(int))}


def problems(generator: np.random.Generator, sizes: Sequence[int], mean: float = 0.0) -> list[np.ndarray]:
    """Benchmarks, each harder than the one before."""
    return [generator.normal(mean - 0.5 * number, 1.5, size) for number, size in enumerate(sizes)]


@cache
def accuracy(mean: float, spread: float = 0.0) -> float:
    """What a method reaches on all the problems and trainings that could be."""
    z = np.random.default_rng(0).normal(mean, math.sqrt(1.5**2 + 0.5**2 + spread**2), 1_000_000)
    return float(np.mean(1 / (1 + np.exp(-z))))


def ignoring_seeds(runs: Sequence[Outcomes]) -> list[Outcomes]:
    """All trainings' samples as if they were those of one."""
    return [{name: {n: [x for run in runs for x in run[name][n]] for n in runs[0][name]} for name in runs[0]}]


def within(estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


@pytest.mark.parametrize("mean", [0.0, -4.0])
def test_the_interval_of_avg_at_k_covers_and_counting_samples_as_independent_would_not(mean):
    generator = np.random.default_rng(1)
    covered = naive = 0
    for _ in range(REPETITIONS):
        runs = draw(generator, problems(generator, ONE, mean), 1, spread=0, k=16)
        estimate = avg_at_k(runs)
        covered += within(estimate, accuracy(mean))
        error = math.sqrt(estimate.value * (1 - estimate.value) / (40 * 16))
        naive += abs(estimate.value - accuracy(mean)) <= 1.96 * error
    assert KEPT[0] <= covered / REPETITIONS <= KEPT[1]
    assert naive / REPETITIONS < 0.75


def test_the_interval_of_a_mean_over_benchmarks_covers():
    generator = np.random.default_rng(4)
    truth = float(np.mean([accuracy(-0.5 * number, 0.4) for number in range(len(SEVERAL))]))
    covered = sum(within(avg_at_k(draw(generator, problems(generator, SEVERAL), 5)), truth) for _ in range(REPETITIONS))
    assert KEPT[0] <= covered / REPETITIONS <= KEPT[1]


@pytest.mark.parametrize(
    ("sizes", "seeds"), [((30,), 3), ((120,), 4), (SEVERAL, 3), (SEVERAL, 5)], ids=["one", "large", "several", "five"]
)
def test_equal_methods_differ_by_chance_in_one_of_twenty_and_in_many_more_if_seeds_are_ignored(sizes, seeds):
    generator = np.random.default_rng(2)
    covered = ignoring = 0
    for _ in range(REPETITIONS):
        difficulties = problems(generator, sizes)
        a, b = (draw(generator, difficulties, seeds) for _ in range(2))
        covered += within(compare(a, b), 0.0)
        ignoring += within(compare(ignoring_seeds(a), ignoring_seeds(b)), 0.0)
    assert KEPT[0] <= covered / REPETITIONS <= KEPT[1]
    assert ignoring / REPETITIONS < 0.75


@pytest.mark.parametrize("sizes", [ONE, SEVERAL], ids=["one", "several"])
def test_p_is_below_its_level_as_often_as_the_level_says(sizes):
    # 4 against 5 trainings are dealt out in 126 ways: six of them, 4.8 %, have p below 0.05.
    generator = np.random.default_rng(3)
    found = []
    for _ in range(2 * REPETITIONS):
        difficulties = problems(generator, sizes)
        a, b = (draw(generator, difficulties, seeds) for seeds in (4, 5))
        found.append(permutation_test(a, b).p)
    assert 0.02 <= np.mean(np.array(found) < 0.05) <= 0.08
    assert 0.44 <= np.mean(np.array(found) <= 0.5) <= 0.57


@pytest.mark.parametrize("sizes", [ONE, SEVERAL], ids=["one", "several"])
def test_ranks_of_equal_methods_are_all_open(sizes):
    generator = np.random.default_rng(6)
    open_throughout = 0
    for _ in range(REPETITIONS):
        difficulties = problems(generator, sizes)
        ranks = rank_intervals({name: draw(generator, difficulties, 3) for name in "abcd"})
        open_throughout += set(ranks.values()) == {(1, 4)}
    assert open_throughout / REPETITIONS >= 0.93


@pytest.mark.parametrize("sizes", [ONE, SEVERAL], ids=["one", "several"])
def test_rank_sets_hold_the_true_ranks_of_methods_that_differ_and_say_something(sizes):
    generator = np.random.default_rng(7)
    better = {"third": 0.4, "first": 2.4, "second": 1.2, "last": 0.0}
    truth = {name: 1 + sum(other > own for other in better.values()) for name, own in better.items()}
    held = widths = 0.0
    for _ in range(REPETITIONS):
        difficulties = problems(generator, sizes)
        ranks = rank_intervals(
            {name: draw(generator, [own + more for own in difficulties], 5) for name, more in better.items()}
        )
        held += all(low <= truth[name] <= high for name, (low, high) in ranks.items())
        widths += sum(high - low for low, high in ranks.values()) / len(ranks)
    assert held / REPETITIONS >= 0.93
    assert widths / REPETITIONS < 1.5  # 3 would be nothing known


def test_a_large_difference_is_found():
    generator = np.random.default_rng(8)
    excluded = small = 0
    for _ in range(100):
        difficulties = problems(generator, SEVERAL)
        a = draw(generator, [own + 1.5 for own in difficulties], 5)
        b = draw(generator, difficulties, 5)
        excluded += not within(compare(a, b), 0.0)
        small += permutation_test(a, b).p < 0.05
    assert excluded >= 90
    assert small >= 90


def test_with_fewer_than_three_seeds_a_method_has_no_rank():
    generator = np.random.default_rng(9)
    difficulties = problems(generator, ONE)
    methods = {name: draw(generator, difficulties, seeds) for name, seeds in (("a", 3), ("b", 2), ("c", 3))}
    assert rank_intervals(methods) == {"a": (1, 2), "c": (1, 2)}
    assert rank_intervals({"b": methods["b"]}) == {}
    assert rank_intervals({"a": methods["a"]}) == {"a": (1, 1)}
