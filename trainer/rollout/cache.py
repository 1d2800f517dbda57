"""A key-value cache in memory that is laid out ahead: reading one more token copies nothing of what was read before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

ROOM, GROWTH = 64, 1.5
"""Columns that are laid out beyond those that are used, and by how much more when they are used up."""


class Columns:
    """Where the next tokens of every row are written. Column c of a row holds one token's keys and values, in all layers."""

    def __init__(self, most: int):
        """`most`: columns that will ever be used."""
        self.most = most
        self.used = 0
        """Columns that any row has written or is about to write."""
        self.before = 0
        """Columns that were used before the tokens that are read now."""
        self._next: slice | Tensor = slice(0, 0)

    def advance(self, tokens: int) -> None:
        """The next `tokens` tokens of every row stand side by side behind all that was used."""
        self._next = slice(self.used, self.used + tokens)
        self.before, self.used = self.used, self.used + tokens

    def place(self, columns: Tensor, used: int) -> None:
        """The next tokens of every row go to columns of its own.

        Args:
            columns: [B, T].
            used: one more than the largest of them, or than any before.
        """
        self._next, self.before, self.used = columns, self.used, used

    def write(self, memory: Tensor, values: Tensor) -> None:
        """Write `values` [B, H, T, D] into `memory` [B, H, D, columns]."""
        if isinstance(self._next, slice):
            memory[..., self._next] = values.transpose(2, 3)
            return
        rows, heads = (torch.arange(count, device=memory.device) for count in memory.shape[:2])
        memory.transpose(2, 3)[rows[:, None, None], heads[:, None], self._next[:, None]] = values.to(memory.dtype)


class _Layer(DynamicLayer):
    """Keys and values of one layer, [B, H, D, columns] in memory: so both products run along the columns."""

    def __init__(self, columns: Columns):
        super().__init__()
        self.keys: Any = None
        self.values: Any = None
        self._columns = columns

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the new keys and values [B, H, T, D]; returns all of them [B, H, columns used, D]."""
        if self.keys is None:
            self.dtype, self.device, self.is_initialized = key_states.dtype, key_states.device, True
            width = min(self._columns.used + ROOM, self._columns.most)
            self.keys, self.values = _room(key_states, width), _room(value_states, width)
        elif self._columns.used > self.keys.shape[3]:
            width = min(int(self._columns.used * GROWTH) + ROOM, self._columns.most)
            self.keys, self.values = _wider(self.keys, width), _wider(self.values, width)
        self._columns.write(self.keys, key_states)
        self._columns.write(self.values, value_states)
        if not self._columns.before:  # they are all that there is
            return key_states, value_states
        used = self._columns.used
        return self.keys[..., :used].transpose(2, 3), self.values[..., :used].transpose(2, 3)

    def get_seq_length(self) -> int:
        """Columns that were used before: what transformers counts places from."""
        return self._columns.before

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Columns that the tokens which are read now may look at, and where they begin."""
        return self._columns.used, 0

    def select(self, rows: Tensor) -> None:
        """Keep some rows, in the memory that is there."""
        used = self._columns.used
        for memory in (self.keys, self.values):
            memory[: len(rows), ..., :used] = memory[rows, ..., :used]
        self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]

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
        for layer in self.layers:
            layer.repeat(times)


def _room(states: Tensor, width: int) -> Tensor:
    """[B, H, D, width] for states [B, H, T, D]: zeros, because what no row has written yet is multiplied by a weight of 0."""
    batch, heads, _, size = states.shape
    return states.new_zeros(batch, heads, size, width)


def _wider(memory: Tensor, width: int) -> Tensor:
    wider = memory.new_zeros(*memory.shape[:3], width)
    wider[..., : memory.shape[3]] = memory
    return wider
