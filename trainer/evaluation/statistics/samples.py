"""What more samples per problem would bring: pass@k and maj@k, with the intervals of `estimates`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import comb
from typing import NamedTuple

from trainer.evaluation.statistics.estimates import Estimate, estimate
from trainer.evaluation.statistics.scores import Outcomes, score


class Answer(NamedTuple):
    """One sample, as the grader read it."""

    text: str | None
    """The extracted answer; None where there was none."""
    correct: bool


Answers = Mapping[str, Mapping[str, Sequence[Answer]]]
"""One run's evaluation: benchmark -> problem id -> the answer of each of its samples."""


def pass_at_k(runs: Sequence[Outcomes], k: int, level: float = 0.95) -> Estimate:
    """Chance that at least one of k samples of a problem is right, without bias from the n >= k samples that were drawn:

        1 - C(n - c, k) / C(n, k)        c of n are right

    (Chen et al., "Evaluating large language models trained on code", arXiv 2107.03374, 2021). pass@1 is avg@n.

    Raises:
        ValueError: fewer than k samples of a problem, k below 1, or as for `avg_at_k`.
    """

    def chance(samples: Sequence[int]) -> float:
        n, right = len(samples), sum(samples)
        if not 1 <= k <= n:
            raise ValueError(f"pass@{k}: k is from 1 to the number of samples per problem, which is {n}")
        return 1 - comb(n - right, k) / comb(n, k)

    (scores,) = score([runs], chance, lambda samples: samples // k)
    return estimate(scores, level)


def maj_at_k(runs: Sequence[Answers], level: float = 0.95) -> Estimate:
    """How often the most frequent answer among a problem's k samples is right; k is all of them.

    The vote of self-consistency (Wang et al., "Self-consistency improves chain of thought reasoning", arXiv 2203.11171, 2023). Answers
    are the same where their texts are. Of several that are equally frequent one is drawn, and the score is what that draw gives in
    expectation. A sample without an answer has no vote; a problem without votes counts as wrong.

    Raises:
        ValueError: as for `avg_at_k`.
    """
    (scores,) = score([runs], _majority, lambda _: 1)
    return estimate(scores, level)


def _majority(samples: Sequence[Answer]) -> float:
    votes = Counter(sample.text for sample in samples if sample.text is not None)
    most = max(votes.values(), default=0)
    winners = {text for text, count in votes.items() if count == most}
    right = [sample.correct for sample in samples if sample.text in winners]
    return sum(right) / len(right) if right else 0.0
