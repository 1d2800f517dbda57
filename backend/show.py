"""What the command line prints: tables for people, plain mappings for `--json`."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backend import words
from backend.contamination import Report
from backend.leaderboard import Board, Row, boards_to_json, numbers, titles
from backend.leaderboard.words import apart, p_value, rank, verdict
from backend.outcome import torn_in_words
from backend.results import Results, decoding_of
from db.queue import Device
from db.reads import RunDetail, RunRow, WorkerRow
from db.statuses import ACTIVE, Kind, Status
from trainer.config.continuing import shown
from trainer.evaluation.statistics import Estimate
from trainer.events import encode_number

_WIDTH_WITHOUT_TERMINAL = 160
_FIRST_STEPS = 20
_FIRST_PAIRS = 10
_LONGEST_PROBLEM = 140

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


def runs_table(rows: Sequence[RunRow], waits: Mapping[int, str] = {}) -> Table:
    """Runs, one per line; `waits` says why queued ones do."""
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
            escape(" ".join([row.name, *(f"#{tag}" for tag in row.tags)])),
            escape(row.experiment),
            f"[{COLOURS[row.status]}]{row.status}[/]",
            f"{row.step}/{row.total_steps}",
            *(number(row.latest.get(name)) for name in ("reward/mean", "reward/accuracy")),
            number(row.coefficient),
            number(row.latest.get("time/step_seconds"), digits=2),
            duration(time.time() - row.created_at),
            escape(waits.get(row.id, note(row))),
        )
    return table


def workers_table(rows: Sequence[WorkerRow], taken: AbstractSet[Device]) -> Table:
    """Workers, one per line."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("worker", "host", "devices", "free", "state"):
        table.add_column(name, no_wrap=name != "devices")
    for row in rows:
        values = worker_json(row, taken)
        state = "[yellow]drained[/]" if row.draining else "[green]takes runs[/]"
        table.add_row(
            *map(escape, (row.name, row.host, ", ".join(row.devices), f"{len(values['free'])} of {len(row.devices)}")),
            state,
        )
    return table


def worker_json(row: WorkerRow, taken: AbstractSet[Device]) -> dict[str, Any]:
    """A worker as JSON can hold it, with those of its devices that are free."""
    free = [name for name in row.devices if Device(row.host, name) not in taken]
    return {**plain(asdict(row)), "free": free}


def note(row: RunRow) -> str:
    """Why it ended or waits, or what it is doing."""
    return row.stage if row.status in ACTIVE and row.stage else row.reason


