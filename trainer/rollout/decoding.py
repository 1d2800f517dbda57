"""Reading prompts and then token after token: hidden states of the last token of every row, whatever the model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

from trainer.rollout.attention import SpecialAttention, products_in
from trainer.rollout.cache import PreallocatedCache


class Padded:
    """Prompts side by side, padded on the left."""

    def __init__(self, prompts: list[list[int]], device: torch.device, margin: int = 0):
        """`margin`: columns of padding before the longest prompt."""
        self.lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        """[B] tokens of each prompt."""
        self.width = max(map(len, prompts)) + margin
        rows = [[0] * (self.width - len(prompt)) + prompt for prompt in prompts]
        self.tokens = torch.tensor(rows, device=device)
        """[B, width]"""

    @property
    def starts(self) -> Tensor:
        """[B] columns of padding."""
        return self.width - self.lengths

    @property
    def mask(self) -> Tensor:
        """[B, width] true on tokens."""
        return torch.arange(self.width, device=self.tokens.device) >= self.starts[:, None]

    @property
    def places(self) -> Tensor:
        """[B, width] place of each token in its prompt; 0 in padding."""
        return (torch.arange(self.width, device=self.tokens.device) - self.starts[:, None]).clamp(min=0)


class Decoder(Protocol):
    """The keys and values of some rows, in one model's memory."""

    def read(self, prompts: Padded) -> Tensor:
        """[B, H] normed hidden states of the prompts' last tokens."""

    def repeat(self, times: int) -> None:
        """Put every row there so many times, the copies side by side."""

    def select(self, rows: Tensor) -> None:
        """Keep some rows (their numbers, in rising order)."""

    def step(self, tokens: Tensor) -> Tensor:
        """[B, H] normed hidden states of one more token [B] of every row."""


