"""What the command line prints: tables for people, plain mappings for `--json`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backend.leaderboard import Board, Row
from backend.outcome import torn_in_words
from db.reads import RunDetail, RunRow
from db.statuses import ACTIVE, ENDED, Status
from trainer.evaluation.statistics import Estimate
from trainer.events import encode_number

_WIDTH_WITHOUT_TERMINAL = 160
_FIRST_STEPS = 20

COLOURS = {
    Status.QUEUED: "dim",
    Status.STARTING: "cyan",
    Status.RUNNING: "cyan",
    Status.STOPPING: "yellow",
    Status.FINISHED: "green",
    Status.FAILED: "red",
    Status.STOPPED: "yellow",
}


def console(*, stderr: bool = False) -> Console:
    """A console that does not squeeze tables where there is no terminal."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else _WIDTH_WITHOUT_TERMINAL, highlight=False)


def runs_table(rows: Sequence[RunRow]) -> Table:
    """Runs, one per line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name, justify in (
        ("run", "right"),
        ("name", "left"),
        ("experiment", "left"),
        ("status", "left"),
        ("step", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=name != "name")  # type: ignore[arg-type]
    for name in ("reward", "accuracy", "coefficient", "s/step", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("note")
    for row in rows:
        table.add_row(
            str(row.id),
            row.name,
            escape(row.experiment),
            f"[{COLOURS[row.status]}]{row.status}[/]",
            f"{row.step}/{row.total_steps}",
            *(number(row.latest.get(name)) for name in ("reward/mean", "reward/accuracy")),
            number(row.coefficient),
            number(row.latest.get("time/step_seconds"), digits=2),
            duration(time.time() - row.created_at),
            escape(note(row)),
        )
    return table


def note(row: RunRow) -> str:
    """Why it ended or waits, or what it is doing."""
    return row.stage if row.status in ACTIVE and row.stage else row.reason


def run_lines(run: RunDetail) -> Table:
    """One run in detail."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    left = seconds_left(run)
    torn = sum(attempt.torn_lines for attempt in run.attempts)
    facts = {
        "run": f"{run.id} ({run.name})",
        "experiment": escape(run.experiment),
        "status": f"[{COLOURS[run.status]}]{run.status}[/]" + (f": {escape(note(run))}" if note(run) else ""),
        "step": f"{run.step} of {run.total_steps}" + (f", about {duration(left)} left" if left else ""),
        "regime": f"{run.regime}, {run.algorithm}, seed {run.seed}",
        "preset": escape(run.preset or "-"),
        "attempt": str(run.attempt),
        "device": run.device or "-",
        "folder": escape(run.folder),
        **({"events": torn_in_words(torn)} if torn else {}),
        **{name: number(value) for name, value in sorted(run.latest.items())},
        **(
            {"coefficient": f"{number(run.coefficient)}, mean of the last steps"} if run.coefficient is not None else {}
        ),
    }
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def board_table(board: Board) -> Table:
    """One board of the leaderboard."""
    title = (
        f"{board.benchmark}: avg@{board.samples}, temperature {board.temperature:g}, top-p {board.top_p:g} · {board.steps} steps of "
        f"{board.prompts_per_step} x {board.samples_per_prompt} · {', '.join(board.experiments)}"
    )
    table = Table(title=escape(title), title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("regime")
    table.add_column("algorithm")
    headings = (
        "n",
        "seeds",
        f"avg@{board.samples}",
        "95 % interval",
        "to detach",
        "95 % interval",
        "s/step",
        "acceptance",
    )
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(*_board_row(row))
    return table


def _board_row(row: Row) -> list[str]:
    difference = row.difference
    return [
        row.regime,
        escape(f"{row.algorithm} {row.variant}".strip()),
        str(row.score.problems),
        str(row.score.seeds),
        _percent(row.score.value),
        _interval(row.score),
        _percent(difference.value, sign=True) if difference else "-",
        _interval(difference, sign=True) if difference else "-",
        number(row.step_seconds, digits=2),
        number(row.acceptance),
    ]


def run_json(run: RunRow) -> dict[str, Any]:
    """A run as JSON can hold it."""
    return plain(asdict(run))


def board_json(board: Board) -> dict[str, Any]:
    """A board as JSON can hold it."""
    return {**plain(asdict(board)), "caveat": board.caveat}


def plain(value: Any) -> Any:
    """The same value with numbers that are not finite as strings, as events hold them."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return encode_number(value) if isinstance(value, float) else value


def seconds_left(run: RunRow) -> float | None:
    """Estimate for a run that trains; None before its first step, and where it does not train.

    At first from the last step alone, because the time so far is mostly that of loading; later from the pace so far, which
    counts evaluations and checkpoints too.
    """
    if run.status in ENDED or run.started_at is None or not run.step:
        return None
    pace = (time.time() - run.started_at) / run.step
    if run.step < _FIRST_STEPS:
        pace = run.latest.get("time/step_seconds", pace)
    return pace * (run.total_steps - run.step)


def number(value: float | None, digits: int = 3) -> str:
    """A metric's value, or - where there is none."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Such as 45 s, 12 min or 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} d"


def _percent(share: float, *, sign: bool = False) -> str:
    return f"{100 * share:+.1f}" if sign else f"{100 * share:.1f}"


def _interval(estimate: Estimate, *, sign: bool = False) -> str:
    return f"{_percent(estimate.low, sign=sign)} .. {_percent(estimate.high, sign=sign)}"
