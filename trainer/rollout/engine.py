"""What every rollout engine does: prompts in, sampled responses out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Response(NamedTuple):
    """One sampled response."""

    tokens: list[int]
    """Token ids, the end-of-sequence token included where there is one."""
    log_probs: list[float]
    """Log-prob of each token under the engine's distribution: temperature applied, before top-p."""
    truncated: bool
    """Whether it reached the length limit without an end."""


@dataclass(frozen=True)
class Sampling:
    """How to sample."""

    samples: int
    """Responses per prompt."""
    max_tokens: int
    """Longest response in tokens."""
    temperature: float
    top_p: float
    seed: int
    """The same prompts, parameters and seed give the same responses."""
    first: int = 0
    """Place of the first prompt among all that are sampled with this seed: what is drawn for a prompt depends on its place alone, not on
    what is sampled beside it."""


class Engine(Protocol):
    """A sampler that holds the current policy."""

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """`samples` responses to each prompt (token ids), in the order of the prompts."""
