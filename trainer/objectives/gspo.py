"""GSPO's policy loss (arXiv 2507.18071, equations 5 and 7): one ratio per sequence."""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.clipping import clipped_surrogate


def gspo(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_ratio_low: float = 3e-4,
    clip_ratio_high: float = 4e-4,
    log_ratio_max: float = 10.0,
) -> Tensor:
    """Clipped surrogate with the ratio exp(mean over the sequence's tokens of the log-ratio).

    Args:
        log_probs: [B, T] log-probs under the current parameters.
        old_log_probs: [B, T] log-probs under the parameters that started the update phase.
        advantages: [B].
        mask: [B, T] true on tokens that count.
        clip_ratio_low: distance of the lower bound from 1.
        clip_ratio_high: distance of the upper bound from 1.
        log_ratio_max: the sequence's log-ratio is cut here, so that exp cannot overflow.

    Returns:
        [B, T] the sequence's loss, repeated over its tokens.
    """
    counted = mask.to(log_probs.dtype)
    mean_log_ratio = ((log_probs - old_log_probs) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
    ratio = mean_log_ratio.clamp(max=log_ratio_max).exp()
    loss = clipped_surrogate(ratio, advantages, clip_ratio_low, clip_ratio_high, dual_clip=None)
    return loss[:, None].expand_as(log_probs)
