"""How per-token losses become one number: weights [B, T] that sum to 1 over the whole mini-batch.

The weights are made once per mini-batch, before it is split, and each micro-batch takes its rows of them. So the loss, and its
gradient, do not depend on how the mini-batch was split.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Reduction = Callable[[Tensor], Tensor]


def token_mean(mask: Tensor) -> Tensor:
    """Every counted token weighs the same (DAPO, arXiv 2503.14476, equation 8).

    Args:
        mask: [B, T] true on tokens that count.

    Returns:
        [B, T] float64 weights; all 0 where nothing counts at all.
    """
    counted = mask.double()
    return counted / counted.sum().clamp(min=1)


def sequence_mean(mask: Tensor) -> Tensor:
    """Mean over each sequence's tokens, then over the sequences that have any (GRPO, arXiv 2402.03300, equation 3).

    Args:
        mask: [B, T] true on tokens that count.

    Returns:
        [B, T] float64 weights; a row without counted tokens is no sequence.
    """
    counted = mask.double()
    lengths = counted.sum(dim=1, keepdim=True)
    sequences = (lengths > 0).sum().clamp(min=1)
    return counted / lengths.clamp(min=1) / sequences
