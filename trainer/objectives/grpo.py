"""GRPO's policy loss (arXiv 2402.03300, equation 3) without the KL term: DAPO's surrogate with symmetric bounds.

It differs from DAPO in the reduction, too: a mean per sequence and then over sequences.
"""

from __future__ import annotations

from torch import Tensor

from trainer.objectives.dapo import dapo


def grpo(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    clip_ratio_low: float = 0.2,
    clip_ratio_high: float = 0.2,
    dual_clip: float = 10.0,
) -> Tensor:
    """Clipped surrogate with one ratio per token. Arguments and result as for `dapo`."""
    return dapo(
        log_probs,
        old_log_probs,
        advantages,
        mask,
        clip_ratio_low=clip_ratio_low,
        clip_ratio_high=clip_ratio_high,
        dual_clip=dual_clip,
    )
