"""Evaluation of the current policy on held-out problems: k samples each, graded as rewards are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from trainer.config import Evaluation, EvaluationConfig
from trainer.rollout.collect import decode
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.prompts import Prompt
from trainer.tasks import GRADER_VERSION, Grade, Grading, Item
from trainer.tasks.revision import revision

UNSAID = {"top_k": 0, "stop": [], "engine": "builtin"}
"""What the fields of an `evaluation` event were before events said them."""


class Sample(NamedTuple):
    """One response, graded."""

    completion: str
    tokens: int
    truncated: bool
    grade: Grade


class Answered(NamedTuple):
    """One problem and all that was answered to it."""

    item: Item
    samples: list[Sample]

    @property
    def outcomes(self) -> list[int]:
        """1 or 0 for each sample."""
        return [int(sample.grade.correct) for sample in self.samples]

    def summary(self) -> dict[str, Any]:
        """The item as an `evaluation` event holds it, without texts."""
        return {"id": self.item.id, "outcomes": self.outcomes}

    def details(self) -> dict[str, Any]:
        """The item as an `evaluation` event holds it, with texts."""
        samples = [
            {
                "completion": sample.completion,
                "tokens": sample.tokens,
                "truncated": sample.truncated,
                "extracted": sample.grade.extracted,
                "reason": sample.grade.reason,
            }
            for sample in self.samples
        ]
        return {**self.summary(), "problem": self.item.problem, "answer": self.item.answer, "samples": samples}


def terms(
    benchmark: str,
    prompts: Sequence[Prompt],
    settings: Evaluation | EvaluationConfig,
    max_tokens: int,
    engine: str,
) -> dict[str, Any]:
    """The fields of an `evaluation` event that all its items share: two results compare only where these are equal."""
    return {
        "benchmark": benchmark,
        "samples": settings.samples,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k,
        "stop": list(settings.stop),
        "engine": engine,
        "max_tokens": max_tokens,
        "revision": revision([prompt.item for prompt in prompts]),
        "grader": GRADER_VERSION,
    }


def average(outcomes: Sequence[Sequence[int]]) -> float:
    """avg@k: mean over problems of the share of right samples; every problem has the same number of samples."""
    return sum(map(sum, outcomes)) / sum(map(len, outcomes))


def metric(benchmark: str, samples: int) -> str:
    """Name of the metric, such as eval/addition/avg_at_4."""
    return f"eval/{benchmark}/avg_at_{samples}"


def answer(
    prompts: Sequence[Prompt],
    sampling: Sampling,
    sequences: int,
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    grader: Grading,
) -> Iterator[list[Answered]]:
    """Sample `sampling.samples` responses to every prompt and grade them, part by part in the order of the prompts.

    Args:
        prompts: side by side in their benchmark, the first at `sampling.first`: what is drawn for a prompt depends on its place alone.
        sampling: how to sample.
        sequences: responses to sample at once, at least those of one prompt.
        engine: holds the policy.
        tokenizer: turns tokens into text.
        grader: grades as rewards are graded.
    """
    size = max(1, sequences // sampling.samples)
    for start in range(0, len(prompts), size):
        part = prompts[start : start + size]
        here = Sampling(**{**vars(sampling), "first": sampling.first + start})
        groups = engine.generate([prompt.tokens for prompt in part], here)
        responses = [response for group in groups for response in group]
        completions = decode(tokenizer, responses)
        golds = [prompt.item for prompt in part for _ in range(sampling.samples)]
        grades = grader.grade_many(list(zip(completions, golds, strict=True)))
        samples = [
            Sample(completion, len(response.tokens), response.truncated, grade)
            for completion, response, grade in zip(completions, responses, grades, strict=True)
        ]
        yield [
            Answered(prompt.item, samples[place * sampling.samples : (place + 1) * sampling.samples])
            for place, prompt in enumerate(part)
        ]
