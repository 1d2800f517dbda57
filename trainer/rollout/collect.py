"""One step's experience: sample groups of responses, verify them, turn rewards into group advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.config import Reward, RunConfig
from trainer.models.joint import Sequences
from trainer.objectives import group_advantages, overlong_penalty
from trainer.rollout.engine import Engine, Response, Sampling
from trainer.rollout.prompts import Prompt
from trainer.seeds import derive
from trainer.tasks import Grade, Grading


@dataclass(frozen=True)
class Group:
    """The responses to one prompt, verified."""

    prompt: Prompt
    responses: list[Response]
    completions: list[str]
    """The responses as text."""
    grades: list[Grade]
    rewards: Tensor
    """[samples]"""

    @property
    def has_variance(self) -> bool:
        """Whether its rewards differ; where they are equal, every advantage is 0 and nothing is learned from them."""
        return bool((self.rewards != self.rewards[0]).any())


@dataclass(frozen=True)
class Experience:
    """B = prompts x samples sequences, the samples of a prompt side by side."""

    prompts: list[Prompt]
    """One per prompt."""
    responses: list[Response]
    """[B]"""
    completions: list[str]
    """[B] the responses as text."""
    grades: list[Grade]
    """[B]"""
    sequences: Sequences
    rewards: Tensor
    """[B]"""
    advantages: Tensor
    """[B]"""
    engine_log_probs: Tensor
    """[B, T] as the engine reported them; 0 outside the mask."""
    sampled: Sequence[Group] = ()
    """Everything that was sampled in the step: with dynamic sampling also the groups that do not train."""
    rounds: int = 1
    """Rounds of sampling that were made."""

    @property
    def samples(self) -> int:
        """Responses per prompt."""
        return len(self.responses) // len(self.prompts)

    @property
    def sampled_tokens(self) -> int:
        """Tokens of all sampled responses."""
        return sum(len(response.tokens) for group in self.sampled for response in group.responses)

    def metrics(self) -> dict[str, float]:
        """Step-level metrics of rewards and lengths, over everything that was sampled."""
        responses = [response for group in self.sampled for response in group.responses]
        correct = [grade.correct for group in self.sampled for grade in group.grades]
        without_variance = [not group.has_variance for group in self.sampled]
        return {
            "reward/mean": torch.cat([group.rewards for group in self.sampled]).mean().item(),
            "reward/accuracy": sum(correct) / len(correct),
            "reward/zero_variance_fraction": sum(without_variance) / len(without_variance),
            "rollout/tokens": float(self.sampled_tokens),
            "rollout/length_mean": self.sampled_tokens / len(responses),
            "rollout/length_max": float(max(len(response.tokens) for response in responses)),
            "rollout/truncated_fraction": sum(response.truncated for response in responses) / len(responses),
        }

    def logged(self, prompts: int) -> list[dict[str, Any]]:
        """The completions of the first prompts, as the `completions` event holds them."""
        return [
            {
                "prompt_id": self.prompts[row // self.samples].item.id,
                "sample": row % self.samples,
                "problem": self.prompts[row // self.samples].item.problem,
                "answer": self.prompts[row // self.samples].item.answer,
                "completion": self.completions[row],
                "reward": self.rewards[row].item(),
                "advantage": self.advantages[row].item(),
                "correct": self.grades[row].correct,
                "extracted": self.grades[row].extracted,
                "reason": self.grades[row].reason,
                "tokens": len(self.responses[row].tokens),
                "truncated": self.responses[row].truncated,
            }
            for row in range(min(prompts, len(self.prompts)) * self.samples)
        ]


def sample_responses(
    engine: Engine,
    prompts: Sequence[Prompt],
    config: RunConfig,
    step: int,
    further_round: int = 0,
    acceptance: tuple[float, ...] = (),
) -> list[Response]:
    """Responses for a step, the samples of a prompt side by side; further rounds of sampling count from 1. `acceptance` as in `Sampling`."""
    sampling = Sampling(
        samples=config.rollout.samples_per_prompt,
        max_tokens=config.rollout.max_response_tokens,
        temperature=config.rollout.temperature,
        top_p=1.0,  # training samples from the policy itself, which its log-probs belong to
        seed=derive(config.seed, "rollout", step, *([further_round] if further_round else [])),
        stop=config.rollout.stop,
        acceptance=acceptance,
    )
    groups = engine.generate([prompt.tokens for prompt in prompts], sampling)
    return [response for group in groups for response in group]


def verify(
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    tokenizer: PreTrainedTokenizerBase,
    grader: Grading,
    config: RunConfig,
) -> list[Group]:
    """Grade the responses and put those to one prompt together."""
    samples = len(responses) // len(prompts)
    completions = decode(tokenizer, responses)
    golds = [prompt.item for prompt in prompts for _ in range(samples)]
    grades = grader.grade_many(list(zip(completions, golds, strict=True)))
    rewards = reward(grades, responses, config.reward, config.rollout.max_response_tokens)
    parts = [slice(start, start + samples) for start in range(0, len(responses), samples)]
    return [
        Group(prompt, list(responses[part]), completions[part], grades[part], rewards[part])
        for prompt, part in zip(prompts, parts, strict=True)
    ]


def experience_of(
    groups: Sequence[Group], device: torch.device, *, sampled: Sequence[Group] | None = None, rounds: int = 1
) -> Experience:
    """The batch that the update phase trains on.

    Args:
        groups: what is trained on; equally many responses each.
        device: where the sequences go.
        sampled: everything that was sampled, where that is more.
        rounds: rounds of sampling that were made.
    """
    prompts = [group.prompt for group in groups]
    responses = [response for group in groups for response in group.responses]
    rewards = torch.cat([group.rewards for group in groups])
    sequences, engine_log_probs = pack(prompts, responses, device)
    return Experience(
        prompts=prompts,
        responses=responses,
        completions=[completion for group in groups for completion in group.completions],
        grades=[grade for group in groups for grade in group.grades],
        sequences=sequences,
        rewards=rewards,
        advantages=group_advantages(rewards, torch.arange(len(groups)).repeat_interleave(len(groups[0].responses))),
        engine_log_probs=engine_log_probs,
        sampled=groups if sampled is None else sampled,
        rounds=rounds,
    )


def decode(tokenizer: PreTrainedTokenizerBase, responses: Sequence[Response]) -> list[str]:
    """Responses as text, without special tokens."""
    return tokenizer.batch_decode([response.tokens for response in responses], skip_special_tokens=True)


def reward(grades: Sequence[Grade], responses: Sequence[Response], settings: Reward, max_tokens: int) -> Tensor:
    """[B] reward of each response: right or wrong, plus the soft overlong punishment where it is on."""
    rewards = torch.tensor([settings.correct if grade.correct else settings.incorrect for grade in grades])
    if settings.overlong_buffer:
        lengths = torch.tensor([len(response.tokens) for response in responses])
        rewards = rewards + overlong_penalty(lengths, max_tokens, settings.overlong_buffer, settings.overlong_factor)
    return rewards


def pack(prompts: list[Prompt], responses: list[Response], device: torch.device) -> tuple[Sequences, Tensor]:
    """Prompt, response and padding in rows, and the engine's log-probs [B, T]."""
    samples = len(responses) // len(prompts)
    whole = [prompts[row // samples].tokens + response.tokens for row, response in enumerate(responses)]
    width, longest = max(map(len, whole)), max(len(response.tokens) for response in responses)
    tokens = torch.zeros(len(whole), width, dtype=torch.long)
    mask = torch.zeros(len(whole), longest, dtype=torch.bool)
    log_probs = torch.zeros(len(whole), longest)
    for row, (sequence, response) in enumerate(zip(whole, responses, strict=True)):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
        mask[row, : len(response.tokens)] = True
        log_probs[row, : len(response.tokens)] = torch.tensor(response.log_probs)
    lengths = torch.tensor([len(prompt.tokens) for prompt in prompts]).repeat_interleave(samples)
    return Sequences(tokens.to(device), lengths.to(device), mask.to(device)), log_probs.to(device)
