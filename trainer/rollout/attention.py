"""Attention of a few new tokens to all that were read before, as two products of matrices.

On a processor the fused kernel is slow for a single query; on any device this takes fewer copies where several heads share keys.
Registered with transformers, so that every model whose attention goes through its AttentionInterface can use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "mtprl_products"
FEW = 16
"""Query tokens up to which it is used; more go to the fused kernel, which does not lay out their scores."""

TINY = 400
"""Multiplications of one head below which torch takes a slow product of matrices on processors."""

_WITHOUT_MEANING = frozenset({"position_ids", "use_cache", "cache_position", "output_attentions", "is_causal"})
"""What models hand over that changes nothing of attention with an explicit mask and a cache."""


class SpecialAttention(Exception):
    """The model's attention has something that plain products do not, such as a cap on scores."""


def product_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **special: Any,
) -> tuple[Tensor, None]:
    """softmax(q k^T scaling + mask) v.

    Args:
        module: the layer's attention.
        query: [B, heads, T, D].
        key: [B, key heads, S, D].
        value: [B, key heads, S, E].
        attention_mask: [B or 1, 1, T, S], added to the scores, or true where a token may look; none: at everything.
        dropout: 0.
        scaling: what scores are multiplied by; none: 1 / sqrt(D).
        special: what else the model wants of its attention.

    Returns:
        [B, T, heads, E], and no weights.

    Raises:
        SpecialAttention: the model wants something that is not done here.
    """
    wanted = [name for name, setting in special.items() if setting is not None and name not in _WITHOUT_MEANING]
    if wanted or dropout:
        raise SpecialAttention(", ".join(wanted) or "dropout")
    batch, heads, tokens, size = query.shape
    if tokens > FEW or (
        tokens > 1 and attention_mask is None
    ):  # without a mask several tokens see one another causally
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling)
    # The heads that share keys stand side by side, as if they were further tokens of one head.
    shared = key.shape[1]
    grouped = (query * (size**-0.5 if scaling is None else scaling)).reshape(batch, shared, -1, size)
    is_tiny = grouped.shape[2] * key.shape[2] * size < TINY
    scores = (grouped.unsqueeze(3) * key.unsqueeze(2)).sum(dim=-1) if is_tiny else grouped @ key.transpose(-1, -2)
    scores = scores.view(batch, heads, tokens, -1)
    if attention_mask is not None:
        mask = attention_mask[..., : key.shape[2]]
        is_bool = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if is_bool else scores + mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    weights = weights.view(batch, shared, -1, key.shape[2])
    mixed = (weights.unsqueeze(-1) * value.unsqueeze(2)).sum(dim=3) if is_tiny else weights @ value
    return mixed.view(batch, heads, tokens, -1).transpose(1, 2), None


AttentionInterface.register(NAME, product_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


@contextmanager
def products_in(*modules: nn.Module) -> Iterator[None]:
    """Within it, the attention of these modules is `product_attention`."""
    held = [getattr(part, "config", None) for module in modules for part in module.modules()]
    configs: dict[int, Any] = {id(config): config for config in held if hasattr(config, "_attn_implementation")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = NAME
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
