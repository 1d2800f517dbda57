"""Drafts of the MTP depths for the rows of a batch, with a key-value cache for each depth.

With x_n the last token of a row and h_i the trunk's hidden states, depth 1 joins h_{n-1} with the embedding of x_n and predicts x_{n+1}; depth
k joins depth k - 1 at the same place with the draft of x_{n+k-1} and predicts x_{n+k}. So K depths draft K tokens from one place.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from trainer.models.joint import JointModel
from trainer.models.log_probs import full_logits
from trainer.rollout.cache import PreallocatedCache
from trainer.rollout.decoding import looking_back
from trainer.rollout.drawing import allowed, draw, log_probs_of
from trainer.rollout.engine import Sampling


class Draft(NamedTuple):
    """K tokens for each of B rows."""

    tokens: Tensor
    """[B, K]"""
    probs: Tensor
    """[B, K, V] what they were drawn from, not normalised."""


class _OneLayer(PreallocatedCache):
    """The cache of one depth, whatever number its block has in the model."""

    def __init__(self, most: int):
        super().__init__(1, most)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kw: Any) -> Any:
        """As that of the only layer."""
        return super().update(key_states, value_states, 0, *args, **kw)


class Drafter:
    """What the depths have read of some rows: tokens and hidden states by column, and each depth's keys and values."""

    def __init__(self, joint: JointModel, tokens: Tensor, hidden: Tensor, starts: Tensor, last: Tensor, most: int):
        """Read what the rows hold so far.

        Args:
            joint: the model; use it within `products_in`.
            tokens: [B, most + K] tokens by column.
            hidden: [B, most, H] the trunk's hidden states by column, before column `last`.
            starts: [B] columns of padding.
            last: [B] column of the last token that is known, at least `looks_back`.
            most: columns that will be used at most.
        """
        self._joint = joint
        self.tokens, self.hidden, self._starts = tokens, hidden, starts
        self._caches = [_OneLayer(most) for _ in joint.mtp]
        used = int(last.max())
        columns = torch.arange(used, device=last.device).expand(len(last), -1)
        for cache in self._caches:
            cache.columns.advance(used)
        self._run(columns, lambda states, place: None)

    @staticmethod
    def looks_back(depths: int) -> int:
        """Columns that a draft looks back over: those that it may have accepted, and those that a depth read with a draft that was not."""
        return 2 * depths

    def draft(self, last: Tensor, numbers: Tensor, sampling: Sampling) -> Draft:
        """Draft the tokens that follow the last one.

        Args:
            last: [B] column of the last known token.
            numbers: [B, K] numbers in [0, 1) to draw with.
            sampling: how to sample.
        """
        tokens, probs = [], []
        lm_head = self._joint.trunk.get_output_embeddings().weight

        def drafted(states: Tensor, place: int) -> None:
            given = allowed(log_probs_of(full_logits(states[:, -1], lm_head), sampling), sampling)
            token = draw(given, numbers[:, place])
            self.tokens.scatter_(1, (last + 1 + place)[:, None], token[:, None])
            tokens.append(token)
            probs.append(given)

        width = self.looks_back(self._joint.depths)
        columns = last[:, None] - width + torch.arange(width, device=last.device)
        used = int(last.max())
        for cache in self._caches:
            cache.columns.place(columns, max(used, cache.columns.used))
        self._run(columns, drafted)
        return Draft(torch.stack(tokens, dim=1), torch.stack(probs, dim=1))

    def select(self, rows: Tensor) -> None:
        """Keep some rows (their numbers, in rising order)."""
        self.tokens, self.hidden, self._starts = self.tokens[rows], self.hidden[rows], self._starts[rows]
        for cache in self._caches:
            cache.select(rows)

    def _run(self, columns: Tensor, then: Any) -> None:
        """Read [B, T] columns with every depth; `then` is given each depth's normed states [B, T, H] and its number from 0."""
        trunk, rows = self._joint.trunk, torch.arange(len(columns), device=columns.device)[:, None]
        hidden = self._joint.read_by_heads(self.hidden[rows, columns])
        places = (columns - self._starts[:, None]).clamp(min=0)
        rotary = trunk.get_decoder().rotary_emb(hidden, places)
        for number, (depth, cache) in enumerate(zip(self._joint.mtp, self._caches, strict=True)):
            embedding = trunk.get_input_embeddings()(self.tokens[rows, columns + number + 1])
            hidden, normed = depth(
                hidden,
                embedding,
                attention_mask=looking_back(columns, self._starts, cache.columns.width),
                position_ids=places,
                position_embeddings=rotary,
                past_key_values=cache,
                use_cache=True,
            )
            then(normed, number)
            if depth.chains_normed:
                hidden = normed
