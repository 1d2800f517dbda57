"""Evaluation of the current policy on held-out problems: k samples each, graded as rewards are."""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from trainer.config import Evaluation
from trainer.rollout.collect import decode
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.prompts import Prompt
from trainer.tasks import Grading


class BenchmarkResult(NamedTuple):
    """Outcomes on one benchmark."""

    benchmark: str
    samples: int
    outcomes: dict[str, list[int]]
    """Per problem, 1 or 0 for each sample."""

    @property
    def metric(self) -> str:
        """Name of the metric, such as eval/addition/avg_at_4."""
        return f"eval/{self.benchmark}/avg_at_{self.samples}"

    @property
    def average(self) -> float:
        """avg@k: mean over problems of the share of right samples."""
        return sum(map(sum, self.outcomes.values())) / (len(self.outcomes) * self.samples)

    def event(self, settings: Evaluation) -> dict[str, Any]:
        """The fields of the `evaluation` event."""
        return {
            "benchmark": self.benchmark,
            "samples": self.samples,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "items": [{"id": item, "outcomes": outcomes} for item, outcomes in self.outcomes.items()],
        }


def evaluate(
    name: str,
    prompts: list[Prompt],
    settings: Evaluation,
    max_tokens: int,
    engine: Engine,
    tokenizer: PreTrainedTokenizerBase,
    grader: Grading,
    seed: int,
) -> BenchmarkResult:
    """Sample `settings.samples` responses to every prompt and grade them."""
    sampling = Sampling(settings.samples, max_tokens, settings.temperature, settings.top_p, seed)
    groups = engine.generate([prompt.tokens for prompt in prompts], sampling)
    completions = decode(tokenizer, [response for responses in groups for response in responses])
    golds = [prompt.item for prompt in prompts for _ in range(settings.samples)]
    right = [int(grade.correct) for grade in grader.grade_many(list(zip(completions, golds, strict=True)))]
    starts = range(0, len(right), settings.samples)
    outcomes = {
        prompt.item.id: right[start : start + settings.samples] for prompt, start in zip(prompts, starts, strict=True)
    }
    return BenchmarkResult(name, settings.samples, outcomes)
