"""One line of what can be said of runs before they are queued."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Level = Literal["good", "note", "bad"]


class Check(NamedTuple):
    """Good, worth knowing (note), or a reason not to start (bad)."""

    name: str
    level: Level
    words: str


def is_bad(found: Sequence[Check]) -> bool:
    """Whether one of them is a reason not to start."""
    return any(check.level == "bad" for check in found)
