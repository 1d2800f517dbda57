"""What must hold of the objectives whatever the numbers: padding, splitting, signs, degenerate batches."""

import math
import re

import pytest
import torch

from trainer.objectives import calibrate, group_advantages, overlong_penalty, policy_loss
from trainer.objectives.algorithms import ALGORITHMS
from trainer.objectives.coefficient import gain

ALGORITHM = pytest.mark.parametrize("algorithm", ALGORITHMS)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(9) < torch.tensor([9, 5, 1, 0, 7, 3])[:, None]
    old = -torch.rand(6, 9, generator=generator, dtype=torch.float64)
    new = old + 0.3 * torch.randn(6, 9, generator=generator, dtype=torch.float64)
    advantages = torch.randn(6, generator=generator, dtype=torch.float64)
    return new, old, advantages, mask


def loss_and_gradient(algorithm, new, old, advantages, mask, **settings):
    new = new.clone().requires_grad_()
    loss = policy_loss(algorithm, new, old, advantages, mask, **settings)
    loss.backward()
    return loss.detach(), new.grad


@ALGORITHM
def test_nan_in_padding_changes_neither_loss_nor_gradient(algorithm, batch):
    new, old, advantages, mask = batch
    spoiled = [torch.where(mask, part, torch.nan) for part in (new, old)]
    loss, gradient = loss_and_gradient(algorithm, *batch)
    spoiled_loss, spoiled_gradient = loss_and_gradient(algorithm, *spoiled, advantages, mask)
    assert torch.equal(loss, spoiled_loss)
    assert torch.equal(gradient, spoiled_gradient)


@ALGORITHM
def test_weights_in_padding_and_the_advantage_of_a_row_without_tokens_count_for_nothing(algorithm, batch):
    new, old, advantages, mask = batch
    assert not mask[3].any()
    weights = ALGORITHMS[algorithm].reduction(mask)
    loss, gradient = loss_and_gradient(algorithm, *batch)
    for stray in (0.25, torch.nan):
        spoiled = torch.where(torch.arange(6) == 3, stray, advantages)
        everywhere = torch.where(mask, weights, stray)
        found, its_gradient = loss_and_gradient(algorithm, new, old, spoiled, mask, weights=everywhere)
        assert torch.equal(found, loss)
        assert torch.equal(its_gradient, gradient)


@ALGORITHM
def test_no_gradient_flows_into_the_old_log_probs(algorithm, batch):
    new, old, advantages, mask = batch
    old = old.clone().requires_grad_()
    policy_loss(algorithm, new.clone().requires_grad_(), old, advantages, mask).backward()
    assert old.grad is None


@ALGORITHM
@pytest.mark.parametrize("advantage", [1.0, 0.0, -1.0])
def test_a_ratio_beyond_what_the_dtype_holds_is_clipped_like_any_other(algorithm, advantage):
    old, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    advantages = torch.full((2,), advantage)
    loss, gradient = loss_and_gradient(algorithm, old + 200, old, advantages, mask)
    assert loss.isfinite()
    assert not gradient.any()  # NaN would be any


@ALGORITHM
def test_any_dtype_of_mask_and_log_probs_gives_the_same_numbers(algorithm, batch):
    expected = policy_loss(algorithm, *batch)
    *numbers, mask = batch
    for dtype in (torch.uint8, torch.int64, torch.float32, torch.bfloat16):
        assert torch.equal(policy_loss(algorithm, *numbers, mask.to(dtype)), expected)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        loss, gradient = loss_and_gradient(algorithm, *(part.to(dtype) for part in numbers), mask)
        assert loss.item() == pytest.approx(expected.item(), abs=tolerance)
        assert gradient.dtype == dtype


@ALGORITHM
def test_a_batch_without_sequences_or_places_has_loss_zero(algorithm, batch):
    new, old, advantages, mask = batch
    assert policy_loss(algorithm, new[:0], old[:0], advantages[:0], mask[:0]) == 0
    assert policy_loss(algorithm, new[:, :0], old[:, :0], advantages, mask[:, :0]) == 0


@ALGORITHM
def test_more_padding_changes_nothing(algorithm, batch):
    new, old, advantages, mask = batch
    wider = [torch.nn.functional.pad(part, (0, 4)) for part in (new, old)]
    loss, gradient = loss_and_gradient(algorithm, *batch)
    wide_loss, wide_gradient = loss_and_gradient(algorithm, *wider, advantages, torch.nn.functional.pad(mask, (0, 4)))
    torch.testing.assert_close(loss, wide_loss)
    torch.testing.assert_close(gradient, wide_gradient[:, :9])