class GrowingDecoder:
    """Any model, with its own attention and the cache that transformers has for it."""

    def __init__(self, trunk: PreTrainedModel):
        self._trunk = trunk
        self._cache = DynamicCache(config=trunk.config)
        self._mask = torch.empty(0)
        self._places = torch.empty(0)

    def read(self, prompts: Padded) -> Tensor:
        """[B, H] normed hidden states of the prompts' last tokens."""
        self._mask, self._places = prompts.mask, prompts.lengths
        return self._read(prompts.tokens, prompts.places)

    def repeat(self, times: int) -> None:
        """Put every row there so many times, the copies side by side."""
        rows = torch.arange(len(self._places), device=self._places.device)
        self.select(rows.repeat_interleave(times))

    def select(self, rows: Tensor) -> None:
        """Keep some rows, or have some twice."""
        self._cache.reorder_cache(rows)  # the only way that layers of linear attention know as well
        self._mask, self._places = self._mask[rows], self._places[rows]

    def step(self, tokens: Tensor) -> Tensor:
        """[B, H] normed hidden states of one more token [B] of every row."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        places = self._places[:, None]
        self._places = self._places + 1
        return self._read(tokens[:, None], places)

    def _read(self, tokens: Tensor, places: Tensor) -> Tensor:
        decoder = self._trunk.get_decoder()
        return decoder(
            input_ids=tokens,
            attention_mask=None if self._mask.all() else self._mask,
            position_ids=places,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state[:, -1]


class PreallocatedDecoder:
    """A model with plain attention in all layers: memory laid out ahead, attention as products. Use it within `products_in`."""

    def __init__(self, trunk: PreTrainedModel, most: int):
        """`most`: tokens that will be read at most, prompt and padding included."""
        self._trunk = trunk
        self._decoder = trunk.get_decoder()
        self.cache = PreallocatedCache(trunk.config.num_hidden_layers, most)
        self.starts = torch.empty(0)
        self._most = most
        self._padding: Tensor | None = None

    def read(self, prompts: Padded) -> Tensor:
        """[B, H] normed hidden states of the prompts' last tokens."""
        return self.read_all(prompts)[:, -1]

    def read_all(self, prompts: Padded) -> Tensor:
        """[B, width, H] of all their tokens."""
        self.starts = prompts.starts
        self.cache.columns.advance(prompts.width)
        mask = prompts.mask
        return self._read(prompts.tokens, None if mask.all() else mask, prompts.places)

    def repeat(self, times: int) -> None:
        """Put every row there so many times, the copies side by side."""
        self.cache.repeat(times)
        self.starts = self.starts.repeat_interleave(times)
        self._padding = self._padding_mask()

    def select(self, rows: Tensor) -> None:
        """Keep some rows."""
        self.cache.select(rows)
        self.starts = self.starts[rows]
        self._padding = self._padding_mask()

    def step(self, tokens: Tensor) -> Tensor:
        """[B, H] normed hidden states of one more token [B] of every row."""
        columns = self.cache.columns
        columns.advance(1)
        places = columns.before - self.starts[:, None]
        mask = None if self._padding is None else self._padding[..., : columns.used]
        return self._read(tokens[:, None], mask, places)[:, -1]

    def extend(self, tokens: Tensor, columns: Tensor) -> Tensor:
        """[B, T, H] normed hidden states of further tokens [B, T], each row's at columns [B, T] of its own."""
        used = int(columns[:, -1].max()) + 1
        self.cache.columns.place(columns, max(used, self.cache.columns.used))
        mask = looking_back(columns, self.starts, self.cache.columns.used)
        return self._read(tokens, mask, columns - self.starts[:, None])

    def _padding_mask(self) -> Tensor | None:
        """[B, 1, 1, most] minus infinity where a row has padding; none where no row has any."""
        if not self.starts.any():
            return None
        padding = torch.arange(self._most, device=self.starts.device) < self.starts[:, None]
        mask = torch.zeros(padding.shape, device=padding.device).masked_fill(padding, torch.finfo(torch.float32).min)
        return mask[:, None, None]

    def _read(self, tokens: Tensor, mask: Tensor | None, places: Tensor) -> Tensor:
        output = self._decoder(
            input_ids=tokens, attention_mask=mask, position_ids=places, past_key_values=self.cache, use_cache=True
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def looking_back(columns: Tensor, starts: Tensor, used: int) -> Tensor:
    """[B, 1, T, used] true where the token at one of the columns [B, T] may look: from its row's start [B] up to itself, and always itself."""
    every = torch.arange(used, device=columns.device)
    before = (every < columns[..., None]) & (every >= starts[:, None, None])
    return (before | (every == columns[..., None]))[:, None]


def has_plain_layers(config: PretrainedConfig) -> bool:
    """Whether the configuration speaks of nothing but full attention in every layer."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return set(kinds) == {"full_attention"}
    return not getattr(config, "sliding_window", None)


TRIED, STEPS = 6, 3
"""Tokens of a prompt, and of what follows, on which the two ways are compared."""
CLOSE, CLOSE_LOW = 1e-3, 6e-2
"""Largest difference that is rounding, relative to the largest hidden state: in float32, and where products are made in bfloat16."""


def agrees(trunk: PreTrainedModel, prompts: list[list[int]]) -> bool:
    """Whether the preallocated decoder gives this model's hidden states, tried on the beginnings of two prompts."""
    if not has_plain_layers(trunk.config):
        return False
    tried = Padded(
        [
            (prompt * TRIED)[:length]
            for prompt, length in zip((prompts[0], prompts[-1]), (TRIED, TRIED - 2), strict=True)
        ],
        trunk.device,
    )
    try:
        with products_in(trunk):
            fast = _hidden(PreallocatedDecoder(trunk, TRIED + STEPS), tried)
    except (
        SpecialAttention,
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ):
        return False
    plain = _hidden(GrowingDecoder(trunk), tried)
    close = CLOSE_LOW if torch.is_autocast_enabled(trunk.device.type) else CLOSE
    return bool((fast - plain).abs().max() <= close * plain.abs().max())


def _hidden(decoder: Decoder, prompts: Padded) -> Tensor:
    states = [decoder.read(prompts)]
    decoder.repeat(2)
    decoder.select(torch.tensor([0, 3], device=prompts.tokens.device))
    states += [decoder.step(prompts.tokens[:, -1]) for _ in range(STEPS)]
    return torch.stack(states)
