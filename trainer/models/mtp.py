"""One MTP depth as in DeepSeek-V3 (arXiv 2412.19437, section 2.2), on the decoder block of any transformers model.

    h'_i = Block(W [norm(embedding of x_{i+k}) ; norm(h^{k-1}_i)])          predicts x_{i+k+1} through the shared lm_head

h^0 is the trunk's last hidden state after its final norm. Embeddings and lm_head belong to the trunk and are not held here.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class MtpDepth(nn.Module):
    """The own parameters of one depth: two norms, the projection [2H -> H], a decoder block, the final norm."""

    def __init__(self, decoder: nn.Module):
        """Build one depth for a transformers decoder, started from its last block and its final norm.

        The projection starts as [small random ; identity], so that a new head first sees what the last block sees.
        """
        super().__init__()
        width = decoder.norm.weight.shape[0]
        self.enorm = _like_new(decoder.norm)
        self.hnorm = _like_new(decoder.norm)
        self.eh_proj = nn.Linear(2 * width, width, bias=False, dtype=decoder.norm.weight.dtype)
        self.block = copy.deepcopy(decoder.layers[-1])
        self.norm = copy.deepcopy(decoder.norm)
        with torch.no_grad():
            self.eh_proj.weight.normal_(std=0.02)
            self.eh_proj.weight[:, width:] += torch.eye(width, dtype=self.eh_proj.weight.dtype)

    def forward(self, hidden: Tensor, embedding: Tensor, **block_inputs: Any) -> Tensor:
        """Hidden states of this depth, before its final norm.

        Args:
            hidden: [B, S, H] the previous depth's hidden states (depth 1: the trunk's).
            embedding: [B, S, H] embedding of the token k places ahead.
            block_inputs: attention mask, position ids and rotary embeddings, as the decoder gives them to its blocks.

        Returns:
            [B, S, H]
        """
        joined = torch.cat([self.enorm(embedding), self.hnorm(hidden)], dim=-1)
        # The residual stream keeps its precision where the projection is made in a lower one.
        output = self.block(self.eh_proj(joined).to(joined.dtype), **block_inputs)
        return output[0] if isinstance(output, tuple) else output


def _like_new(norm: nn.Module) -> nn.Module:
    fresh = copy.deepcopy(norm)
    with torch.no_grad():
        fresh.weight.fill_(1.0)
    return fresh
