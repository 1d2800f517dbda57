"""Progress while somebody waits: a table that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Group
from rich.live import Live as RichLive
from rich.text import Text

from backend import show
from db.reads import RunRow
from db.statuses import ACTIVE, ENDED, Status

LINE_EVERY = 10.0
"""Seconds between two plain lines about one run, while its status stays the same."""


class Live:
    """Shows runs until the `with` block ends; `show` is given all of them again and again."""

    def __init__(self) -> None:
        self._console = show.console()
        self._table = RichLive(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._said: dict[int, tuple[Status, float]] = {}

    def __enter__(self) -> Live:
        if self._table:
            self._table.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._table:
            self._table.stop()

    def show(self, rows: list[RunRow]) -> None:
        """Show how far these runs are."""
        if self._table:
            left = seconds_left(rows)
            estimate = f"\nabout {show.duration(left)} left" if left else ""
            self._table.update(Group(show.runs_table(rows), Text(estimate, style="dim")), refresh=True)
            return
        for row in rows:
            status, said_at = self._said.get(row.id, (None, 0.0))
            if row.status != status or (row.status in ACTIVE and time.monotonic() - said_at > LINE_EVERY):
                self._said[row.id] = (row.status, time.monotonic())
                self._console.print(line(row), markup=False)


def line(row: RunRow) -> str:
    """A run in one line."""
    parts = [f"run {row.id} ({row.name}) {row.status}"]
    if row.status in ENDED and row.reason:
        parts.append(row.reason)
    elif row.step:
        parts.append(f"step {row.step}/{row.total_steps}")
        for name, value in (("reward", row.latest.get("reward/mean")), ("coefficient", row.coefficient)):
            if value is not None:
                parts.append(f"{name} {show.number(value)}")
        left = show.seconds_left(row)
        if left:
            parts.append(f"about {show.duration(left)} left")
    return ", ".join(parts)


def seconds_left(rows: Sequence[RunRow]) -> float | None:
    """Estimate for all of these runs together, as many at once as now; None before the first step of any."""
    open_rows = [row for row in rows if row.status not in ENDED]
    known = {row.id: left for row in open_rows if (left := show.seconds_left(row)) is not None}
    paces = [
        known[row.id] / (row.total_steps - row.step)
        for row in open_rows
        if row.id in known and row.step < row.total_steps
    ]
    ended = [row.seconds / row.step for row in rows if row.status in ENDED and row.step and row.seconds is not None]
    if not paces and not ended:
        return None
    pace = sum(paces or ended) / len(paces or ended)
    each = [known.get(row.id, pace * row.total_steps) for row in open_rows]
    at_once = max(1, sum(row.status in ACTIVE for row in open_rows))
    return max([sum(each) / at_once, *each]) if each else None
