"""Reading prompts and then token after token: hidden states of the last token of every row, whatever the model."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import torch
from torch import Tensor
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel

from trainer.rollout.attention import SpecialAttention, additive, products_in
from trainer.rollout.blocks import PlainBlocks, has_plain_blocks
from trainer.rollout.cache import PreallocatedCache


class Padded:
    """Prompts side by side, padded on the left."""

    def __init__(self, prompts: list[list[int]], device: torch.device, at_least: int = 1):
        """`at_least`: columns that there are, however short the prompts."""
        self.lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
        """[B] tokens of each prompt."""
        self.width = max(at_least, *map(len, prompts))
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

    def __init__(self, trunk: PreTrainedModel, most: int, blocks: PlainBlocks | None = None):
        """Read with `trunk`.

        Args:
            trunk: the model.
            most: tokens that will be read at most, prompt and padding included.
            blocks: what reads in the place of the trunk's own forward pass.
        """
        self._decoder = trunk.get_decoder()
        self._blocks = blocks
        self.cache = PreallocatedCache(trunk.config.num_hidden_layers, most)
        self.starts = torch.empty(0)
        self._mask: Tensor | None = None

    def read(self, prompts: Padded) -> Tensor:
        """[B, H] normed hidden states of the prompts' last tokens."""
        return self.read_all(prompts)[:, -1]

    def read_all(self, prompts: Padded) -> Tensor:
        """[B, width, H] of all their tokens."""
        self.starts = prompts.starts
        self.cache.columns.advance(prompts.width)
        if not self.starts.any():
            return self._read(prompts.tokens, None, prompts.places)
        columns = torch.arange(prompts.width, device=self.starts.device).expand(len(self.starts), -1)
        return self._read(prompts.tokens, looking_back(columns, self.starts, prompts.width), prompts.places)

    def repeat(self, times: int) -> None:
        """Put every row there so many times, the copies side by side."""
        self.cache.repeat(times)
        self.starts = self.starts.repeat_interleave(times)
        self._mask = None

    def select(self, rows: Tensor) -> None:
        """Keep some rows."""
        self.cache.select(rows)
        self.starts = self.starts[rows]
        self._mask = None

    def step(self, tokens: Tensor) -> Tensor:
        """[B, H] normed hidden states of one more token [B] of every row."""
        columns = self.cache.columns
        columns.advance(1)
        if self._mask is None or self._mask.shape[-1] != columns.width:
            self._mask = _written(self.starts, columns.used, columns.width)
        self._mask[..., columns.before] = 0
        return self._read(tokens[:, None], self._mask, columns.before - self.starts[:, None])[:, -1]

    def step_apart(self, tokens: Tensor, columns: Tensor) -> Tensor:
        """[B, H] as `step`, each row's token at a column [B] of its own, behind all that it may look at."""
        held = self.cache.columns
        held.place(columns[:, None], held.used + 1)
        if self._mask is None or self._mask.shape[-1] != held.width:
            self._mask = additive(looking_back(columns[:, None], self.starts, held.width))
        self._mask[:, 0, 0].scatter_(1, columns[:, None], 0.0)
        return self._read(tokens[:, None], self._mask, (columns - self.starts)[:, None])[:, -1]

    def extend(self, tokens: Tensor, columns: Tensor) -> Tensor:
        """[B, T, H] normed hidden states of further tokens [B, T], each row's at columns [B, T] of its own."""
        self._mask = None
        used = int(columns[:, -1].max()) + 1
        self.cache.columns.place(columns, max(used, self.cache.columns.used))
        mask = additive(looking_back(columns, self.starts, self.cache.columns.width))
        return self._read(tokens, mask, columns - self.starts[:, None])

    def _read(self, tokens: Tensor, mask: Tensor | None, places: Tensor) -> Tensor:
        if self._blocks:
            return self._blocks.read(tokens, mask, places, self.cache)
        output = self._decoder(
            input_ids=tokens, attention_mask=mask, position_ids=places, past_key_values=self.cache, use_cache=True
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def _written(starts: Tensor, used: int, width: int) -> Tensor:
    """[B, 1, 1, width], or [1, 1, 1, width] where no row has padding: what is added to the scores of the columns from `starts` [B] to `used`
    is 0."""
    every = torch.arange(width, device=starts.device)
    first = starts[:, None] if starts.any() else starts[:1, None]
    return additive((every >= first) & (every < used))[:, None, None]


def looking_back(columns: Tensor, starts: Tensor, width: int) -> Tensor:
    """[B, 1, T, width] true where the token at one of the columns [B, T] may look: from its row's start [B] up to itself, and always itself."""
    every = torch.arange(width, device=columns.device)
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


class Way(Enum):
    """How a model is read, the fastest first."""

    BLOCKS = "plain blocks"
    PRODUCTS = "plain attention"
    OWN = "the model's own"


def way_of(trunk: PreTrainedModel, prompts: list[list[int]]) -> Way:
    """The fastest way that gives this model's hidden states, tried on the beginnings of two prompts."""
    if not has_plain_layers(trunk.config):
        return Way.OWN
    tried = Padded(
        [
            (prompt * TRIED)[:length]
            for prompt, length in zip((prompts[0], prompts[-1]), (TRIED, TRIED - 2), strict=True)
        ],
        trunk.device,
    )
    plain = _hidden(GrowingDecoder(trunk), tried)
    close = (CLOSE_LOW if torch.is_autocast_enabled(trunk.device.type) else CLOSE) * plain.abs().max()
    for way in (Way.BLOCKS, Way.PRODUCTS) if has_plain_blocks(trunk.get_decoder()) else (Way.PRODUCTS,):
        try:
            with products_in(trunk):
                fast = _hidden(decoder_of(trunk, way, TRIED + STEPS), tried)
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
            continue
        if (fast - plain).abs().max() <= close:
            return way
    return Way.OWN


def decoder_of(trunk: PreTrainedModel, way: Way, most: int) -> PreallocatedDecoder:
    """What reads at most `most` tokens that way, which is not the model's own."""
    blocks = PlainBlocks(trunk.get_decoder(), most) if way is Way.BLOCKS else None
    return PreallocatedDecoder(trunk, most, blocks)


def _hidden(decoder: Decoder, prompts: Padded) -> Tensor:
    states = [decoder.read(prompts)]
    decoder.repeat(2)
    decoder.select(torch.tensor([0, 3], device=prompts.tokens.device))
    states += [decoder.step(prompts.tokens[:, -1]) for _ in range(STEPS)]
    return torch.stack(states)
