"""DAPO's policy loss (arXiv 2503.14476, equation 8), with the dual clip of veRL's recipe."""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.clipping import clipped_surrogate

_LARGEST_LOG_RATIO = 60.0
"""Far above every clip. The exp of 89 is infinite in float32, and the gradient of a token that clipping leaves without one NaN."""


def dapo(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_ratio_low: float = 0.2,
    clip_ratio_high: float = 0.28,
    dual_clip: float = 10.0,
) -> Tensor:
    """Clipped surrogate with one ratio per token and a wider bound above ("clip-higher").

    Args:
        log_probs: [B, T] log-probs under the current parameters.
        old_log_probs: [B, T] log-probs under the parameters that started the update phase.
        advantages: [B].
        mask: [B, T] true on tokens that count.
        clip_ratio_low: distance of the lower bound from 1.
        clip_ratio_high: distance of the upper bound from 1.
        dual_clip: bound of the ratio where the advantage is negative.

    Returns:
        [B, T] loss per token.
    """
    ratio = (log_probs - old_log_probs).clamp(max=_LARGEST_LOG_RATIO).exp()
    return clipped_surrogate(ratio, advantages[:, None], clip_ratio_low, clip_ratio_high, dual_clip)
