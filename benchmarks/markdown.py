"""Tables and numbers of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, isnan

from benchmarks.intervals import Mean, Ratio

NOTHING = "–"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> list[str]:
    """Lines of a table; the first `words` columns are words, the others numbers, which stand right."""
    lines = [head, [*["---"] * words, *["---:"] * (len(head) - words)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def percent(mean: Mean | None) -> str:
    """A share in percent, with half its interval."""
    return _with_half(mean, 100, ".1f")


def points(mean: Mean | None) -> str:
    """A difference of shares in percentage points, with half its interval."""
    return _with_half(mean, 100, "+.2f")


def p_value(p: float | None) -> str:
    """A p-value to two digits; bold where it is below 0.05."""
    return f"**{plain_p(p)}**" if p is not None and p < 0.05 else plain_p(p)


def plain_p(p: float | None) -> str:
    """The same, never bold."""
    if p is None or isnan(p):
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def number(value: float | None, digits: int = 3) -> str:
    """A number to so many digits."""
    return NOTHING if value is None or isnan(value) else f"{value:.{digits}g}"


def within(ratio: Ratio | None) -> str:
    """A ratio with its interval."""
    if ratio is None:
        return NOTHING
    if isnan(ratio.low):
        return number(ratio.value)
    ends = f"{ratio.low:.2f} to {ratio.high:.2f}" if isfinite(ratio.low) else "no bound"
    return f"{ratio.value:.2f} ({ends})"


def plain(mean: Mean | None, digits: int = 2) -> str:
    """A number that is no share, with half its interval."""
    return _with_half(mean, 1, f"+.{digits}f")


def _with_half(mean: Mean | None, scale: float, form: str) -> str:
    if mean is None:
        return NOTHING
    half = "" if isnan(mean.half) else f" ± {scale * mean.half:{form.removeprefix('+')}}"
    return f"{scale * mean.value:{form}}{half}"


def seeds(count: int) -> str:
    """So many seeds, in words."""
    return f"{count} seed{'' if count == 1 else 's'}"
