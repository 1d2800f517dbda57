"""What a run of regime warm has beside others: prompts that it does not train on, and draft acceptance on what the model says to them.

Nothing but the heads changes, so that the responses to these prompts stay what they are: they are sampled once in an attempt, and every
measurement is of the same tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from trainer.config import RunConfig, Warm
from trainer.errors import DataError
from trainer.models.joint import Sequences
from trainer.rollout.collect import pack
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.prompts import Prompt
from trainer.seeds import derive


class Apart(NamedTuple):
    """The prompts of a run's data."""

    training: list[Prompt]
    held_out: list[Prompt]
    """None, except in regime warm."""


def set_apart(prompts: Sequence[Prompt], config: RunConfig) -> Apart:
    """Take the held-out prompts out of the data, the same ones for a seed; two with the same text stay on one side.

    Raises:
        DataError: too few are left.
    """
    if not isinstance(config.regime, Warm):
        return Apart(list(prompts), [])
    asked, needed = config.regime.held_out, config.rollout.prompts_per_step
    texts = list({tuple(prompt.tokens): prompt for prompt in prompts})
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(derive(config.seed, "held-out prompts")))
    taken = {texts[place] for place in order[:asked].tolist()}
    parts: tuple[list[Prompt], list[Prompt]] = ([], [])
    for prompt in prompts:
        parts[tuple(prompt.tokens) in taken].append(prompt)
    training, others = parts
    if len(training) < needed:
        raise DataError(
            f"regime.held_out: {asked} of the {len(prompts)} prompts are held out, and a step takes {needed} "
            f"(rollout.prompts_per_step); {len(training)} are left for it. Lower one of the two, or give more data"
        )
    return Apart(training, others)


def respond(prompts: list[Prompt], config: RunConfig, engine: Engine, device: torch.device) -> Sequences:
    """The model's responses to them, `rollout.samples_per_prompt` each."""
    sampling = Sampling(
        samples=config.rollout.samples_per_prompt,
        max_tokens=config.rollout.max_response_tokens,
        temperature=config.rollout.temperature,
        top_p=1.0,
        seed=derive(config.seed, "held-out rollout"),
        stop=config.rollout.stop,
    )
    groups = engine.generate([prompt.tokens for prompt in prompts], sampling)
    engine.finish()
    return pack(prompts, [response for group in groups for response in group], device)[0]
