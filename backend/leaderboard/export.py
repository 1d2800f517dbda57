"""The same numbers as a table for spreadsheets, and as one to paste."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backend.leaderboard.board import Board, Row, numbers, titles
from backend.leaderboard.words import apart, p_value, points, rank, verdict
from trainer.evaluation.statistics import Estimate

MEAN = "mean"
"""In the place of a benchmark's name: the mean over all of a board that has several."""

COLUMNS = (
    *("board", "model", "data", "steps", "prompts_per_step", "samples_per_prompt", "evaluated", "temperature", "top_p"),
    *(
        "top_k",
        "stop",
        "engine",
        "max_tokens",
        "samples",
        "benchmark",
        "problems",
        "row",
        "regime",
        "algorithm",
        "variant",
        "runs",
        "seeds",
    ),
    *("avg_at_k", "low", "high", "standard_error", "difference", "difference_low", "difference_high"),
    *(
        "p",
        "adjusted_p",
        "smallest_p",
        "best_rank",
        "worst_rank",
        "pass_at_k",
        "maj_at_k",
        "step_seconds",
        "acceptance",
    ),
    "speaks_of",
)
"""Shares and differences are from 0 to 1; an empty cell: there is no such number."""


def to_csv(boards: Sequence[Board]) -> str:
    """One line per row and benchmark and, of several benchmarks, one for the row's mean, with every digit.

    What is told of a row as a whole, from p to acceptance, stands in the line of the mean; with one benchmark in that of the benchmark.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for board in boards:
        for row in board.rows:
            writer.writerows({key: _cell(value) for key, value in line.items()} for line in _lines(board, row))
    return text.getvalue()


def to_markdown(boards: Sequence[Board]) -> str:
    """A table per board, with what it may claim above it."""
    called, places = titles(boards), numbers(boards)
    return "\n".join(line for board in boards for line in [*_section(board, called[board.key], places), ""])


def _lines(board: Board, row: Row) -> Iterator[dict[str, Any]]:
    shared = {
        **{name: getattr(board, name) for name in COLUMNS[1:14]},
        "stop": json.dumps(board.stop),
        "board": board.key,
        "row": row.key,
        "regime": row.regime,
        "algorithm": row.algorithm,
        "variant": row.variant,
        "runs": " ".join(map(str, row.run_ids)),
        "seeds": " ".join(map(str, row.seeds)),
        "speaks_of": row.mean.scope,
    }
    difference = row.difference
    several = len(board.benchmarks) > 1
    for name, found in row.benchmarks.items() if several else ():
        versus = None if difference is None else difference.benchmarks[name]
        yield shared | _numbers(name, found, versus)
    best, worst = row.rank or (None, None)
    whole = MEAN if several else board.benchmarks[0]
    yield (
        shared
        | _numbers(whole, row.mean, None if difference is None else difference.mean)
        | {
            "p": None if difference is None else difference.p,
            "adjusted_p": None if difference is None else difference.adjusted_p,
            "smallest_p": None if difference is None else difference.smallest_p,
            "best_rank": best,
            "worst_rank": worst,
            "pass_at_k": None if row.pass_at_k is None else row.pass_at_k.value,
            "maj_at_k": None if row.maj_at_k is None else row.maj_at_k.value,
            "step_seconds": row.step_seconds,
            "acceptance": row.acceptance,
        }
    )


def _numbers(benchmark: str, found: Estimate, versus: Estimate | None) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "problems": found.problems,
        "avg_at_k": found.value,
        "low": found.low,
        "high": found.high,
        "standard_error": found.standard_error,
        "difference": None if versus is None else versus.value,
        "difference_low": None if versus is None else versus.low,
        "difference_high": None if versus is None else versus.high,
    }


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else value


def facts(board: Board) -> str:
    """What all rows of a board have in common, in a sentence."""
    return (
        f"{board.model}, trained on {board.data}, {board.steps} steps of {board.prompts_per_step} × {board.samples_per_prompt}; evaluated "
        f"{board.evaluated} {board.decoding}, up to {board.max_tokens} tokens. Percent; 95 % intervals."
    )


def head(board: Board) -> list[str]:
    """The columns of a board's table: two of words, the others of numbers."""
    each = board.benchmarks if len(board.benchmarks) > 1 else ()
    return [
        *("regime", "algorithm", "seeds", *each, f"avg@{board.samples}", "to detach, points", "p (Holm)", "rank"),
        *(f"pass@{board.samples}", f"maj@{board.samples}", "s / step", "acceptance"),
    ]


def cells(board: Board, row: Row) -> list[str]:
    """A row of that table; an empty cell: there is no such number."""
    difference = row.difference
    several = len(board.benchmarks) > 1
    return [
        " ".join(filter(None, [row.regime, row.variant])),
        row.algorithm,
        str(len(row.seeds)),
        *([_share(row.benchmarks[name]) for name in board.benchmarks] if several else []),
        _share(row.mean),
        "" if difference is None else _points(difference.mean),
        "" if difference is None or difference.adjusted_p is None else p_value(difference.adjusted_p),
        rank(row),
        "" if row.pass_at_k is None else f"{100 * row.pass_at_k.value:.1f}",
        "" if row.maj_at_k is None else f"{100 * row.maj_at_k.value:.1f}",
        "" if math.isnan(row.step_seconds) else f"{row.step_seconds:.3g}",
        "" if math.isnan(row.acceptance) else f"{row.acceptance:.3f}",
    ]


def _section(board: Board, title: str, places: Mapping[str, int]) -> Iterator[str]:
    yield f"### {title}"
    for sentence in [facts(board), *verdict(board), *filter(None, [board.caveat, apart(board, places)])]:
        yield ""
        yield sentence
    yield ""
    columns = head(board)
    yield _line(columns)
    yield _line(["---", "---", *["---:"] * (len(columns) - 2)])
    for row in board.rows:
        yield _line(cells(board, row))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _share(found: Estimate) -> str:
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def _points(found: Estimate) -> str:
    return f"{points(found.value)} ({points(found.low)} … {points(found.high)})"
