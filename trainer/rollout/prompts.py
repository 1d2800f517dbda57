"""Prompts in tokens, and the order in which training meets them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jinja2 import TemplateError
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
        DataError: none fits, a prompt has no tokens, or the tokenizer has no template for a chat.
    """
    encoded = [_tokens(item, tokenizer, field) for item in items]
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


def _tokens(item: Item, tokenizer: PreTrainedTokenizerBase, field: str) -> list[int]:
    if not item.chat:
        return tokenizer(item.prompt)["input_ids"]
    if not tokenizer.chat_template:
        raise DataError(
            f"{field}.chat: the model's tokenizer has no chat template; set chat to false, or give a model that has one"
        )
    turns = [{"role": "system", "content": item.system}] if item.system else []
    turns.append({"role": "user", "content": item.prompt})
    try:
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:  # such as that of a model without a system role
        fix = "leave system empty, or set chat to false" if item.system else "set chat to false"
        raise DataError(
            f"{field}.chat: the model's chat template refuses problem {item.id} ({error}); {fix}"
        ) from error
    # The template writes every special token that belongs there: the tokenizer's own would stand there twice.
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def prompts_of_step(prompts: list[Prompt], seed: int, step: int, count: int) -> list[Prompt]:
    """The `count` prompts of a step (from 1): the data set in a new order in each pass, passes following one another."""
    return [prompts[place] for place in _places(len(prompts), seed, step, count)]


def further_prompts(prompts: list[Prompt], seed: int, step: int, count: int) -> list[Prompt]:
    """Every prompt that is not among the `count` prompts of the step, in an order that the step fixes."""
    taken = set(_places(len(prompts), seed, step, count))
    order = _order(len(prompts), derive(seed, "further prompts", step))
    return [prompts[place] for place in order if place not in taken]


def _places(size: int, seed: int, step: int, count: int) -> list[int]:
    first = (step - 1) * count
    passes = range(first // size, (first + count - 1) // size + 1)
    orders = {number: _order(size, derive(seed, "data order", number)) for number in passes}
    return [orders[place // size][place % size] for place in range(first, first + count)]


def _order(size: int, seed: int) -> list[int]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()
