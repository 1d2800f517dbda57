"""The algorithms by name, and the one loss function that trains main head and MTP heads alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.objectives.dapo import dapo
from trainer.objectives.grpo import grpo
from trainer.objectives.gspo import gspo
from trainer.objectives.reduction import Reduction, sequence_mean, token_mean
from trainer.objectives.shapes import check_shapes


class Algorithm(NamedTuple):
    """A per-token loss and the reduction that belongs to it."""

    token_losses: Callable[..., Tensor]
    reduction: Reduction


ALGORITHMS = {
    "dapo": Algorithm(dapo, token_mean),
    "grpo": Algorithm(grpo, sequence_mean),
    "gspo": Algorithm(gspo, sequence_mean),
}


def policy_loss(
    algorithm: str,
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    weights: Tensor | None = None,
    **settings: Any,
) -> Tensor:
    """The policy loss of a mini-batch, or the part of it that one micro-batch contributes.

    Args:
        algorithm: "dapo", "grpo" or "gspo".
        log_probs: [B, T] log-probs of the sampled tokens under the current parameters.
        old_log_probs: [B, T] the same under the parameters that started the update phase; no gradient flows into it.
        advantages: [B].
        mask: [B, T] true (or non-zero) on response tokens that count.
        weights: [B, T] rows of the mini-batch's reduction weights; None: this is the whole mini-batch.
        settings: the algorithm's own, such as clip_ratio_high.

    Returns:
        Scalar, to be minimised.

    Raises:
        ValueError: an unknown algorithm, or shapes that do not fit.
        TypeError: a setting that the algorithm does not have.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm {algorithm!r} is not known; choose one of {', '.join(ALGORITHMS)}")
    tables = {"log_probs": log_probs, "old_log_probs": old_log_probs, "mask": mask, "weights": weights}
    check_shapes({name: table for name, table in tables.items() if table is not None}, advantages)
    token_losses, reduction = ALGORITHMS[algorithm]
    mask = mask.bool()
    weights = reduction(mask) if weights is None else weights
    # Masked positions, and rows without any other, are cut out before any arithmetic: 0 x NaN would be NaN, in the gradient, too.
    log_probs = torch.where(mask, log_probs, 0.0)
    old_log_probs = torch.where(mask, old_log_probs.detach(), 0.0)
    weights = torch.where(mask, weights, 0.0)
    advantages = torch.where(mask.any(dim=1), advantages, 0.0)
    losses = token_losses(log_probs, old_log_probs, advantages, mask, **settings)
    return (losses * weights.to(losses.dtype)).sum()
