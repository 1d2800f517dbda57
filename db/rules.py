"""What a rule of an alert is: a condition on the values of a metric, or on their not coming, of some runs or of all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from trainer.errors import StoreError

LONGEST_NAME, LONGEST_METRIC, MOST_STEPS = 80, 200, 10_000
MOST_MINUTES = 7 * 24 * 60

NOT_FINITE, SILENT = "not-finite", "silent"
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "above": lambda value, threshold: value > threshold,
    "at-least": lambda value, threshold: value >= threshold,
    "below": lambda value, threshold: value < threshold,
    "at-most": lambda value, threshold: value <= threshold,
    NOT_FINITE: lambda value, threshold: not math.isfinite(value),
    SILENT: lambda value, threshold: False,
}
"""By the word for it, whether a value is so against a threshold. NaN is neither above nor below anything; silence is about values that
do not come (`db.silences`), for as many minutes as the threshold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a user wants to be told."""

    name: str
    metric: str
    """A metric's name, or a pattern: `*` stands for anything, `?` for one character."""
    comparison: str
    threshold: float | None
    """None for `not-finite`; of `silent` minutes."""
    steps: int = 1
    """Values in a row."""
    experiment: str | None = None
    """Only runs of this experiment."""
    tag: str | None = None
    """Only runs that have this tag when the value is stored."""
    id: int = 0
    """0 before it is stored."""
    active: bool = True
    """Whether it looks at anything."""
    created_at: float = 0.0

    @property
    def condition(self) -> str:
        """In words: 'policy/approx_kl above 0.1 for 3 steps'."""
        lasting = f" for {self.steps:,} steps" if self.steps > 1 else ""
        return f"{self.metric} {self.compared}{lasting}"

    @property
    def compared(self) -> str:
        """In words: 'above 0.1'."""
        if self.comparison == SILENT:
            return f"silent for {self.threshold or 0:g} minutes"
        said = self.comparison.replace("-", " ")
        return said if self.threshold is None else f"{said} {self.threshold:g}"

    @property
    def scope(self) -> str:
        """Of which runs, in words."""
        parts = [f"experiment {self.experiment}"] if self.experiment else []
        return " and ".join([*parts, *([f"tag {self.tag}"] if self.tag else [])]) or "all runs"

    def holds(self, value: float) -> bool:
        """Whether the condition holds for one value."""
        return COMPARISONS[self.comparison](value, self.threshold if self.threshold is not None else math.nan)


def check(rule: Rule) -> None:
    """Refuse what could not be looked at.

    Raises:
        StoreError: in words.
    """
    if not 0 < len(rule.name.strip()) <= LONGEST_NAME or any(mark in rule.name for mark in "/:\n\0"):
        raise StoreError(f"name: {rule.name!r} is refused; give 1 to {LONGEST_NAME} characters without / and :")
    if not 0 < len(rule.metric.strip()) <= LONGEST_METRIC or "\0" in rule.metric:
        raise StoreError(
            f"metric: {rule.metric!r} is refused; give a metric's name such as policy/entropy, or a pattern such as mtp/*"
        )
    if rule.comparison not in COMPARISONS:
        raise StoreError(f"comparison: {rule.comparison!r} is not known; give one of {', '.join(COMPARISONS)}")
    if rule.comparison == NOT_FINITE and rule.threshold is not None:
        raise StoreError(f"threshold: {NOT_FINITE} has none; leave it out")
    if rule.comparison != NOT_FINITE and (rule.threshold is None or not math.isfinite(rule.threshold)):
        given = "none is given" if rule.threshold is None else f"{rule.threshold} is refused"
        raise StoreError(f"threshold: {given}; give a number that the metric is compared with")
    if rule.comparison == SILENT and not 0 < (rule.threshold or 0) <= MOST_MINUTES:
        raise StoreError(
            f"threshold: {rule.threshold:g} minutes is refused; give more than 0 and at most {MOST_MINUTES:,}"
        )
    if rule.comparison == SILENT and rule.steps != 1:
        raise StoreError(f"steps: {rule.steps} has no meaning for {SILENT}, which counts minutes; leave it at 1")
    if not 1 <= rule.steps <= MOST_STEPS:
        raise StoreError(f"steps: {rule.steps} is refused; give 1 to {MOST_STEPS:,} steps in a row")


@lru_cache(maxsize=65_536)
def matches(pattern: str, name: str) -> bool:
    """Whether a metric's name is one that a rule's pattern means. Kept, because every step says the same names."""
    return fnmatchcase(name, pattern)
