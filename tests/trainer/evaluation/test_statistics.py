"""Statistics of evaluations: hand-checked values, and intervals that cover what they claim to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.evaluation.statistics import avg_at_k, compare, student_quantile

REPETITIONS = 300


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # tables of Student's t, two-sided 95 %
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (29, 2.0452), (120, 1.9799), (1e9, 1.9623)],
)
def test_students_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(0.95, freedom) == pytest.approx(quantile, abs=6e-5)


def test_avg_at_k_by_hand():
    # Problem means 1, 1/2, 0, 1/2: mean 1/2, variance (1/4 + 0 + 1/4 + 0) / 3 = 1/6, standard error sqrt(1/6 / 4).
    estimate = avg_at_k([{"a": [1, 1], "b": [1, 0], "c": [0, 0], "d": [0, 1]}])
    assert estimate.value == 0.5
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 24))
    assert (estimate.problems, estimate.seeds, estimate.over_seeds) == (4, 1, False)
    # Wilson with n = p (1 - p) / variance = 6 samples' worth and t of 3 degrees.
    t = student_quantile(0.95, 3)
    half = t * math.sqrt(0.25 / 6 + t**2 / (4 * 36)) / (1 + t**2 / 6)
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_avg_at_k_over_seeds_by_hand():
    # Run means 1/4, 1/2, 3/4 (variance 1/16 over 3 seeds); problem means 2/3 and 1/3 (variance 1/18 over 2 problems).
    runs = [{"a": [1, 0], "b": [0, 0]}, {"a": [1, 0], "b": [1, 0]}, {"a": [1, 1], "b": [1, 0]}]
    estimate = avg_at_k(runs)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 16 / 3 + 1 / 18 / 2))
    assert (estimate.seeds, estimate.over_seeds, estimate.scope) == (3, True, "these methods")


def test_a_difference_by_hand():
    # Differences by problem 1, 1/2, 0: mean 1/2, variance 1/4, standard error sqrt(1/12).
    estimate = compare([{"x": [1, 1], "y": [1, 0], "z": [0, 0]}], [{"z": [0, 0], "x": [0, 0], "y": [0, 0]}])
    assert (estimate.value, estimate.problems) == (0.5, 3)
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 12))
    assert (estimate.low, estimate.high) == (pytest.approx(max(-1, 0.5 - 4.30265 * math.sqrt(1 / 12)), abs=1e-4), 1.0)


def test_a_difference_over_seeds_by_hand():
    # Run means of a: 1, 1/2, 1/2 (variance 1/12), of b: 0, 0, 1/2 (variance 1/12); differences by problem 2/3, 1/3 (variance 1/18).
    a = [{"x": [1], "y": [1]}, {"x": [1], "y": [0]}, {"x": [1], "y": [0]}]
    b = [{"x": [0], "y": [0]}, {"x": [0], "y": [0]}, {"x": [1], "y": [0]}]
    estimate = compare(a, b)
    terms = [(1 / 18 / 2, 1), (1 / 12 / 3, 2), (1 / 12 / 3, 2)]
    variance = sum(term for term, _ in terms)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.standard_error == pytest.approx(math.sqrt(variance))
    assert estimate.low == pytest.approx(0.5 - student_quantile(0.95, freedom) * math.sqrt(variance))


def test_pairing_by_problem_removes_what_problems_have_in_common():
    a = {str(n): [1] * n + [0] * (10 - n) for n in range(1, 11)}  # from hard to easy
    b = {key: [*outcomes[1:], 0] for key, outcomes in a.items()}  # one sample worse on each
    estimate = compare([a], [b])
    assert estimate.value == pytest.approx(0.1)
    assert estimate.standard_error < 1e-9
    assert avg_at_k([a]).standard_error > 0.09


@pytest.mark.parametrize(("seeds_a", "seeds_b", "over"), [(3, 3, True), (5, 3, True), (2, 3, False), (3, 1, False)])
def test_three_seeds_of_both_are_needed_to_speak_of_methods(seeds_a, seeds_b, over):
    run = {"x": [1, 0], "y": [0, 0]}
    estimate = compare([run] * seeds_a, [run] * seeds_b)
    assert estimate.over_seeds is over
    assert estimate.scope == ("these methods" if over else "these checkpoints, not these methods")


def test_the_order_of_problems_and_swapping_sides_change_nothing():
    generator = np.random.default_rng(0)
    a, b = ([{str(n): list(generator.integers(0, 2, 4)) for n in range(20)} for _ in range(3)] for _ in range(2))
    backwards = [dict(reversed(run.items())) for run in a]
    there, back = compare(a, b), compare(b, backwards)
    assert (there.value, there.low, there.high) == (-back.value, -back.high, -back.low)
    assert avg_at_k(a) == avg_at_k(backwards)


@pytest.mark.parametrize("outcome", [0, 1])
def test_all_wrong_or_all_right_is_not_certain(outcome):
    runs = [{str(n): [outcome] * 4 for n in range(30)}]
    estimate = avg_at_k(runs)
    assert estimate.standard_error == 0
    width = estimate.high - estimate.low
    assert 0.05 < width < 0.15  # the rule of three says 3 / 30
    assert estimate.low <= outcome <= estimate.high
    difference = compare(runs, runs)
    assert (difference.low, difference.high) == pytest.approx((-0.095, 0.095), abs=1e-3)


def test_one_problem_says_nothing_of_others():
    estimate = avg_at_k([{"a": [1, 0]}])
    assert math.isnan(estimate.standard_error)
    assert (estimate.low, estimate.high) == (0.0, 1.0)
    difference = compare([{"a": [1, 0]}], [{"a": [0, 0]}])
    assert (difference.low, difference.high) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([], "there is nothing to average"),
        ([{}], "there is nothing to average"),
        ([{"a": [1]}, {"a": [1], "b": [0]}], "different problems: 'b' is not in all of them"),
        ([{"a": [1], "b": [0, 1]}], r"same number of samples, at least one; here are \[1, 2\]"),
        ([{"a": []}], r"same number of samples, at least one; here are \[0\]"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_words(runs, says):
    with pytest.raises(ValueError, match=says):
        avg_at_k(runs)
    with pytest.raises(ValueError, match=says):
        compare(runs, runs)


# --- coverage: trainings are drawn anew, and problems too ---------------------------------------------------


def draw(
    generator: np.random.Generator, difficulty: np.ndarray, seeds: int, seed_spread: float, k: int = 4
) -> list[dict[str, list[int]]]:
    """Runs of one method on problems of this difficulty (log-odds), whose trainings differ by `seed_spread`."""
    luck = generator.normal(0, seed_spread, (seeds, 1)) + generator.normal(0, 0.5, (seeds, difficulty.size))
    outcomes = generator.random((seeds, difficulty.size, k)) < 1 / (1 + np.exp(-(difficulty + luck)))[..., None]
    return [{str(n): problem.tolist() for n, problem in enumerate(run.astype(int))} for run in outcomes]


def within(estimate, truth: float, margin: float = 0.0) -> bool:
    return estimate.low - margin <= truth <= estimate.high + margin


@pytest.mark.parametrize("mean", [0.0, -4.0])
def test_the_interval_of_avg_at_k_covers_and_counting_samples_as_independent_would_not(mean):
    generator = np.random.default_rng(1)
    truth = float(np.mean(1 / (1 + np.exp(-generator.normal(mean, math.sqrt(2.25 + 0.25), 1_000_000)))))
    covered = naive = 0
    for _ in range(REPETITIONS):
        (run,) = draw(generator, generator.normal(mean, 1.5, 40), 1, 0.0, k=16)
        estimate = avg_at_k([run])
        covered += within(estimate, truth)
        naive += abs(estimate.value - truth) <= 1.96 * math.sqrt(estimate.value * (1 - estimate.value) / (40 * 16))
    assert 0.92 <= covered / REPETITIONS <= 0.985
    assert naive / REPETITIONS < 0.75


@pytest.mark.parametrize(("seeds", "problems"), [(3, 30), (4, 120)])
def test_the_interval_of_a_difference_covers_and_ignoring_seeds_would_not(seeds, problems):
    generator = np.random.default_rng(2)
    covered = ignoring = 0
    for _ in range(REPETITIONS):
        difficulty = generator.normal(0, 2, problems)
        a, b = (draw(generator, difficulty, seeds, 0.4) for _ in range(2))
        covered += within(compare(a, b), 0.0)
        pooled_a, pooled_b = ([{n: [x for run in runs for x in run[n]] for n in runs[0]}] for runs in (a, b))
        ignoring += within(compare(pooled_a, pooled_b), 0.0)
    assert 0.92 <= covered / REPETITIONS <= 0.985
    assert ignoring / REPETITIONS < 0.75
