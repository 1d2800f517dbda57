"""A key-value cache in memory that is laid out ahead: reading one more token copies nothing of what was read before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

AHEAD, GROWTH = 32, 8
"""Columns that are laid out beyond those that are used: so many, or one for so many used ones where that is more. Attention reads all that is
laid out: on a processor, memory without gaps is read two to three times as fast, which is more than reading a few unused columns costs."""


class Columns:
    """Where the next tokens of every row are written. Column c of a row holds one token's keys and values, in all layers."""

    def __init__(self, most: int):
        """`most`: columns that will ever be used."""
        self._most = most
        self.used = 0
        """Columns that any row has written or is about to write."""
        self.before = 0
        """Columns that were used before the tokens that are read now."""
        self.width = 0
        """Columns that are laid out, all of which attention is given."""
        self._next: slice | Tensor = slice(0, 0)
        self._placed: tuple[torch.Size, Tensor] | None = None

    def advance(self, tokens: int) -> None:
        """The next `tokens` tokens of every row stand side by side behind all that was used."""
        self._next = slice(self.used, self.used + tokens)
        self._use(self.used + tokens)

    def place(self, columns: Tensor, used: int) -> None:
        """The next tokens of every row go to columns of its own.

        Args:
            columns: [B, T].
            used: one more than the largest of them, or than any before.
        """
        self._next, self._placed = columns, None
        self._use(used)

    def write(self, memory: Tensor, values: Tensor) -> None:
        """Write `values` [B, H, T, D] into `memory` [B, H, width, D]."""
        if isinstance(self._next, slice):
            memory[:, :, self._next] = values
            return
        # Rows of one long matrix: three times as fast as an index for each dimension.
        memory.view(-1, memory.shape[-1]).index_copy_(0, self._flat(memory), values.to(memory.dtype).flatten(0, 2))

    def _flat(self, memory: Tensor) -> Tensor:
        """[B x H x T] where the next tokens lie in the flattened memory; the same for all layers of one shape."""
        assert isinstance(self._next, Tensor)
        if self._placed is None or self._placed[0] != memory.shape:
            batch, heads, width, _ = memory.shape
            first = torch.arange(batch * heads, device=memory.device).view(batch, heads, 1) * width
            self._placed = memory.shape, (first + self._next[:, None]).flatten()
        return self._placed[1]

    def _use(self, used: int) -> None:
        self.before, self.used = self.used, used
        if used > self.width:
            room = max(AHEAD, used // GROWTH) if self.before else 0  # none before rows are repeated
            self.width = min(used + room, self._most)


class _Layer(DynamicLayer):
    """Keys and values of one layer, [B, H, width, D]; zeros where nothing was written, because that is multiplied by a weight of 0."""

    def __init__(self, columns: Columns):
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self._columns = columns

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values [B, H, T, D]; returns all of them [B, H, width, D]."""
        if self.keys is None:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            self.keys, self.values = key_states.contiguous(), value_states.contiguous()
            return key_states, value_states
        if self._columns.width > self.keys.shape[2]:
            self.keys, self.values = (_wider(memory, self._columns.width) for memory in (self.keys, self.values))
        self._columns.write(self.keys, key_states)
        self._columns.write(self.values, value_states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Columns that were used before: what transformers counts places from."""
        return self._columns.before

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the tokens which are read now may look at, and where they begin."""
        return self._columns.width, 0

    def select(self, rows: Tensor) -> None:
        """Keep some rows."""
        self.keys, self.values = self.keys[rows], self.values[rows]

    def repeat(self, times: int) -> None:
        """Put every row there so many times."""
        self.keys, self.values = (memory.repeat_interleave(times, dim=0) for memory in (self.keys, self.values))


class PreallocatedCache(Cache):
    """For models all of whose layers keep the keys and values of every token, written where `columns` says."""

    def __init__(self, layers: int, most: int):
        """For so many layers, and at most so many columns."""
        self.columns = Columns(most)
        super().__init__(layers=[_Layer(self.columns) for _ in range(layers)])

    def select(self, rows: Tensor) -> None:
        """Keep some rows (their numbers, in rising order)."""
        for layer in self.layers:
            layer.select(rows)

    def repeat(self, times: int) -> None:
        """Put every row there so many times, the copies side by side."""
        if times > 1:
            for layer in self.layers:
                layer.repeat(times)


def _wider(memory: Tensor, width: int) -> Tensor:
    batch, heads, before, size = memory.shape
    wider = memory.new_zeros(batch, heads, width, size)
    wider[:, :, :before] = memory
    return wider
