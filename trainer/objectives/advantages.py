"""Group-relative advantages (GRPO, arXiv 2402.03300, section 4.1.2; used unchanged by DAPO and GSPO)."""

from __future__ import annotations

import torch
from torch import Tensor


def group_advantages(rewards: Tensor, group_ids: Tensor, *, scale_by_std: bool = True, eps: float = 1e-6) -> Tensor:
    """Reward minus the mean of its group, divided by (unbiased standard deviation + eps) unless `scale_by_std` is off.

    A group of one has nothing to be compared with and gets 0; so does every member of a group of equal rewards.

    Args:
        rewards: [B] one reward per sequence.
        group_ids: [B] integers; sequences with the same id answer the same prompt. Groups may differ in size.
        scale_by_std: divide by the group's standard deviation.
        eps: added to the standard deviation.

    Returns:
        [B] advantages, in the dtype of `rewards`; float32 where that holds no fractions.

    Raises:
        ValueError: `rewards` and `group_ids` differ in shape or are not one-dimensional.
    """
    if rewards.dim() != 1 or rewards.shape != group_ids.shape:
        raise ValueError(
            f"rewards {tuple(rewards.shape)} and group_ids {tuple(group_ids.shape)} must be vectors of one length"
        )
    _, group = torch.unique(group_ids, return_inverse=True)
    exact = rewards.double()
    sizes = torch.bincount(group).double()
    centred = exact - (_sum_by(group, exact, sizes) / sizes)[group]
    if scale_by_std:
        variance = _sum_by(group, centred.square(), sizes) / (sizes - 1).clamp(min=1)
        centred = centred / (variance.sqrt() + eps)[group]
    # Rounding in the mean of equal rewards, over eps, would not be small: such groups are named by comparison instead.
    lowest, highest = (sizes.scatter_reduce(0, group, exact, how, include_self=False) for how in ("amin", "amax"))
    dtype = rewards.dtype if rewards.is_floating_point() else torch.float32
    return torch.where((lowest == highest)[group], 0.0, centred).to(dtype)


def _sum_by(group: Tensor, values: Tensor, like: Tensor) -> Tensor:
    return torch.zeros_like(like).index_add(0, group, values)
