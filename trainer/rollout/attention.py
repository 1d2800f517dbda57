"""Attention of a few new tokens to all that were read before, as two products of matrices.

On a processor the fused kernel is slow for a single query of small heads (of 16 numbers; for larger ones it was not decided); on any device this
takes fewer copies where several heads share keys.
Registered with transformers, so that every model whose attention goes through its AttentionInterface can use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

NAME = "mtprl_products"
FEW = 16
"""Query tokens up to which it is used; more go to the fused kernel, which does not lay out their scores."""

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
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, attention_mask, scaling), None


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
    """softmax(q k^T scaling + mask) v as [B, T, heads, E], of the shapes that `product_attention` takes."""
    batch, heads, tokens, size = query.shape
    shared, columns = key.shape[1:3]
    if tokens > FEW or (tokens > 1 and mask is None):  # without a mask several tokens see one another causally
        mixed = scaled_dot_product_attention(
            query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=heads != shared
        )
        return mixed.transpose(1, 2)
    # The heads that share keys stand side by side, as if they were further tokens of one head.
    grouped = (query * scaling).reshape(batch, shared, -1, size)
    scores = (grouped @ key.transpose(-1, -2)).view(batch, heads, tokens, columns)
    if mask is not None:
        scores += additive(mask) if mask.dtype == torch.bool else mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return (weights.view(batch, shared, -1, columns) @ value).view(batch, heads, tokens, -1).transpose(1, 2)


def additive(may_look: Tensor) -> Tensor:
    """What is added to scores: 0 where `may_look` is true, minus the largest number elsewhere."""
    return torch.zeros_like(may_look, dtype=torch.float32).masked_fill_(~may_look, torch.finfo(torch.float32).min)


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
