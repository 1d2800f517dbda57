"""The forward pass of decoders made of plain blocks (Llama, Qwen2, Qwen3, MiMo and those built like them) for sampling: transformers' own
modules with their parameters, without what transformers does around them for every token and layer.

    x = x + o_proj(attention(rotated(q_norm(q_proj(norm(x)))), ...));   x = x + mlp(norm(x))

Whether a model's blocks look like that is seen from the names of their parts, whether they are that from their hidden states
(`trainer.rollout.decoding.way_of`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from trainer.rollout.attention import attend
from trainer.rollout.cache import PreallocatedCache

_BLOCK = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_NORMS = {"q_norm", "k_norm"}
_CHANGING_ROPE = {"dynamic", "longrope"}
"""Rotary embeddings that depend on how many tokens are read at once."""


def has_plain_blocks(decoder: nn.Module) -> bool:
    """Whether the decoder's parts are those that `PlainBlocks` calls, and nothing hooks into them (as sharding does)."""
    if any(module._forward_hooks or module._forward_pre_hooks for module in decoder.modules()):
        return False
    rope: dict[str, Any] = getattr(decoder.config, "rope_parameters", None) or {}
    if rope.get("rope_type", "default") in _CHANGING_ROPE:
        return False
    return {"embed_tokens", "layers", "norm", "rotary_emb"} == _names(decoder) and all(map(_is_plain, decoder.layers))


def _is_plain(block: nn.Module) -> bool:
    if _names(block) != _BLOCK:
        return False
    attention: Any = block.self_attn
    own = list(attention.parameters(recurse=False))
    return not own and _names(attention) - {"rotary_emb"} in (_ATTENTION, _ATTENTION | _NORMS)


def _names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}


class PlainBlocks:
    """Reads tokens of rows whose keys and values lie in a cache."""

    def __init__(self, decoder: Any, most: int):
        """`most`: places that tokens will have at most."""
        self._decoder = decoder
        self._parts = [(block, _norms_of_heads(block.self_attn)) for block in decoder.layers]
        weight = decoder.embed_tokens.weight
        cos, sin = decoder.rotary_emb(weight[:1, None], torch.arange(most, device=weight.device)[None])
        half = cos.shape[-1] // 2
        self._cos = cos[0, :, None]
        # Rotating a head is its product with cos, and of its exchanged halves with sin, that of the first half negative.
        self._sin = torch.cat([-sin[..., :half], sin[..., half:]], dim=-1)[0, :, None]

    def read(self, tokens: Tensor, mask: Tensor | None, places: Tensor, cache: PreallocatedCache) -> Tensor:
        """[B, T, H] normed hidden states.

        Args:
            tokens: [B, T].
            mask: [B or 1, 1, T, width of the cache] as attention takes it; none: the first tokens, which see one another causally.
            places: [B, T].
            cache: where the tokens' columns have been set.
        """
        rows = tokens.shape[0]
        cos, sin = (table.index_select(0, places.flatten()) for table in (self._cos, self._sin))
        hidden = self._decoder.embed_tokens(tokens).flatten(0, 1)  # [B x T, H]: three dimensions cost more calls
        for number, (block, heads_norm) in enumerate(self._parts):
            attention = block.self_attn
            size = attention.head_dim
            normed = _normed(block.input_layernorm, hidden)
            query, key, value = attention.q_proj(normed), attention.k_proj(normed), attention.v_proj(normed)
            both = torch.cat([query, key], dim=-1).unflatten(-1, (-1, size))
            if heads_norm is not None:
                weights, epsilon = heads_norm
                both = rms_norm(both, (size,), eps=epsilon) * weights
            both = torch.addcmul(both * cos, both.roll(size // 2, dims=-1), sin)
            query, key, value = (
                heads.unflatten(0, (rows, -1)).transpose(1, 2)
                for heads in (*both.tensor_split([query.shape[-1] // size], dim=1), value.unflatten(-1, (-1, size)))
            )
            keys, values = cache.update(key, value, number)
            mixed = attend(query, keys, values, mask, attention.scaling)
            hidden = hidden + attention.o_proj(mixed.reshape(len(hidden), -1))
            hidden = hidden + block.mlp(_normed(block.post_attention_layernorm, hidden)[None])[0]  # mixtures want three
        return _normed(self._decoder.norm, hidden).unflatten(0, (rows, -1))


def _norms_of_heads(attention: Any) -> tuple[Tensor, float] | None:
    """[query heads + key heads, D] weights of the norms of single heads, and what they add to a variance; None where there are none."""
    if not hasattr(attention, "q_norm"):
        return None
    query, key = attention.q_norm, attention.k_norm
    if query.variance_epsilon != key.variance_epsilon:
        raise ValueError("norms of queries and keys differ")
    counts = [projection.weight.shape[0] // attention.head_dim for projection in (attention.q_proj, attention.k_proj)]
    weights = [norm.weight.expand(count, -1) for norm, count in zip((query, key), counts, strict=True)]
    return torch.cat(weights), query.variance_epsilon


def _normed(norm: Any, hidden: Tensor) -> Tensor:
    return rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
