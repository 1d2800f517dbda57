"""What smoothing does is what it says."""

import numpy as np
import pytest

from backend.comparison.smoothing import Smoothing, centred_mean, moving_average


@pytest.mark.parametrize("window", [1, 2, 3, 4, 9, 501])
def test_a_centred_mean_is_over_the_steps_around_it_however_many_points_these_have(window):
    rng = np.random.default_rng(window)
    steps = np.unique(rng.integers(0, 200, size=90))
    values = rng.normal(size=len(steps))
    expected = [values[(steps > step - window / 2) & (steps <= step + window / 2)].mean() for step in steps]
    assert centred_mean(list(steps), list(values), window) == pytest.approx(expected)


def test_a_centred_mean_of_every_step_is_over_so_many_steps():
    assert centred_mean([1, 2, 3, 4, 5], [1.0, 2.0, 6.0, 4.0, 5.0], 3) == pytest.approx([1.5, 3, 4, 5, 4.5])


def test_the_moving_average_is_the_formula_that_is_shown():
    assert moving_average([1.0, 3.0, 5.0], 0.5) == [1.0, 2.0, 3.5]
    assert moving_average([], 0.5) == []
    assert "eᵢ = 0.9 eᵢ₋₁ + 0.1 yᵢ" in Smoothing("ema", weight=0.9).says(1)


def test_without_smoothing_nothing_is_changed_or_said():
    assert Smoothing()([1, 2], [3.0, 4.0]) == [3.0, 4.0]
    assert Smoothing().says(10) == ""
