"""The clipped surrogate that every algorithm shares (PPO, arXiv 1707.06347, equation 7; dual clip: arXiv 1912.09729, equation 5)."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, clip_ratio_low: float, clip_ratio_high: float, dual_clip: float | None
) -> Tensor:
    """-min(r A, clip(r, 1 - low, 1 + high) A), and for A < 0 at most -dual_clip A.

    Args:
        ratio: probability ratios, new over old.
        advantages: of a shape that broadcasts with `ratio`.
        clip_ratio_low: distance of the lower bound from 1.
        clip_ratio_high: distance of the upper bound from 1.
        dual_clip: bound of the ratio where the advantage is negative; None for no such bound.

    Returns:
        The loss per element, to be minimised.
    """
    clipped = ratio.clamp(1 - clip_ratio_low, 1 + clip_ratio_high)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    if dual_clip is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual_clip), loss)
