"""One fixed colour per regime, the same in every chart, list and theme.

Each colour has a contrast of at least 3:1 against the light and the dark background, and every two of them stay apart under
deuteranopia, protanopia and tritanopia (tests/backend/test_palette.py). Lines are told apart by their dash, too.
"""

from __future__ import annotations

from collections.abc import Iterable

REGIMES = {
    "off": "#6E6C76",
    "detach": "#3A66F2",
    "ce": "#B98A12",
    "policy": "#D95CC4",
    "occ": "#08A463",
    "oracle": "#A64921",
    "warm": "#9438B5",
}
OTHER_REGIME = "#8A6A55"

STATUSES = {
    "queued": "#8A8794",
    "starting": "#3A8FD9",
    "running": "#08A463",
    "stopping": "#C77A1B",
    "finished": "#3A66F2",
    "failed": "#D6453D",
    "stopped": "#8A8794",
    "lost": "#D6453D",
}

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

# Lines of one chart that are no regimes: losses, parts of a step's time.
SERIES = ("#3A66F2", "#B98A12", "#08A463", "#D95CC4", "#6E6C76", "#A8522F", "#2AA5B8")


def regime_colour(regime: str) -> str:
    """The regime's colour; one neutral brown for a regime that has none yet."""
    return REGIMES.get(regime, OTHER_REGIME)


def status_colour(status: str) -> str:
    """The colour of a status dot."""
    return STATUSES.get(status, STATUSES["queued"])


def dashes(regimes: Iterable[str]) -> list[str]:
    """A dash per line: one of its own for each while there are so many; else solid for the first of a regime, then another for each that
    repeats it. So no two lines differ by their colour alone unless there are very many."""
    regimes = list(regimes)
    if len(regimes) <= len(DASHES):
        return list(DASHES[: len(regimes)])
    seen: dict[str, int] = {}
    result = []
    for regime in regimes:
        result.append(DASHES[seen.get(regime, 0) % len(DASHES)])
        seen[regime] = seen.get(regime, 0) + 1
    return result
