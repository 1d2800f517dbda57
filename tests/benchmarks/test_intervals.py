"""Statistics of the reports on made-up numbers, whose right values are in any table of Student's t."""

import math

import pytest

from benchmarks.intervals import mean, paired, pooled, ratio, student_p


def test_mean_of_five_has_the_interval_of_four_degrees_of_freedom():
    found = mean([1.0, 2.0, 3.0, 4.0, 5.0])
    # sd 1.5811, standard error 0.70711, t(0.975, 4) = 2.77645
    assert found.value == 3.0
    assert found.half == pytest.approx(2.77645 * 0.707107, rel=1e-4)
    assert (found.low, found.high) == (found.value - found.half, found.value + found.half)


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    [(2.776445, 4, 0.05), (-2.776445, 4, 0.05), (4.604095, 4, 0.01), (12.7062, 1, 0.05), (0.0, 4, 1.0)],
)
def test_p_values_are_those_of_the_tables(t, freedom, p):
    assert student_p(t, freedom) == pytest.approx(p, rel=1e-3)


def test_interval_excludes_0_just_when_p_is_below_its_level():
    for shift in (0.5, 1.0, 1.5, 1.9, 2.0, 2.5, 4.0):
        found = mean([shift + noise for noise in (-2.0, -1.0, 0.0, 1.0, 2.0)])
        assert (found.low > 0) == (found.p < 0.05)


def test_one_seed_has_no_interval_and_equal_values_have_no_width():
    assert math.isnan(mean([0.5]).half)
    assert mean([0.5, 0.5, 0.5]).half == 0.0
    with pytest.raises(ValueError, match="nothing to average"):
        mean([])


def test_differences_are_taken_seed_by_seed():
    # The seeds differ by far more than the arms do: only pairs show it.
    assert paired({0: 0.1, 1: 0.5, 2: 0.9, 7: 3.0}, {2: 0.8, 1: 0.4, 0: 0.0, 9: 1.0}) == pytest.approx([0.1, 0.1, 0.1])


def test_pooling_averages_blocks_within_a_seed_and_leaves_out_incomplete_seeds():
    sorting = ({0: 1.0, 1: 2.0, 2: 9.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    addition = ({0: 3.0, 1: 6.0}, {0: 0.0, 1: 0.0, 2: 0.0})
    assert pooled([sorting, addition]) == [2.0, 4.0]
    assert pooled([]) == []


def test_fieller_with_an_exact_denominator_is_the_mean_over_it():
    # Numerators 1, 2, 3: mean 2, standard error 0.57735, t(0.975, 2) = 4.30265; all over 10.
    found = ratio([1.0, 2.0, 3.0], [10.0, 10.0, 10.0])
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.2 - 0.248414, 0.2 + 0.248414), rel=1e-4)


def test_fieller_by_hand_with_a_denominator_that_varies():
    # Means 2 and 5, variances of the means 1/3 and 1/3, covariance 1/6, t² = 18.5128: the ends solve
    # 18.8291 r² - 2 x 6.91453 r - 2.17093 = 0, so r = (6.91453 ± 9.41739) / 18.8291.
    found = ratio([1.0, 3.0, 2.0], [4.0, 5.0, 6.0])
    assert (found.value, found.low, found.high) == pytest.approx((0.4, -0.132926, 0.867379), rel=1e-4)


def test_fieller_ends_are_the_ratios_that_a_paired_test_just_does_not_exclude():
    top, bottom = [1.2, 0.7, 1.9, 1.1, 0.4], [2.3, 2.9, 3.4, 2.2, 2.8]
    found = ratio(top, bottom)
    assert found.low < found.value < found.high
    for end in (found.low, found.high):
        assert mean([a - end * b for a, b in zip(top, bottom, strict=True)]).p == pytest.approx(0.05, rel=1e-3)


def test_fieller_has_no_bound_where_the_denominator_may_be_0():
    assert ratio([1.0, 2.0, 3.0], [-1.0, 1.0, 3.0]).high == math.inf
    assert math.isnan(ratio([1.0], [2.0]).low)
    with pytest.raises(ValueError, match="2 numerators and 1 denominators"):
        ratio([1.0, 2.0], [1.0])
