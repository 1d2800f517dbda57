"""The objectives against an independent float64 implementation (tests/reference)."""

import json
from pathlib import Path

import pytest
import torch

from trainer.objectives import calibrate, group_advantages, overlong_penalty, policy_loss

GOLDEN = json.loads((Path(__file__).parents[2] / "reference" / "loss_vectors.json").read_text())
CASES = pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"seed{case['seed']}")
LOSS_KEYS = {"dapo": "dapo_token_mean", "grpo": "grpo_seq_mean_token_mean", "gspo": "gspo_seq_mean"}


def tensor(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(case, log_probs="log_probs", old="old_log_probs"):
    return [tensor(case[key]) for key in (log_probs, old, "advantages_per_sequence", "mask")]


@CASES
@pytest.mark.parametrize("algorithm", LOSS_KEYS)
def test_policy_loss_and_its_gradient(case, algorithm):
    log_probs, *rest = batch(case)
    log_probs.requires_grad_()
    loss = policy_loss(algorithm, log_probs, *rest)
    loss.backward()
    torch.testing.assert_close(loss.item(), case["expected"][LOSS_KEYS[algorithm]], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(log_probs.grad, tensor(case["expected"][f"{algorithm}_gradient"]), rtol=1e-5, atol=1e-6)


@CASES
@pytest.mark.parametrize(("old", "key"), [("old_log_probs", "vs_main_old"), ("old_mtp_log_probs", "vs_own_old")])
def test_policy_loss_of_the_mtp_head(case, old, key):
    loss = policy_loss("dapo", *batch(case, "mtp_log_probs", old))
    torch.testing.assert_close(loss.item(), case["expected"][f"mtp_dapo_token_mean_{key}"], rtol=1e-9, atol=1e-12)


@CASES
def test_a_negative_coefficient_on_advantages_and_on_the_loss_differ(case):
    mtp, old, advantages, mask = batch(case, "mtp_log_probs")
    on_advantages = policy_loss("dapo", mtp, old, -0.25 * advantages, mask).item()
    on_loss = -0.25 * policy_loss("dapo", mtp, old, advantages, mask).item()
    expected = case["expected"]
    assert on_advantages == pytest.approx(expected["mtp_dapo_with_coefficient_-0.25_on_advantages"], rel=1e-9)
    assert on_loss == pytest.approx(expected["mtp_dapo_with_coefficient_-0.25_on_loss"], rel=1e-9)


@CASES
@pytest.mark.parametrize(("reference", "prefix"), [("main", "occ"), ("own", "occ_own")])
def test_calibration(case, reference, prefix):
    result = calibrate(
        *(tensor(case[key]) for key in ("log_probs", "old_log_probs", "mtp_log_probs", "mask")),
        old_mtp_log_probs=tensor(case["old_mtp_log_probs"]),
        reference=reference,
    )
    for value, key in zip(result, ("correlation", "penalty", "lambda"), strict=True):
        assert value.item() == pytest.approx(case["expected"][f"{prefix}_{key}"], rel=1e-9)


@CASES
def test_token_mean_estimator(case):
    result = calibrate(
        *(tensor(case[key]) for key in ("log_probs", "old_log_probs", "mtp_log_probs", "mask")), estimator="token_mean"
    )
    assert result.coefficient.item() == pytest.approx(case["expected"]["occ_lambda_token_mean"], rel=1e-9)


@pytest.mark.parametrize("case", GOLDEN["advantages"])
def test_group_advantages(case):
    result = group_advantages(tensor(case["rewards"]), torch.tensor(case["groups"]), scale_by_std=case["scale_by_std"])
    torch.testing.assert_close(result, tensor(case["expected"]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", GOLDEN["overlong"])
def test_overlong_penalty(case):
    result = overlong_penalty(torch.tensor([case["length"]]), case["max_length"], case["buffer"], case["factor"])
    assert result.item() == pytest.approx(case["expected"])
