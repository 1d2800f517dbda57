"""What every rollout engine does: prompts in, sampled responses out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple, Protocol


class Response(NamedTuple):
    """One sampled response."""

    tokens: list[int]
    """Token ids, the end-of-sequence token included where there is one; with a stop string, up to the token that completes it."""
    log_probs: list[float]
    """Log-prob of each token under the whole distribution of the engine's model: temperature applied, before top-p and top-k."""
    truncated: bool
    """Whether it reached the length limit without an end."""


@dataclass(frozen=True)
class Sampling:
    """How to sample.

    Where top_p or top_k leave tokens out, a response's log-probs are not those that it was drawn with. So training samples with neither
    (its log-probs, and the ratios made of them, belong to the whole distribution); they are for evaluation.
    """

    samples: int
    """Responses per prompt."""
    max_tokens: int
    """Longest response in tokens."""
    temperature: float
    top_p: float
    """Draw from the smallest set of most likely tokens with this much of the probability; 1: from all."""
    seed: int
    """The same prompts, parameters and seed give the same responses."""
    first: int = 0
    """Place of the first prompt among all that are sampled with this seed: what is drawn for a prompt depends on its place alone, not on
    what is sampled beside it."""
    first_sample: int = 0
    """Place of the first response among all to its prompt, likewise."""
    top_k: int = 0
    """Draw from so many most likely tokens, before top_p; 0: from all."""
    acceptance: tuple[float, ...] = ()
    """Share of each MTP depth's drafts that is expected to be accepted where those before are; empty: not known. Decides whether to draft at
    all."""
    stop: tuple[str, ...] = ()
    """Texts that end a response, as the end token does. The response keeps them, and what else its last token holds."""


class Drafted(NamedTuple):
    """What came of the tokens that the MTP heads drafted in a stretch of sampling; all 0 where none were drafted."""

    drafts: int = 0
    """Drafts that the main head verified."""
    accepted: tuple[int, ...] = ()
    """Of these drafts, those whose first token was accepted, whose first two were, and so on."""

    def metrics(self) -> dict[str, float]:
        """Acceptance by place in the draft, and tokens per pass of the main head; none where nothing was drafted."""
        if not self.drafts:
            return {}
        by_place = {f"rollout/draft_acceptance_{place}": n / self.drafts for place, n in enumerate(self.accepted, 1)}
        return {**by_place, "rollout/tokens_per_draft": 1 + sum(self.accepted) / self.drafts}


def drafted_in_all(parts: Iterable[Drafted]) -> Drafted:
    """What several engines drafted, as one."""
    parts = [part for part in parts if part.drafts]
    accepted = zip_longest(*(part.accepted for part in parts), fillvalue=0)
    return Drafted(sum(part.drafts for part in parts), tuple(map(sum, accepted)))


class Engine(Protocol):
    """A sampler that holds the current policy."""

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """`samples` responses to each prompt (token ids), in the order of the prompts."""

    def finish(self) -> Drafted:
        """End a stretch of sampling: let go of what only sampling needs, and take the policy anew before it samples next.

        To be called before the policy changes.

        Returns:
            What was drafted since the last call.
        """
