"""Prompts in tokens, and the order in which training meets them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from trainer.errors import DataError
from trainer.seeds import derive
from trainer.tasks import Item


class Prompt(NamedTuple):
    """One problem, ready to sample from."""

    item: Item
    tokens: list[int]


class Prompts(NamedTuple):
    """The prompts that fit, and how many did not."""

    kept: list[Prompt]
    too_long: int


def tokenize(items: list[Item], tokenizer: PreTrainedTokenizerBase, max_tokens: int, field: str) -> Prompts:
    """Prompts of at most `max_tokens` tokens; longer ones are counted, never cut.

    Raises:
        DataError: none fits, or a prompt has no tokens.
    """
    encoded = [tokenizer(item.prompt)["input_ids"] for item in items]
    for item, tokens in zip(items, encoded, strict=True):
        if not tokens:
            raise DataError(f"{field}: problem {item.id} gives no tokens; is the template right?")
    kept = [Prompt(item, tokens) for item, tokens in zip(items, encoded, strict=True) if len(tokens) <= max_tokens]
    if not kept:
        shortest = min(map(len, encoded))
        raise DataError(
            f"{field}: no prompt has at most {max_tokens} tokens (the shortest has {shortest}); raise rollout.max_prompt_tokens"
        )
    return Prompts(kept, len(items) - len(kept))


def prompts_of_step(prompts: list[Prompt], seed: int, step: int, count: int) -> list[Prompt]:
    """The `count` prompts of a step (from 1): the data set in a new order in each pass, passes following one another."""
    first = (step - 1) * count
    return [
        prompts[_order(len(prompts), seed, place // len(prompts))[place % len(prompts)]]
        for place in range(first, first + count)
    ]


def _order(size: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(derive(seed, "data order", epoch))
    return torch.randperm(size, generator=generator).tolist()
