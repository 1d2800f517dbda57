"""Statistics of the reports on made-up numbers, whose right values are in any table of Student's t."""

import math

import pytest

from benchmarks.intervals import holm, mean, paired, pooled, student_p


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


def test_holm_is_stepwise_and_never_falls():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.7, "b": 0.6}) == {"b": 1.0, "a": 1.0}
