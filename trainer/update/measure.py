"""What is measured of a mini-batch while it is used: nothing here changes the update."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.config import Occ, Oracle, RunConfig, Warm
from trainer.models.joint import Predictions
from trainer.objectives.coefficient import Sums, calibration_sums, gain
from trainer.objectives.regimes import cross_entropy
from trainer.update.losses import Losses, LossParts
from trainer.update.minibatch import MiniBatch

Metrics = dict[str, float]
ReferenceSums = dict[str, list[Sums]]
"""Calibration sums per depth, under "main" and "own"."""


class References:
    """Calibration sums per depth, measured from both references."""

    def __init__(self, config: RunConfig, *, is_exact: bool):
        """`is_exact`: lambda rests on exact gradients."""
        self.is_exact = is_exact
        regime = config.regime
        self.eps = regime.eps if isinstance(regime, Occ | Oracle) else 1e-8
        self.lambda_plus = regime.lambda_plus if isinstance(regime, Occ | Oracle) else 1.0
        self.estimator = regime.estimator if isinstance(regime, Occ) else "ratio_of_sums"
        self.used = regime.reference if isinstance(regime, Occ) else "main"
        """The reference whose c_hat and v2_hat are logged, and that the regime uses."""
        self._measures = not isinstance(regime, Warm)  # whose main head does not change

    def measure(self, batch: MiniBatch, predictions: Predictions) -> ReferenceSums:
        """The sums of a mini-batch, or of a micro-batch cut from it, on the CPU."""
        d_rl = predictions.log_probs - batch.old.main
        before = {"main": [batch.old.main] * len(predictions.mtp), "own": list(batch.old.mtp)}
        return {
            reference: [
                calibration_sums(d_rl, now - start, mask, self.eps).cpu()
                for now, start, mask in zip(predictions.mtp, starts, batch.depth_masks, strict=True)
                if self._measures
            ]
            for reference, starts in before.items()
        }

    def metrics(
        self, sums: ReferenceSums, exact: Sequence[Sums] | None, coefficients: Sequence[float] | None
    ) -> Metrics:
        """c_hat, v2_hat, the coefficient that each reference would give, and the predicted gain at the one used.

        Args:
            sums: of the whole mini-batch, per reference and depth.
            exact: c and v2 per depth, where they were measured. A regime that lives on them has its gain only there.
            coefficients: lambda per depth; None where the regime has none.
        """
        metrics: Metrics = {}
        for k, used in enumerate(sums[self.used]):
            prefix = "mtp/" if k == 0 else f"mtp/depth_{k + 1}/"
            metrics[f"{prefix}c_hat"], metrics[f"{prefix}v2_hat"] = float(used.c_hat), float(used.v2_hat)
            for reference, depths in sums.items():
                would_be = depths[k].coefficient(self.estimator, self.lambda_plus, self.eps)
                metrics[f"{prefix}coefficient_{reference}"] = float(would_be)
            if exact is not None:
                metrics[f"{prefix}c"], metrics[f"{prefix}v2"] = float(exact[k].c_hat), float(exact[k].v2_hat)
            if coefficients is not None:
                metrics[f"{prefix}coefficient"] = coefficients[k]
            basis = exact[k] if exact is not None else used
            if coefficients is not None and (exact is not None or not self.is_exact):
                metrics[f"{prefix}gain"] = gain(
                    coefficients[k], float(basis.c_hat), float(basis.v2_hat), self.lambda_plus
                )
        return metrics


def total_sums(parts: Sequence[ReferenceSums]) -> ReferenceSums:
    """The sums over several pieces of a mini-batch; at least one."""
    total = parts[0]
    for more in parts[1:]:
        total = {
            name: [mine.plus(theirs) for mine, theirs in zip(depths, more[name], strict=True)]
            for name, depths in total.items()
        }
    return total


def add_metrics(parts: Sequence[Metrics]) -> Metrics:
    """Shares of several parts of a mini-batch added up; a part without sequences has none."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: sum(part.get(name, 0.0) for part in parts) for name in names}


def share(losses: Losses, batch: MiniBatch, predictions: Predictions, parts: LossParts) -> Metrics:
    """What a micro-batch adds to its mini-batch's metrics: shares add up to means over the whole mini-batch's tokens."""
    mask = batch.sequences.mask
    metrics = {"policy/entropy": predictions.entropy.sum().item() / batch.tokens}
    if losses.trains_trunk:
        log_ratio = torch.where(mask, predictions.log_probs.detach() - batch.old.main, 0.0)
        metrics |= {
            "policy/loss": parts.policy.item(),
            "policy/approx_kl": (log_ratio.exp() - 1 - log_ratio).sum().item() / batch.tokens,
            "policy/clip_fraction": _clipped(losses, batch, predictions.log_probs) / batch.tokens,
        }
    for k, depth in enumerate(batch.depths(predictions.mtp.detach())):
        metrics["mtp/loss" if k == 0 else f"mtp/depth_{k + 1}/loss"] = cross_entropy(depth).item()
    if losses.distils:
        for k, apart in enumerate(losses.of_heads(batch, predictions)):
            metrics["mtp/divergence" if k == 0 else f"mtp/depth_{k + 1}/divergence"] = apart.item()
    if losses.reach_trunk:
        metrics["mtp/trunk_loss"] = parts.regime.item()
    return metrics


def _clipped(losses: Losses, batch: MiniBatch, log_probs: Tensor) -> int:
    """Counted tokens that clipping leaves without gradient although their advantage is not 0, whatever the algorithm's clip."""
    leaf = log_probs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.main(batch, leaf), leaf)
    return int(((gradient == 0) & batch.sequences.mask & (batch.advantages != 0)[:, None]).sum())