def run_lines(run: RunDetail, waits: str | None = None) -> Table:
    """One run in detail; `waits` says why a queued one does."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    said = waits or note(run)
    left = seconds_left(run)
    torn = sum(attempt.torn_lines for attempt in run.attempts)
    facts = {
        "run": f"{run.id} ({run.name})",
        "experiment": escape(run.experiment),
        "status": f"[{COLOURS[run.status]}]{run.status}[/]" + (f": {escape(said)}" if said else ""),
        **({"evaluates": escape(evaluated_in_words(run))} if run.kind == Kind.EVALUATION else {}),
        "problems" if run.kind == Kind.EVALUATION else "step": f"{run.step} of {run.total_steps}"
        + (f", about {duration(left)} left" if left else ""),
        "regime": ", ".join(filter(None, [run.regime, run.algorithm, f"seed {run.seed}"])),
        "preset": escape(run.preset or "-"),
        **({"cloned from": escape(origin_in_words(run))} if run.cloned_from is not None else {}),
        **attempts_in_words(run),
        "devices": ", ".join(run.devices) or "-",
        "folder": escape(run.folder),
        **({"tags": escape(", ".join(run.tags))} if run.tags else {}),
        **({"note": escape(run.note)} if run.note else {}),
        **({"archived": "yes; `mtprl archive --undo` takes it back"} if run.archived_at is not None else {}),
        **({"events": torn_in_words(torn)} if torn else {}),
        **{name: number(value) for name, value in sorted(run.latest.items())},
        **(
            {"coefficient": f"{number(run.coefficient)}, mean of the last steps"} if run.coefficient is not None else {}
        ),
    }
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def evaluated_in_words(run: RunDetail) -> str:
    """What an evaluation is about."""
    if run.evaluates is None:
        return str(run.config["model"]["path"])
    return f"run {run.evaluates}, after step {run.evaluates_step}"


def results_table(results: Results) -> Table:
    """What a run's last evaluation came to, a benchmark per line; percentages, intervals over the problems."""
    title = f"partial: {results.partial} are answered" if results.partial else None
    table = Table(
        box=None, header_style="bold", pad_edge=False, title=title, title_justify="left", title_style="yellow"
    )
    table.add_column("benchmark")
    for name in ("problems", "k", "avg@k", "95 % interval", "pass@k", "maj@k"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results.by_benchmark:
        table.add_row(
            escape(result.evaluation.benchmark),
            str(result.average.problems),
            str(result.evaluation.samples),
            _percent(result.average.value),
            _interval(result.average),
            "-" if result.passed is None else _percent(result.passed.value),
            "-" if result.majority is None else _percent(result.majority.value),
        )
    said = {decoding_of(one.evaluation) for one in results.by_benchmark}
    table.caption, table.caption_justify = escape(f"sampled {'; '.join(sorted(said))}") if said else None, "left"
    if results.mean is not None:
        table.add_row(
            "mean", str(results.mean.problems), "", _percent(results.mean.value), _interval(results.mean), "", ""
        )
    return table


def results_json(results: Results) -> dict[str, Any]:
    """What a run's last evaluation came to, as JSON can hold it; shares from 0 to 1."""
    return {
        "benchmarks": [
            {
                **{name: getattr(result.evaluation, name) for name in _TERMS},
                "avg_at_k": plain(asdict(result.average)),
                "pass_at_k": None if result.passed is None else plain(asdict(result.passed)),
                "maj_at_k": None if result.majority is None else plain(asdict(result.majority)),
            }
            for result in results.by_benchmark
        ],
        "mean": None if results.mean is None else plain(asdict(results.mean)),
        "partial": results.partial or None,
    }


_TERMS = (
    "benchmark",
    "samples",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "engine",
    "max_tokens",
    "revision",
    "grader",
    "trained_steps",
)


def origin_in_words(run: RunDetail) -> str:
    """The run that it was made from, and in which settings it differs."""
    changes = [f"{field}: {shown(old)} → {shown(new)}" for field, old, new in run.difference or ()]
    return f"run {run.cloned_from}, {'; '.join(changes) or 'with nothing changed'}"


def attempts_in_words(run: RunDetail) -> dict[str, str]:
    """The attempts of a run that has several: why each was made, where, and how it ended."""
    if len(run.attempts) < 2:
        return {"attempt": str(run.attempt)}
    lines = {}
    for row in run.attempts:
        where = f"on {row.host}" + (f" ({', '.join(row.devices)})" if row.devices else "")
        end = f"{row.outcome}{f': {row.message}' if row.message else ''}" if row.outcome else "not ended"
        lines[f"attempt {row.number}"] = escape("; ".join(filter(None, (row.cause, where, end))))
    return lines


def print_boards(console: Console, boards: Sequence[Board]) -> None:
    """The leaderboard: each board with what it may claim and cannot, and in what it differs from the nearest one before it."""
    called, places = titles(boards), numbers(boards)
    for board in boards:
        console.print(*_board_tables(board, called[board.key]))
        said = [*verdict(board), *filter(None, [board.caveat, apart(board, places)])]
        console.print("\n".join(said), style="yellow", markup=False)
        console.print()


def _board_tables(board: Board, title: str) -> list[Table]:
    """One board; where it has several benchmarks, with a second table of each of them."""
    title = (
        f"{title}: evaluated {board.evaluated} {board.decoding}, up to {board.max_tokens} tokens · "
        f"{board.steps} steps of {board.prompts_per_step} x {board.samples_per_prompt} · {', '.join(board.experiments)}"
    )
    measures = ("n", "seeds", f"avg@{board.samples}", "95 % interval", "to detach", "95 % interval", "p", "rank")
    headings = (*measures, f"pass@{board.samples}", f"maj@{board.samples}", "s/step", "acceptance")
    tables = [_of_rows(board, headings, {row.key: _board_row(row) for row in board.rows}, title)]
    if len(board.benchmarks) > 1:
        each = {row.key: [_percent(found.value) for found in row.benchmarks.values()] for row in board.rows}
        tables.append(_of_rows(board, [f"{name} ({count})" for name, count in board.problems.items()], each))
    return tables


def _of_rows(board: Board, headings: Sequence[str], cells: Mapping[str, Sequence[str]], title: str = "") -> Table:
    table = Table(title=escape(title) or None, title_justify="left", box=None, header_style="bold", pad_edge=False)
    table.add_column("regime", no_wrap=True)
    table.add_column("algorithm")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in board.rows:
        table.add_row(row.regime, escape(f"{row.algorithm} {row.variant}".strip()), *cells[row.key])
    return table


def _board_row(row: Row) -> list[str]:
    difference = row.difference
    return [
        str(row.mean.problems),
        str(row.mean.seeds),
        _percent(row.mean.value),
        _interval(row.mean),
        _percent(difference.mean.value, sign=True) if difference else "-",
        _interval(difference.mean, sign=True) if difference else "-",
        p_value(difference.adjusted_p) if difference and difference.adjusted_p is not None else "-",
        rank(row) or "-",
        _percent(row.pass_at_k.value) if row.pass_at_k else "-",
        _percent(row.maj_at_k.value) if row.maj_at_k else "-",
        number(row.step_seconds, digits=2),
        number(row.acceptance),
    ]


def run_json(run: RunRow) -> dict[str, Any]:
    """A run as JSON can hold it."""
    return plain(asdict(run))


def boards_json(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Boards as JSON can hold them, with what they cannot say."""
    values = json.loads(boards_to_json(boards))
    return [{**value, "caveat": board.caveat} for value, board in zip(values, boards, strict=True)]


def plain(value: Any) -> Any:
    """The same value with numbers that are not finite as strings, as events hold them."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return encode_number(value) if isinstance(value, float) else value


def seconds_left(run: RunRow) -> float | None:
    """Estimate for a run that trains; None before its first step, and where it does not train.

    At first from the last step alone, because the time so far is mostly that of loading; later from the pace of this attempt, which
    counts evaluations and checkpoints too.
    """
    done = run.step - (run.resumed_from or 0)
    if run.status not in ACTIVE or run.attempt_started_at is None or done <= 0:
        return None
    pace = (time.time() - run.attempt_started_at) / done
    if done < _FIRST_STEPS:
        pace = run.latest.get("time/step_seconds", pace)
    return pace * (run.total_steps - run.step)


def number(value: float | None, digits: int = 3) -> str:
    """A metric's value, or - where there is none; small ones with significant digits, as pages have them."""
    if value is None or math.isnan(value):
        return "-"
    if 0 < abs(value) < 0.1:
        return words.number(value, digits).replace("−", "-")
    return f"{value:.{digits}f}"


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


def contamination_table(report: Report) -> Table:
    """By benchmark, how many of its problems are in the training data."""
    table = Table(
        title=f"{report.problems} training problems of {escape(report.training)}",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    table.add_column("benchmark", no_wrap=True)
    for name in ("problems", "word for word", "nearly"):
        table.add_column(name, justify="right")
    for overlap in report.overlaps:
        table.add_row(overlap.benchmark, str(overlap.problems), str(overlap.exact), str(overlap.near))
    return table


def contamination_pairs(report: Report) -> str:
    """The problems that were found, the surest first, each below the other; the rest is counted."""
    found = [(overlap.benchmark, match) for overlap in report.overlaps for match in overlap.matches]
    found.sort(key=lambda pair: -pair[1].score)
    lines = []
    for benchmark, match in found[:_FIRST_PAIRS]:
        how = "word for word" if match.exact else f"nearly, {match.score:.2f}"
        place = f", {match.training.place}" if match.training.place else ""
        lines += ["", f"{benchmark} {match.problem.id}: training problem {match.training.id}{place} ({how})"]
        lines += [f"    {_one_line(item.problem)}" for item in (match.problem, match.training)]
    if len(found) > _FIRST_PAIRS:
        lines += ["", f"and {len(found) - _FIRST_PAIRS} more; --json names them all"]
    return escape("\n".join(lines))


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:_LONGEST_PROBLEM]}…"
