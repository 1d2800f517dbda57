"""Samples of the current policy on training prompts that the present step does not use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from trainer.config import RunConfig
from trainer.errors import DataError
from trainer.rollout.collect import Experience, experience_of, verify
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.prompts import Prompt
from trainer.seeds import derive
from trainer.tasks import Grading


def check_enough(prompts: Sequence[Prompt], config: RunConfig) -> None:
    """Whether the training data leave enough prompts unused at every step.

    Raises:
        DataError: they do not.
    """
    left = len(prompts) - config.rollout.prompts_per_step
    if config.audit.every and left < config.audit.prompts:
        raise DataError(
            f"audit.prompts: {config.audit.prompts} prompts that a step does not train on are asked for, but the training data "
            f"have {len(prompts)} and a step takes {config.rollout.prompts_per_step}; lower one of the two, or give more data"
        )


def sample_held_out(
    prompts: Sequence[Prompt],
    used: Sequence[Prompt],
    config: RunConfig,
    step: int,
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    grader: Grading,
    device: torch.device,
) -> Experience:
    """Groups of responses to `audit.prompts` other prompts than those used, drawn for this step from a stream of their own."""
    taken = {prompt.item.id for prompt in used}
    others = [prompt for prompt in prompts if prompt.item.id not in taken]
    generator = torch.Generator().manual_seed(derive(config.seed, "audit prompts", step))
    drawn = [
        others[index] for index in torch.randperm(len(others), generator=generator)[: config.audit.prompts].tolist()
    ]
    sampling = Sampling(
        samples=config.rollout.samples_per_prompt,
        max_tokens=config.rollout.max_response_tokens,
        temperature=config.rollout.temperature,
        top_p=1.0,
        seed=derive(config.seed, "audit rollout", step),
        stop=config.rollout.stop,
    )
    groups = engine.generate([prompt.tokens for prompt in drawn], sampling)
    responses = [response for group in groups for response in group]
    return experience_of(verify(drawn, responses, tokenizer, grader, config), device)
