"""Soft overlong punishment (DAPO, arXiv 2503.14476, equation 13), with a factor as in veRL."""

from __future__ import annotations

from torch import Tensor


def overlong_penalty(lengths: Tensor, max_length: int, buffer: int, factor: float = 1.0) -> Tensor:
    """min(0, -(length - (max_length - buffer)) / buffer * factor), added to the reward of each response.

    Args:
        lengths: [B] response lengths in tokens.
        max_length: longest response in tokens, the buffer included.
        buffer: tokens before `max_length` over which the punishment grows from 0 to `factor`.
        factor: punishment at `max_length`.

    Returns:
        [B] penalties, at most 0, float32.

    Raises:
        ValueError: `buffer` is not between 1 and `max_length`.
    """
    if not 0 < buffer <= max_length:
        raise ValueError(f"buffer {buffer} must be between 1 and max_length ({max_length})")
    excess = lengths.float() - (max_length - buffer)  # in a dtype of few bits the difference would wrap around
    return (-excess / buffer * factor).clamp(max=0.0)
