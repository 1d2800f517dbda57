"""Phrases of what is seen, chosen by the numbers, so that they change when the numbers do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.comparisons import adjusted
from benchmarks.intervals import Mean
from benchmarks.markdown import plain_p, points

LEVEL = 0.05
"""Of p-values."""


class Sides(NamedTuple):
    """Names of differences, by what is seen of them."""

    above: list[str]
    """0, with p < LEVEL, adjusted for all of them."""
    below: list[str]
    """Likewise."""
    alone: list[str]
    """Those with p < LEVEL only as long as it is not adjusted."""
    unseen: list[str]
    compared: int
    """How many comparisons the p-values are adjusted for."""


def sides(means: Mapping[str, Mean | None]) -> Sides:
    """Which of the differences are seen."""
    known = {name: mean for name, mean in means.items() if mean is not None}
    p = adjusted(known)
    seen = [name for name in known if p.get(name, 1.0) < LEVEL]
    above, below = ([name for name in seen if (known[name].value > 0) is is_above] for is_above in (True, False))
    rest = [name for name in known if name not in seen]
    alone = [name for name in rest if name in p and known[name].p < LEVEL]
    return Sides(above, below, alone, [name for name in rest if name not in alone], len(p))


def undecided(seen: Sides, means: Mapping[str, Mean | None]) -> str:
    """What is said of those that are neither above nor below."""
    alone = f"Only taken alone, not after adjusting: {named(seen.alone, means)}. " if seen.alone else ""
    return f"{alone}No difference could be seen: {named(seen.unseen, means)}."


def named(names: Sequence[str], means: Mapping[str, Mean | None]) -> str:
    """Names with their differences in points."""
    return ", ".join(f"{name} ({points(means[name])})" for name in names) or "none"


def said(mean: Mean | None, p: float | None, count: int) -> str:
    """One difference in points, and whether it is one.

    Args:
        mean: the difference.
        p: its p-value, adjusted for `count` comparisons.
        count: how many comparisons belong together.
    """
    if mean is None:
        return "not measured"
    if p is None or mean.p >= LEVEL:
        return f"{points(mean)} points, no difference could be seen"
    side = "above 0" if mean.value > 0 else "below 0"
    if p < LEVEL:
        return f"{points(mean)} points, {side} (p {plain_p(p)} adjusted for {count} comparisons)"
    return f"{points(mean)} points, {side} taken alone (p {plain_p(mean.p)}), but not among {count} comparisons (p {plain_p(p)})"