@ALGORITHM
@pytest.mark.parametrize("size", [1, 2, 4])
def test_micro_batches_add_up_to_the_mini_batch(algorithm, size, batch):
    new, old, advantages, mask = batch
    weights = ALGORITHMS[algorithm].reduction(mask)
    parts = [
        policy_loss(algorithm, new[rows], old[rows], advantages[rows], mask[rows], weights=weights[rows])
        for rows in torch.arange(6).split(size)
    ]
    torch.testing.assert_close(sum(parts), policy_loss(algorithm, *batch))


@ALGORITHM
def test_the_step_raises_the_probability_of_better_answers(algorithm, batch):
    _, old, advantages, mask = batch
    _, gradient = loss_and_gradient(algorithm, old, old, advantages, mask)
    assert (gradient[mask].sign() == -advantages[:, None].expand_as(mask)[mask].sign()).all()


@ALGORITHM
def test_a_batch_without_counted_tokens_has_loss_zero(algorithm, batch):
    new, old, advantages, mask = batch
    loss, gradient = loss_and_gradient(algorithm, new, old, advantages, torch.zeros_like(mask))
    assert loss == 0
    assert not gradient.any()


def test_sequence_and_token_denominators_differ(batch):
    same_clip = {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}
    assert policy_loss("dapo", *batch, **same_clip) != policy_loss("grpo", *batch, **same_clip)


def test_clip_higher_is_used_above_one_and_low_below():
    old = torch.zeros(2, 1)
    mask = torch.ones(2, 1, dtype=torch.bool)
    for log_ratio, advantage, clipped in [
        (0.24, 1.0, False),
        (0.26, 1.0, True),
        (-0.20, -1.0, False),
        (-0.25, -1.0, True),
    ]:
        new = torch.full((2, 1), log_ratio)
        _, gradient = loss_and_gradient("dapo", new, old, torch.full((2,), advantage), mask)
        assert (gradient == 0).all() == clipped, (log_ratio, advantage)


def test_dual_clip_bounds_the_loss_of_bad_answers():
    old, mask = torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    new = torch.full((1, 1), 5.0)
    loss, gradient = loss_and_gradient("dapo", new, old, -torch.ones(1), mask)
    assert loss == 10
    assert gradient == 0


def test_gspo_bounds_the_log_ratio_of_a_sequence_so_that_nothing_overflows():
    old, mask = torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    loss, gradient = loss_and_gradient("gspo", torch.tensor([[300.0, 100.0]]), old, -torch.ones(1), mask)
    assert loss.item() == pytest.approx(math.exp(10), rel=1e-5)
    assert not gradient.any()


def test_unknown_algorithm_and_wrong_shapes_are_refused_in_words(batch):
    new, old, advantages, mask = batch
    with pytest.raises(ValueError, match="'ppo' is not known; choose one of dapo, grpo, gspo"):
        policy_loss("ppo", *batch)
    with pytest.raises(ValueError, match=r"advantages \(5,\) must be \[B\]"):
        policy_loss("dapo", new, old, advantages[:5], mask)
    with pytest.raises(TypeError, match="dual_clip"):
        policy_loss("gspo", *batch, dual_clip=10.0)
    for algorithm in ALGORITHMS:
        for wrong in (
            {"advantages": advantages[:, None]},
            {"mask": mask[0]},
            {"weights": torch.ones(6, 1)},
            {"weights": torch.ones(())},
            {"log_probs": new[0], "old_log_probs": old[0], "mask": mask[0]},
            {"log_probs": new[None], "old_log_probs": old[None], "mask": mask[None], "advantages": advantages[:1]},
        ):
            given = {"log_probs": new, "old_log_probs": old, "advantages": advantages, "mask": mask, **wrong}
            with pytest.raises(ValueError, match=r"shapes do not fit: log_probs \(.* must be equal \[B, T\]"):
                policy_loss(algorithm, **given)


def test_equal_rewards_and_groups_of_one_get_exactly_zero():
    rewards = torch.tensor([0.7, 0.7, 0.7, -1.0, 0.1, 0.1])
    advantages = group_advantages(rewards, torch.tensor([4, 4, 4, 9, 2, 2]))
    assert torch.equal(advantages, torch.zeros(6))


def test_rewards_that_are_whole_numbers_have_advantages_that_are_not():
    ids = torch.tensor([0, 0, 0, 1, 1])
    expected = group_advantages(torch.tensor([1.0, 0, 0, 1, 0]), ids)
    assert expected.any()
    for dtype in (torch.int64, torch.uint8, torch.bool):
        assert torch.equal(group_advantages(torch.tensor([1, 0, 0, 1, 0]).to(dtype), ids), expected)
    halves = group_advantages(torch.tensor([1, 0, 0, 1, 0]).bfloat16(), ids)
    assert halves.dtype == torch.bfloat16
    torch.testing.assert_close(halves.float(), expected, rtol=0.01, atol=0)
    with pytest.raises(ValueError, match=r"rewards \(5,\) and group_ids \(4,\) must be vectors of one length"):
        group_advantages(expected, ids[:4])


