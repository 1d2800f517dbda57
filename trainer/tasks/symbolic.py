"""Comparing answers as mathematics, with math-verify. Unbounded in time and memory: only `trainer.tasks.worker` runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MathScorer:
    """math-verify's verdict: 1.0 where the answer is mathematically equal to `gold`, else 0.0."""

    gold: str

    def __call__(self, answer: str) -> float:
        """Compare an extracted answer."""
        import math_verify  # takes 0.3 s and sympy's memory, which only the worker should pay

        # Its own timeouts rest on signal.alarm, which cancels other alarms; this process is bounded from outside.
        gold = math_verify.parse(f"\\boxed{{{self.gold}}}", parsing_timeout=None)
        target = math_verify.parse(f"\\boxed{{{answer}}}", parsing_timeout=None)
        return float(math_verify.verify(gold, target, timeout_seconds=None))
