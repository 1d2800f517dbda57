"""The objectives' golden numbers on each device."""

import pytest
import torch
from test_golden import GOLDEN, LOSS_KEYS

from trainer.objectives import calibrate, policy_loss

CASES = pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"seed{case['seed']}")


def on(device, case, *names):
    return [torch.tensor(case[name], dtype=torch.float64, device=device) for name in names]


@CASES
@pytest.mark.parametrize("algorithm", LOSS_KEYS)
def test_policy_loss_and_its_gradient(device, case, algorithm):
    log_probs, *rest = on(device, case, "log_probs", "old_log_probs", "advantages_per_sequence", "mask")
    log_probs.requires_grad_()
    loss = policy_loss(algorithm, log_probs, *rest)
    loss.backward()
    assert loss.device.type == device
    assert loss.item() == pytest.approx(case["expected"][LOSS_KEYS[algorithm]], rel=1e-9, abs=1e-12)
    expected = torch.tensor(case["expected"][f"{algorithm}_gradient"], dtype=torch.float64)
    torch.testing.assert_close(log_probs.grad.cpu(), expected, rtol=1e-5, atol=1e-6)


@CASES
def test_calibration(device, case):
    given = on(device, case, "log_probs", "old_log_probs", "mtp_log_probs", "mask")
    (own,) = on(device, case, "old_mtp_log_probs")
    for reference, prefix in (("main", "occ"), ("own", "occ_own")):
        result = calibrate(*given, old_mtp_log_probs=own, reference=reference)
        for value, key in zip(result, ("correlation", "penalty", "lambda"), strict=True):
            assert value.item() == pytest.approx(case["expected"][f"{prefix}_{key}"], rel=1e-9)
