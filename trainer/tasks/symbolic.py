"""What `trainer.tasks.quantities` does not read, such as sums and integrals, is left to math-verify.

Unbounded in time and memory: only `trainer.tasks.worker` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.tasks import comparing, quantities
from trainer.tasks.notation import normalise


@dataclass(frozen=True, slots=True)
class MathScorer:
    """1.0 where an answer is equal to `gold`, by the rules of `trainer.tasks.comparing` and with math-verify for what they leave open."""

    gold: str

    def __call__(self, answer: str) -> float:
        """Compare an extracted answer."""
        return float(bool(comparing.equal(normalise(answer), normalise(self.gold), _ask)))


def _ask(answer: str, gold: str) -> bool:
    known = quantities.same(answer, gold)
    if known is not None:
        return known
    import math_verify  # takes 0.3 s and sympy's memory, which only the worker should pay

    # Its own timeouts rest on signal.alarm, which cancels other alarms; this process is bounded from outside.
    texts = (quantities.read(gold).text, quantities.read(answer).text)
    one, other = (math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in texts)
    return math_verify.verify(one, other, timeout_seconds=None)
