"""The coefficient of Optimal Coefficient Calibration (arXiv 2605.28184), from log-probabilities alone.

With d_rl = log_probs - old_log_probs and d_mtp = mtp_log_probs - reference, over the counted tokens of a mini-batch,

    c_hat = <d_rl, d_mtp>        v2_hat = ||d_mtp||^2        lambda_t = lambda_plus c_hat / (v2_hat + eps)

stand for the first-order correlation <g_RL, g_MTP> and the second-order penalty ||g_MTP||^2. Departures from the paper's code,
each an option: the ratio of the two sums instead of the mean of per-token ratios (`estimator="token_mean"`), which padding does not
dilute and tokens with d_mtp near 0 do not blow up; and `reference="own"`, the head's own old log-probs in the place of the main
head's. docs/method.md says why.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.objectives.shapes import check_shapes


class Calibration(NamedTuple):
    """What `calibrate` measured: scalars, float64, detached."""

    c_hat: Tensor
    v2_hat: Tensor
    coefficient: Tensor


class Sums(NamedTuple):
    """Sums over counted tokens, float64, detached; two of them add up to those of their union."""

    c_hat: Tensor
    v2_hat: Tensor
    token_ratios: Tensor
    tokens: Tensor

    def plus(self, other: Sums) -> Sums:
        """The sums over both sets of tokens."""
        return Sums(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def cpu(self) -> Sums:
        """The same, on the CPU."""
        return Sums(*(part.cpu() for part in self))

    def coefficient(self, estimator: str, lambda_plus: float, eps: float) -> Tensor:
        """lambda_t; 0 where no token counts."""
        if estimator == "ratio_of_sums":
            return lambda_plus * self.c_hat / (self.v2_hat + eps)
        return lambda_plus * self.token_ratios / self.tokens.clamp(min=1)


def calibration_sums(d_rl: Tensor, d_mtp: Tensor, mask: Tensor, eps: float) -> Sums:
    """Sum products, squares and per-token ratios of two log-prob changes over the counted tokens.

    Args:
        d_rl: [B, T] change of the main head's log-probs in this update phase.
        d_mtp: [B, T] change of the MTP head's.
        mask: [B, T] true on tokens that count.
        eps: added to the denominator of the per-token ratios.
    """
    counted = mask.bool()
    # Cut out, not multiplied by 0: padding may hold NaN. float64, so that the sums do not depend on how the batch is split.
    d_rl = torch.where(counted, d_rl.detach().double(), 0.0)
    d_mtp = torch.where(counted, d_mtp.detach().double(), 0.0)
    product = d_rl * d_mtp
    square = d_mtp.square()
    return Sums(product.sum(), square.sum(), (product / (square + eps)).sum(), counted.sum(dtype=torch.float64))


def calibrate(
    log_probs: Tensor,
    old_log_probs: Tensor,
    mtp_log_probs: Tensor,
    mask: Tensor,
    *,
    old_mtp_log_probs: Tensor | None = None,
    reference: str = "main",
    estimator: str = "ratio_of_sums",
    lambda_plus: float = 1.0,
    eps: float = 1e-8,
) -> Calibration:
    """c_hat, v2_hat and lambda_t of one MTP depth over the tokens given.

    Args:
        log_probs: [B, T] main head, current parameters.
        old_log_probs: [B, T] main head, parameters that started the update phase.
        mtp_log_probs: [B, T] MTP head, current parameters; position t is the same token as in `log_probs`.
        mask: [B, T] true (or non-zero) on tokens that both heads predict and that count.
        old_mtp_log_probs: [B, T] MTP head, parameters that started the update phase; needed for reference "own".
        reference: "main" measures the head's change from `old_log_probs` (the authors' code), "own" from `old_mtp_log_probs`.
        estimator: "ratio_of_sums", or "token_mean" (the authors' code).
        lambda_plus: scale of the coefficient.
        eps: added to v2_hat, or to every per-token denominator.

    Raises:
        ValueError: an unknown reference or estimator, reference "own" without `old_mtp_log_probs`, or shapes that do not fit.
    """
    if estimator not in ("ratio_of_sums", "token_mean"):
        raise ValueError(f"estimator {estimator!r} is not known; choose ratio_of_sums or token_mean")
    if reference not in ("main", "own"):
        raise ValueError(f"reference {reference!r} is not known; choose main or own")
    if reference == "own" and old_mtp_log_probs is None:
        raise ValueError("reference 'own' needs old_mtp_log_probs, the MTP head's log-probs at the start of the phase")
    tables = {"log_probs": log_probs, "old_log_probs": old_log_probs, "mtp_log_probs": mtp_log_probs, "mask": mask}
    check_shapes(tables if old_mtp_log_probs is None else {**tables, "old_mtp_log_probs": old_mtp_log_probs})
    start = old_log_probs if reference == "main" or old_mtp_log_probs is None else old_mtp_log_probs
    sums = calibration_sums(log_probs - old_log_probs, mtp_log_probs - start, mask, eps)
    return Calibration(sums.c_hat, sums.v2_hat, sums.coefficient(estimator, lambda_plus, eps))


def gain(coefficient: float, c_hat: float, v2_hat: float, lambda_plus: float = 1.0) -> float:
    """Predicted change of the objective by the MTP part, per unit of learning rate: (lambda_+ lambda c - lambda^2 v2 / 2) / (1 + lambda_+).

    Follows from Delta_MTP = eta lambda (1 - L eta) c - L eta^2 lambda^2 v2 / 2 with L eta = 1 / (1 + lambda_+) (docs/method.md).
    For `occ` with its own c_hat and v2_hat, unclipped, it is never negative by construction.
    """
    return (lambda_plus * coefficient * c_hat - coefficient**2 * v2_hat / 2) / (1 + lambda_plus)
