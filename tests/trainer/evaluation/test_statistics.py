"""Scores and differences of them by hand; whether their intervals hold what they promise stands in test_null_check."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.evaluation.statistics import avg_at_k, compare, student_quantile


def of(*runs: dict[str, list[int]]) -> list[dict[str, dict[str, list[int]]]]:
    """Runs evaluated on one benchmark."""
    return [{"sums": run} for run in runs]


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # tables of Student's t, two-sided 95 %
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (29, 2.0452), (120, 1.9799), (1e9, 1.9623)],
)
def test_students_quantiles_are_those_of_the_tables(freedom, quantile):
    assert student_quantile(0.95, freedom) == pytest.approx(quantile, abs=6e-5)


def test_avg_at_k_by_hand():
    # Problem means 1, 1/2, 0, 1/2: mean 1/2, variance (1/4 + 0 + 1/4 + 0) / 3 = 1/6, standard error sqrt(1/6 / 4).
    estimate = avg_at_k(of({"a": [1, 1], "b": [1, 0], "c": [0, 0], "d": [0, 1]}))
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
    estimate = avg_at_k(of(*runs))
    assert estimate.value == pytest.approx(0.5)
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 16 / 3 + 1 / 18 / 2))
    assert (estimate.seeds, estimate.over_seeds, estimate.scope) == (3, True, "these methods")


def test_a_difference_by_hand():
    # Differences by problem 1, 1/2, 0: mean 1/2, variance 1/4, standard error sqrt(1/12).
    estimate = compare(of({"x": [1, 1], "y": [1, 0], "z": [0, 0]}), of({"z": [0, 0], "x": [0, 0], "y": [0, 0]}))
    assert (estimate.value, estimate.problems) == (0.5, 3)
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 12))
    assert (estimate.low, estimate.high) == (pytest.approx(max(-1, 0.5 - 4.30265 * math.sqrt(1 / 12)), abs=1e-4), 1.0)


def test_a_difference_over_seeds_by_hand():
    # Run means of a: 1, 1/2, 1/2 (variance 1/12), of b: 0, 0, 1/2 (variance 1/12); differences by problem 2/3, 1/3 (variance 1/18).
    a = [{"x": [1], "y": [1]}, {"x": [1], "y": [0]}, {"x": [1], "y": [0]}]
    b = [{"x": [0], "y": [0]}, {"x": [0], "y": [0]}, {"x": [1], "y": [0]}]
    estimate = compare(of(*a), of(*b))
    terms = [(1 / 18 / 2, 1), (1 / 12 / 3, 2), (1 / 12 / 3, 2)]
    variance = sum(term for term, _ in terms)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.standard_error == pytest.approx(math.sqrt(variance))
    assert estimate.low == pytest.approx(0.5 - student_quantile(0.95, freedom) * math.sqrt(variance))


def test_pairing_by_problem_removes_what_problems_have_in_common():
    a = {str(n): [1] * n + [0] * (10 - n) for n in range(1, 11)}  # from hard to easy
    b = {key: [*outcomes[1:], 0] for key, outcomes in a.items()}  # one sample worse on each
    estimate = compare(of(a), of(b))
    assert estimate.value == pytest.approx(0.1)
    assert estimate.standard_error < 1e-9
    assert avg_at_k(of(a)).standard_error > 0.09


@pytest.mark.parametrize(("seeds_a", "seeds_b", "over"), [(3, 3, True), (5, 3, True), (2, 3, False), (3, 1, False)])
def test_three_seeds_of_both_are_needed_to_speak_of_methods(seeds_a, seeds_b, over):
    (run,) = of({"x": [1, 0], "y": [0, 0]})
    estimate = compare([run] * seeds_a, [run] * seeds_b)
    assert estimate.over_seeds is over
    assert estimate.scope == ("these methods" if over else "these checkpoints, not these methods")


def test_the_order_of_problems_and_swapping_sides_change_nothing():
    generator = np.random.default_rng(0)
    a, b = (of(*({str(n): list(generator.integers(0, 2, 4)) for n in range(20)} for _ in range(3))) for _ in range(2))
    backwards = of(*(dict(reversed(run["sums"].items())) for run in a))
    there, back = compare(a, b), compare(b, backwards)
    assert (there.value, there.low, there.high) == (-back.value, -back.high, -back.low)
    assert avg_at_k(a) == avg_at_k(backwards)


@pytest.mark.parametrize("outcome", [0, 1])
def test_all_wrong_or_all_right_is_not_certain(outcome):
    runs = of({str(n): [outcome] * 4 for n in range(30)})
    estimate = avg_at_k(runs)
    assert estimate.standard_error == 0
    width = estimate.high - estimate.low
    assert 0.05 < width < 0.15  # the rule of three says 3 / 30
    assert estimate.low <= outcome <= estimate.high
    difference = compare(runs, runs)
    assert (difference.low, difference.high) == pytest.approx((-0.095, 0.095), abs=1e-3)


def test_one_problem_says_nothing_of_others():
    estimate = avg_at_k(of({"a": [1, 0]}))
    assert math.isnan(estimate.standard_error)
    assert (estimate.low, estimate.high) == (0.0, 1.0)
    difference = compare(of({"a": [1, 0]}), of({"a": [0, 0]}))
    assert (difference.low, difference.high) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ([], "there is nothing to average"),
        ([{}], "there is nothing to average"),
        (of({}), "there is nothing to average"),
        ([{"sums": {"a": [1]}}, {"products": {"a": [1]}}], "different benchmarks: 'products' is not in all of them"),
        (
            of({"a": [1]}, {"a": [1], "b": [0]}),
            "sums: the runs were evaluated on different problems: 'b' is not in all",
        ),
        (of({"a": [1], "b": [0, 1]}), r"sums: each problem needs the same number of samples.* here are \[1, 2\]"),
        (of({"a": []}), r"sums: each problem needs the same number of samples, at least one; here are \[0\]"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_words(runs, says):
    with pytest.raises(ValueError, match=says):
        avg_at_k(runs)
    with pytest.raises(ValueError, match=says):
        compare(runs, runs)


def test_a_method_without_runs_is_compared_with_none():
    with pytest.raises(ValueError, match="a method without runs"):
        compare(of({"a": [1]}), [])


# --- several benchmarks -------------------------------------------------------------------------------------

FEW = {"a": [1], "b": [0]}
MANY = {"a": [1, 1], "b": [1, 0], "c": [1, 1], "d": [1, 0]}


def test_benchmarks_weigh_the_same_and_their_problems_are_independent():
    # Means 1/2 and 3/4, variances of them (1/2)/2 and (1/12)/4, each over 2 squared; degrees 1 and 3.
    estimate = avg_at_k([{"few": FEW, "many": MANY}])
    assert (estimate.value, estimate.problems) == (0.625, 6)
    assert estimate.standard_error == pytest.approx(math.sqrt((1 / 4 + 1 / 48) / 4))


def test_what_a_seed_does_to_all_benchmarks_counts_once_and_in_full():
    # Per seed the mean over benchmarks is 0, 1/2 and 1: variance 1/4 over 3 seeds, as if there were one benchmark. Benchmark by
    # benchmark and added up it would be half of that.
    right, wrong = {"a": [1], "b": [1]}, {"a": [0], "b": [0]}
    mixed = {"a": [1], "b": [0]}
    runs = [{"x": run, "y": run} for run in (wrong, mixed, right)]
    assert avg_at_k(runs).standard_error == pytest.approx(math.sqrt(1 / 12 + 2 * (1 / 18 / 2) / 4))
    # Where one benchmark's luck is the other's misfortune, no seed is better than another.
    against = [{"x": run, "y": other} for run, other in ((wrong, right), (mixed, mixed), (right, wrong))]
    assert avg_at_k(against).standard_error == pytest.approx(math.sqrt(2 * (1 / 18 / 2) / 4))


def test_a_difference_over_benchmarks_by_hand():
    # Differences 1, 0 and 0, 0, 1/2, 1/2: means 1/2 and 1/4, variances 1/2 and 1/12.
    other = {"few": {"a": [0], "b": [0]}, "many": {"a": [1, 1], "b": [1, 0], "c": [1, 0], "d": [0, 0]}}
    estimate = compare([{"few": FEW, "many": MANY}], [other])
    terms = [(1 / 2 / 2 / 4, 1), (1 / 12 / 4 / 4, 3)]
    variance = sum(term for term, _ in terms)
    freedom = variance**2 / sum(term**2 / degrees for term, degrees in terms)
    assert estimate.value == pytest.approx(0.375)
    assert estimate.standard_error == pytest.approx(math.sqrt(variance))
    assert estimate.low == pytest.approx(max(-1, 0.375 - student_quantile(0.95, freedom) * math.sqrt(variance)))


def test_where_all_are_alike_the_smallest_benchmark_says_how_sure_that_is():
    runs = [{"small": {str(n): [0] for n in range(30)}, "large": {str(n): [0] for n in range(1000)}}]
    difference = compare(runs, runs)
    assert difference.high == pytest.approx(1 - 0.05 ** (1 / 60))
    assert avg_at_k(runs).high > 0.05  # were all 1030 of one benchmark it would be 0.004


def test_equal_differences_are_equal_however_they_are_rounded():
    thirds = {str(n): [1, 0, 0] for n in range(7)}
    found = compare(of(thirds), of({key: [0, 0, 0] for key in thirds}))
    assert found.standard_error == 0
    assert found.high - found.low > 0.5