def test_lengths_of_any_dtype_are_punished_alike():
    expected = overlong_penalty(torch.tensor([3, 9]), 10, 2)
    assert expected.tolist() == [0, -0.5]
    for dtype in (torch.uint8, torch.int8, torch.float64):
        assert torch.equal(overlong_penalty(torch.tensor([3, 9]).to(dtype), 10, 2), expected)
    assert torch.equal(overlong_penalty(torch.tensor([3], dtype=torch.int8), 1000, 2), torch.zeros(1))


def test_rounding_in_the_mean_of_equal_rewards_is_no_advantage():
    rewards = torch.full((3,), 0.1, dtype=torch.float64)
    assert (rewards.sum() / 3).item() != 0.1
    assert torch.equal(group_advantages(rewards, torch.zeros(3, dtype=torch.long)), torch.zeros(3).double())


def test_group_ids_need_not_be_sorted_or_of_one_size():
    rewards, ids = torch.tensor([1.0, 5.0, 0.0, 7.0, 2.0]), torch.tensor([3, 1, 3, 1, 3])
    advantages = group_advantages(rewards, ids, scale_by_std=False)
    torch.testing.assert_close(advantages, torch.tensor([0.0, -1.0, -1.0, 1.0, 1.0]))


def test_overlong_penalty_refuses_a_buffer_that_is_no_part_of_the_limit():
    with pytest.raises(ValueError, match="buffer 20 must be between 1 and max_length"):
        overlong_penalty(torch.tensor([5]), 10, 20)


# --- the coefficient ---------------------------------------------------------------------------------------


def test_coefficient_ignores_padding(batch):
    new, old, _, mask = batch
    mtp = new - 0.1 * torch.ones_like(new)
    clean = calibrate(new, old, mtp, mask)
    spoiled = calibrate(*(torch.where(mask, part, torch.nan) for part in (new, old, mtp)), mask)
    assert clean == spoiled


def test_coefficient_can_be_negative_and_carries_no_gradient(batch):
    new, old, _, mask = batch
    result = calibrate(new.requires_grad_(), old, 2 * old - new, mask)
    assert result.coefficient == pytest.approx(-1)
    assert not result.coefficient.requires_grad


@pytest.mark.parametrize("estimator", ["ratio_of_sums", "token_mean"])
def test_lambda_plus_scales_and_nothing_moved_gives_zero(batch, estimator):
    new, old, _, mask = batch
    once, thrice = (
        calibrate(new, old, new - 0.2, mask, estimator=estimator, lambda_plus=scale).coefficient for scale in (1.0, 3.0)
    )
    assert thrice == pytest.approx(3 * once)
    assert calibrate(old, old, old, mask, estimator=estimator).coefficient == 0


def test_calibrate_refuses_what_it_does_not_know(batch):
    new, old, _, mask = batch
    with pytest.raises(ValueError, match="'own' needs old_mtp_log_probs"):
        calibrate(new, old, new, mask, reference="own")
    with pytest.raises(ValueError, match="'mean' is not known"):
        calibrate(new, old, new, mask, estimator="mean")
    with pytest.raises(ValueError, match="'mine' is not known"):
        calibrate(new, old, new, mask, reference="mine")


def test_calibrate_refuses_shapes_that_only_broadcast(batch):
    new, old, _, mask = batch
    given = {"log_probs": new, "old_log_probs": old, "mtp_log_probs": new, "mask": mask, "old_mtp_log_probs": old}
    wrong = {"old_log_probs": old[0], "mtp_log_probs": new.expand(2, 6, 9), "mask": mask[:, :1]}
    for name, tensor in {**wrong, "old_mtp_log_probs": old[:, :1]}.items():
        with pytest.raises(ValueError, match=f"shapes do not fit: .*{name} {re.escape(str(tuple(tensor.shape)))}"):
            calibrate(**{**given, name: tensor})
    assert calibrate(new[:0], old[:0], new[:0], mask[:0]).coefficient == 0


def test_predicted_gain_is_what_a_quadratic_with_that_step_shows():
    # J(theta) = -L/2 |theta - theta*|^2 is L-smooth; ascent with eta = 1 / (L (1 + lambda_+)).
    generator = torch.Generator().manual_seed(3)
    smoothness, lambda_plus, coefficient = 4.0, 1.7, 0.6
    theta, optimum, g_mtp = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    eta = 1 / (smoothness * (1 + lambda_plus))
    g_rl = -smoothness * (theta - optimum)

    def objective(point):
        return -smoothness / 2 * (point - optimum).square().sum()

    measured = objective(theta + eta * (g_rl + coefficient * g_mtp)) - objective(theta + eta * g_rl)
    c, v2 = float(g_rl @ g_mtp), float(g_mtp @ g_mtp)
    assert gain(coefficient, c, v2, lambda_plus) * eta == pytest.approx(float(measured))
