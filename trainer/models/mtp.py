"""One MTP depth as in DeepSeek-V3 (arXiv 2412.19437, section 2.2), on the decoder block of any transformers model.

    h'_i = Block(W [norm(embedding of x_{i+k}) ; norm(h^{k-1}_i)])          predicts x_{i+k+1} through the shared lm_head

h^0 is the trunk's last hidden state after its final norm. Embeddings and lm_head belong to the trunk and are not held here. Published
checkpoints differ in the order of the halves, in whether h^0 is taken before that norm, and in small things, which their layout says
(trainer.models.layouts).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from trainer.models.layouts import ATTACHED, Layout


class MtpDepth(nn.Module):
    """The own parameters of one depth: two norms, the projection [2H -> H], a decoder block, the final norm."""

    def __init__(self, decoder: nn.Module, layout: Layout = ATTACHED, block: nn.Module | None = None):
        """Build one depth for a transformers decoder.

        The projection starts such that a new head first sees what the last block sees: identity for the hidden state, small random numbers
        for the embedding.

        Args:
            decoder: the trunk's.
            layout: how the depth is put together.
            block: its decoder block; None: started from the decoder's last one with full attention.
        """
        super().__init__()
        width = decoder.norm.weight.shape[0]
        self.enorm = _like_new(decoder.norm)
        self.hnorm = _like_new(decoder.norm)
        self.eh_proj = nn.Linear(2 * width, width, bias=False, dtype=decoder.norm.weight.dtype)
        self.block = copy.deepcopy(_last_attending(decoder)) if block is None else block
        self.norm = copy.deepcopy(decoder.norm)
        self.hidden_first = layout.hidden_first
        self.chains_normed = layout.chains_normed
        self._blind_at_start = layout.blind_at_start
        with torch.no_grad():
            self.eh_proj.weight.normal_(std=0.02)
            hidden = slice(0, width) if self.hidden_first else slice(width, None)
            self.eh_proj.weight[:, hidden] += torch.eye(width, dtype=self.eh_proj.weight.dtype)

    def forward(
        self, hidden: Tensor, embedding: Tensor, *, frozen: bool = False, **block_inputs: Any
    ) -> tuple[Tensor, Tensor]:
        """Hidden states of this depth, for the next one and for the lm_head.

        Args:
            hidden: [B, S, H] the previous depth's hidden states (depth 1: the trunk's).
            embedding: [B, S, H] embedding of the token k places ahead.
            frozen: no gradient goes to this depth's own parameters, only through them.
            block_inputs: attention mask, position ids and rotary embeddings, as the decoder gives them to its blocks.

        Returns:
            [B, S, H] before and after the final norm.
        """
        call = _frozen if frozen else _called
        if self._blind_at_start:
            embedding = embedding.masked_fill((block_inputs["position_ids"] == 0)[..., None], 0.0)
        halves = [call(self.enorm, embedding), call(self.hnorm, hidden)]
        joined = torch.cat(halves[::-1] if self.hidden_first else halves, dim=-1)
        # The residual stream keeps its precision where the projection is made in a lower one.
        output = call(self.block, call(self.eh_proj, joined).to(joined.dtype), **block_inputs)
        states = output[0] if isinstance(output, tuple) else output
        return states, call(self.norm, states)


def _called(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    return module(*args, **kwargs)


def _frozen(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
    own = {name: parameter.detach() for name, parameter in module.named_parameters()}
    return torch.func.functional_call(module, own, args, kwargs)


def _last_attending(decoder: nn.Module) -> nn.Module:
    """The last block with full attention: linear attention keeps a state that a block alone would not have, and takes other masks."""
    blocks = list(decoder.layers)
    return next((block for block in reversed(blocks) if hasattr(block, "self_attn")), blocks[-1])


def _like_new(norm: nn.Module) -> nn.Module:
    """A norm that changes no scale: its weight is 1, or 0 where the class multiplies by 1 + weight."""
    fresh = copy.deepcopy(norm)
    with torch.no_grad():
        fresh.weight.zero_()
        if not fresh(torch.ones_like(fresh.weight)[None]).any():
            fresh.weight.fill_(1.0)
    return fresh
