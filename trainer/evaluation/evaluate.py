"""Evaluation of the current policy on held-out problems: k samples each, graded as rewards are."""

from __future__ import annotations

from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from trainer.config import Evaluation
from trainer.rollout.collect import decode
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.prompts import Prompt
from trainer.tasks import Grader


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
    grader: Grader,
    seed: int,
) -> BenchmarkResult:
    """Sample `settings.samples` responses to every prompt and grade them."""
    sampling = Sampling(settings.samples, max_tokens, settings.temperature, settings.top_p, seed)
    outcomes = {}
    groups = engine.generate([prompt.tokens for prompt in prompts], sampling)
    for prompt, responses in zip(prompts, groups, strict=True):
        completions = decode(tokenizer, responses)
        grades = grader.grade_many([(completion, prompt.item) for completion in completions])
        outcomes[prompt.item.id] = [int(grade.correct) for grade in grades]
    return BenchmarkResult(name, settings.samples, outcomes)
