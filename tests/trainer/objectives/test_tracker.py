"""The coefficient over the mini-batches of a run."""

import pytest
import torch

from trainer.config import Occ, Oracle, Policy
from trainer.objectives.coefficient import Sums
from trainer.objectives.tracker import CoefficientTracker


def sums(c: float, v2: float) -> list[Sums]:
    return [Sums(*(torch.tensor(value, dtype=torch.float64) for value in (c, v2, c / v2, 1)))]


def used(tracker, *mini_batches):
    """Coefficients of successive mini-batches (c, v2, first of its phase)."""
    result = []
    for c, v2, first in mini_batches:
        result.append(tracker.coefficients(sums(c, v2), first_of_phase=first).item())
        tracker.observe(sums(c, v2), first_of_phase=first)
    return result


def test_each_mini_batch_by_itself_and_zero_first():
    tracker = CoefficientTracker(Occ(), 1)
    assert used(tracker, (9, 1, True), (1, 2, False), (3, 2, False), (9, 1, True)) == pytest.approx([0, 0.5, 1.5, 0])


def test_previous_uses_the_last_measured_mini_batch_across_phases():
    tracker = CoefficientTracker(Occ(window="previous"), 1)
    batches = [(9, 1, True), (1, 2, False), (3, 2, False), (9, 1, True), (5, 2, False)]
    assert used(tracker, *batches) == pytest.approx([0, 0, 0.5, 0, 1.5])


def test_ema_averages_c_and_v2_each_by_itself_and_skips_first_mini_batches():
    tracker = CoefficientTracker(Occ(ema=0.75), 1)
    batches = [(9, 1, True), (1, 2, False), (9, 1, True), (3, 6, False)]
    mean_c, mean_v2 = 0.75 * 1 + 0.25 * 3, 0.75 * 2 + 0.25 * 6
    assert used(tracker, *batches) == pytest.approx([0, 0.5, 0, mean_c / mean_v2])


def test_previous_with_ema_uses_the_mean_up_to_the_mini_batch_before():
    tracker = CoefficientTracker(Occ(window="previous", ema=0.5), 1)
    batches = [(1, 1, False), (1, 2, False), (3, 2, False)]
    assert used(tracker, *batches) == pytest.approx([0, 1, 1 / 1.5])


def test_state_survives_a_checkpoint():
    tracker, again = (CoefficientTracker(Occ(ema=0.9), 1) for _ in range(2))
    used(tracker, (1, 2, False), (3, 2, False))
    again.restore(tracker.state())
    assert used(tracker, (5, 4, False)) == used(again, (5, 4, False))


def test_a_fixed_coefficient_is_fixed():
    assert used(CoefficientTracker(Policy(coefficient=0.3), 1), (9, 1, True), (1, 2, False)) == pytest.approx(
        [0.3, 0.3]
    )


@pytest.mark.parametrize("regime", [Occ, Oracle])
def test_every_setting_of_the_ratio_reaches_the_coefficient(regime):
    def of(c, v2, **settings):
        tracker = CoefficientTracker(regime(**settings), 1)
        if tracker.needs_exact:
            tracker.take_exact(sums(c, v2))
        return tracker.coefficients(sums(c, v2), first_of_phase=False).item()

    assert of(3, 2) == pytest.approx(1.5)
    assert of(3, 2, lambda_plus=4.0) == pytest.approx(6)
    assert of(3, 2, eps=1.0) == pytest.approx(1)
    assert of(0, 0.5, eps=1.0) == 0
    assert of(3, 2, clip=[-1, 1]) == 1
    assert of(-3, 2, clip=[-1, 1]) == -1
    assert of(1, 2, clip=[-1, 1]) == pytest.approx(0.5)


def test_token_mean_divides_the_sum_of_ratios_by_the_tokens():
    part = Sums(*(torch.tensor(value, dtype=torch.float64) for value in (3.0, 2.0, 5.0, 4)))
    tracker = CoefficientTracker(Occ(estimator="token_mean", lambda_plus=2.0), 1)
    assert tracker.coefficients([part], first_of_phase=False).item() == pytest.approx(2.5)


def test_every_depth_has_a_coefficient_of_its_own():
    depths = [*sums(1, 2), *sums(-3, 2)]
    for window in ("mini_batch", "previous", "micro_batch"):
        tracker = CoefficientTracker(Occ(window=window), 2)
        tracker.observe(depths, first_of_phase=False)
        assert tracker.coefficients(depths, first_of_phase=False).tolist() == pytest.approx([0.5, -1.5])
    oracle = CoefficientTracker(Oracle(), 2)
    oracle.take_exact(depths)
    assert oracle.coefficients(None, first_of_phase=True).tolist() == pytest.approx([0.5, -1.5])


def used_exact(tracker, *mini_batches):
    """Coefficients of successive mini-batches (exact c, v2, first of its phase); c_hat and v2_hat are (100, 1) throughout."""
    result = []
    for c, v2, first in mini_batches:
        if tracker.needs_exact:
            tracker.take_exact(sums(c, v2))
        result.append(tracker.coefficients(sums(100, 1), first_of_phase=first).item())
        tracker.observe(sums(100, 1), first_of_phase=first)
    return result


def test_the_oracle_takes_every_mini_batch_by_itself_the_first_of_a_phase_too():
    tracker = CoefficientTracker(Oracle(lambda_plus=2.0), 1)
    assert used_exact(tracker, (1, 2, True), (3, 2, False), (-1, 4, True)) == pytest.approx([1, 3, -0.5])


def test_exact_every_measures_every_nth_mini_batch_and_uses_the_mean_of_all_measurements():
    tracker = CoefficientTracker(Occ(exact_every=2), 1)
    batches = [(1, 2, True), (50, 1, False), (3, 2, True), (50, 1, False), (8, 5, True)]
    assert used_exact(tracker, *batches) == pytest.approx([1 / 2, 1 / 2, 4 / 4, 4 / 4, 12 / 9])


def test_exact_every_with_ema_uses_the_running_mean():
    tracker = CoefficientTracker(Occ(exact_every=1, ema=0.75), 1)
    first, second = 0.75 * 1 + 0.25 * 5, 0.75 * 2 + 0.25 * 4
    assert used_exact(tracker, (1, 2, True), (5, 4, False)) == pytest.approx([1 / 2, first / second])


def test_where_exact_measurements_stand_survives_a_checkpoint():
    batches = [(1, 2, True), (7, 3, False), (4, 3, False), (9, 5, True), (2, 1, False)]
    whole, first = (CoefficientTracker(Occ(exact_every=2), 1) for _ in range(2))
    expected = used_exact(whole, *batches)
    used_exact(first, *batches[:3])
    again = CoefficientTracker(Occ(exact_every=2), 1)
    again.restore(first.state())
    assert used_exact(again, *batches[3:]) == expected[3:]
