"""The configuration of an evaluation that is a run of its own: one model, some benchmarks, k samples per problem."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.config import rules
from trainer.config.schema import Benchmark, EvaluatedModel, Launch, Sampler, StopTexts
from trainer.config.section import Document, Finite, NonNegative, Positive, Temperature
from trainer.errors import ConfigError, Problem

PAPER_SAMPLES, PAPER_TOP_P, PAPER_MAX_TOKENS = 32, 0.7, 8192
"""How the paper evaluates (arXiv 2605.28184): avg@32 at temperature 1.0 and top-p 0.7, responses of at most 8192 tokens."""


class EvaluationConfig(Document):
    """One evaluation, complete."""

    kind: Literal["evaluation"] = "evaluation"
    """What tells this configuration from a training's."""
    name: Annotated[str, Field(pattern=rules.NAME)] = ""
    """Name of the evaluation; empty: suite and model."""
    model: EvaluatedModel
    suite: str = ""
    """By what name the benchmarks were asked for."""
    benchmarks: Annotated[tuple[Benchmark, ...], Field(min_length=1)]
    """What to evaluate on."""
    samples: Positive = PAPER_SAMPLES
    """Responses per problem: the k of avg@k."""
    temperature: Temperature = 1.0
    """Sampling temperature."""
    top_p: Annotated[Finite, Field(gt=0, le=1)] = PAPER_TOP_P
    """Nucleus sampling: the smallest set of tokens with this much probability."""
    top_k: NonNegative = 0
    """Draw from so many most likely tokens, before top-p; 0: from all."""
    stop: StopTexts = ()
    """Texts that end a response, as the end token does; the response keeps them."""
    max_response_tokens: Positive = PAPER_MAX_TOKENS
    """A response is cut here and counted as truncated."""
    seed: NonNegative = 0
    """Seed of the samples."""
    rollout: Sampler = Sampler()
    """What samples, and how."""
    sequences: Positive | None = None
    """Responses that each process samples before they are graded and kept. None: 256 with the built-in sampler, which holds all of them in
    memory at once, and 4096 with vLLM, which decides by itself how many run."""
    launch: Launch = Launch()

    @model_validator(mode="after")
    def _combinations_make_sense(self) -> EvaluationConfig:
        problems = [
            *rules.name_problems(self.name),
            *rules.sampler_problems(self.rollout),
            *rules.stop_problems("stop", self.stop, self.rollout),
            *rules.benchmark_problems("benchmarks", self.benchmarks),
        ]
        if self.launch.sharding != "none":
            message = f"{self.launch.sharding} has no effect on an evaluation, in which every process holds the whole model; leave it at none"
            problems.append(Problem("launch.sharding", message))
        if problems:
            raise ConfigError(problems)
        return self
