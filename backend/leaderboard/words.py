"""What a board says at a glance: which methods are better than detach here, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.leaderboard.board import Board, Difference, Row

LEVEL = 0.05
"""What a p-value must be below to be called small."""


def verdict(board: Board) -> list[str]:
    """Sentences; none where fewer than three seeds let nothing be said of methods (the board's caveat says so)."""
    able = [
        (row, row.difference) for row in board.rows if row.difference is not None and row.difference.mean.over_seeds
    ]
    if not able:
        return []
    said = []
    for start in _GROUPS:
        names = [f"{row.name} ({_measured(found)})" for row, found in able if _group(found) == start]
        if names:
            said.append(f"{start}: {'; '.join(names)}.")
    said += _powerless([difference for _, difference in able])
    return said


def apart(board: Board, numbers: Mapping[str, int]) -> str:
    """Why it is not mixed with the nearest board before it, which is called by its number; empty for the first."""
    if board.nearest is None:
        return ""
    fields = "; ".join(f"{one.field}: {one.here} (there {one.there})" for one in board.differs)
    return f"Not mixed with board {numbers[board.nearest]}, because of {fields}."


def rank(row: Row) -> str:
    """The ranks that it may have, such as 1 or 1–3; empty where it has none."""
    if row.rank is None:
        return ""
    return str(row.rank.best) if row.rank.best == row.rank.worst else f"{row.rank.best}–{row.rank.worst}"


def points(value: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def p_value(p: float) -> str:
    """Two digits; below 0.001 only that it is."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


_BETTER, _WORSE, _OPEN = "Better than detach", "Worse than detach", "Not told apart from detach"
_BETTER_HERE, _WORSE_HERE = (f"{start} on these problems, open for others" for start in (_BETTER, _WORSE))
_GROUPS = (_BETTER, _WORSE, _BETTER_HERE, _WORSE_HERE, _OPEN)


def _group(difference: Difference) -> str:
    """The interval speaks of other problems, too; p of these alone."""
    mean, p = difference.mean, difference.adjusted_p
    if mean.low > 0 or mean.high < 0:
        return _BETTER if mean.value > 0 else _WORSE
    if p is not None and p < LEVEL:
        return _BETTER_HERE if mean.value > 0 else _WORSE_HERE
    return _OPEN


def _measured(difference: Difference) -> str:
    mean = difference.mean
    p = "" if difference.adjusted_p is None else f", p {p_value(difference.adjusted_p)}"
    return f"{points(mean.value)} points, {points(mean.low)} … {points(mean.high)}{p}"


def _powerless(differences: Sequence[Difference]) -> list[str]:
    """A sentence where so few seeds cannot give a small p, whatever they show."""
    few = [
        (difference.smallest_p, difference.mean.seeds)
        for difference in differences
        if difference.smallest_p is not None and difference.smallest_p >= LEVEL
    ]
    if not few:
        return []
    smallest, seeds = max(few)
    return [f"{seeds} seeds a side cannot give p below {p_value(smallest)}: more seeds are needed for a claim."]
