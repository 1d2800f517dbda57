"""A board of the leaderboard as a table and as sentences. Pure: boards in, markup out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import PurePath
from urllib.parse import urlencode

from backend import words
from backend.leaderboard import Board, FieldDifference, Row
from backend.leaderboard.paper import REGIMES, REPORTED
from backend.leaderboard.words import p_value, rank
from dashboard import markup

_AGREE = (
    "Share of places where the MTP heads have the policy's own most likely token, measured on the batch that trains, mean of the last ten steps. "
    "Not what a sampler took of drafts: that is rollout/draft_acceptance_1, on the run's page."
)

Address = Callable[[Row, str], str | None]
"""From a row and a benchmark to the page that shows what changed; None where there is none."""


def changes_address(
    board: Board,
    row: str,
    against: str,
    benchmark: str,
    experiment: str | None,
    archived: bool,
    problem: str | None = None,
) -> str:
    """The page of what changed between two rows, by their keys, on the board of an experiment or of all, with archived runs or without."""
    asked = {"within": experiment, "board": board.key, "row": row, "against": against, "benchmark": benchmark}
    more = {"archived_too": "true" if archived else None, "problem": problem}
    return f"changes?{urlencode({name: value for name, value in (asked | more).items() if value})}"


def facts(board: Board) -> str:
    """What all rows have in common, in one line."""
    counts = [f"{count:,} {name}" for name, count in board.problems.items()]
    return " · ".join(
        [
            f"model {PurePath(board.model).name}",
            f"trained on {'/'.join(PurePath(board.data).parts[-2:])}",
            f"{words.plural(board.steps, 'step')} of {board.prompts_per_step} prompts × {board.samples_per_prompt} responses",
            f"evaluated {board.evaluated} {board.decoding}, up to {board.max_tokens:,} tokens",
            f"{words.plural(sum(board.problems.values()), 'held-out problem')} ({', '.join(counts)})",
            f"grader {board.protocol['evaluation.grader']}",
            "experiment " + ", ".join(board.experiments),
        ]
    )


def table(board: Board, address: Address) -> str:
    """The rows; a difference, and a link in words below, leads to the problems behind it where `address` gives a page."""
    columns = _columns(board)
    rows = [_cells(board, row, address) for row in board.rows]
    return (
        markup.table(columns, rows, label=board.title, scrolls=True)
        + markup.left_out(columns)
        + _changes_links(board, address)
    )


def _changes_links(board: Board, address: Address) -> str:
    links = []
    for row in board.rows:
        where, baseline = address(row, board.benchmarks[0]), board.row(row.difference.to) if row.difference else None
        if where is not None and baseline is not None:
            links.append(f"<div>{markup.link(f'What changed: {row.name} against {baseline.name}', where)}</div>")
    return f'<div class="m-plain m-below">{"".join(links)}</div>' if links else ""


def differences_table(fields: Sequence[FieldDifference], here: str, there: str) -> str:
    """Settings side by side."""
    columns = (markup.Column("Setting"), markup.Column(here), markup.Column(there))
    cells = [[markup.text(one.field), markup.text(one.here), markup.text(one.there)] for one in fields]
    return markup.table(columns, cells, label="Settings that differ")


def reported_table() -> str:
    """The paper's rows, avg@32 in percent."""
    columns = (
        markup.Column("Setting, as reported"),
        markup.Column("Benchmarks"),
        *(markup.Column(regime, number=True) for regime in REGIMES),
    )
    cells = [
        [
            markup.text(one.setting),
            markup.text(one.benchmarks),
            *("–" if value is None else f"{value:.1f}" for value in one.percent),
        ]
        for one in REPORTED
    ]
    return markup.table(columns, cells, label="Reported by the paper, not measured here")


def _columns(board: Board) -> tuple[markup.Column, ...]:
    each = board.benchmarks if len(board.benchmarks) > 1 else ()
    return (
        markup.Column("Regime"),
        markup.Column("Rank", number=True),
        markup.Column("Seeds", number=True),
        *(markup.Column(name, number=True, wide=True) for name in each),
        markup.Column(f"{'Mean ' if each else ''}avg@{board.samples}", number=True),
        markup.Column("To detach, points", number=True),
        markup.Column("p (Holm)", number=True),
        markup.Column(f"pass@{board.samples}", number=True, wide=True),
        markup.Column(f"maj@{board.samples}", number=True, wide=True),
        markup.Column("s / step", number=True, wide=True),
        markup.Column("Heads agree", number=True, wide=True, help=_AGREE),
        markup.Column("Runs", wide=True),
    )


def _cells(board: Board, row: Row, address: Address) -> list[str]:
    several = len(board.benchmarks) > 1
    return [
        markup.regime(row.regime) + f'<div class="m-sub">{markup.text(f"{row.algorithm} {row.variant}".strip())}</div>',
        rank(row) or '<span class="m-sub">none</span>',
        markup.text(str(len(row.seeds)), sub=words.listed_briefly(sorted(row.seeds))),
        *([_of_benchmark(row, name, address) for name in board.benchmarks] if several else []),
        f'<b>{words.percent(row.mean.value)}</b><div class="m-sub">{words.percents(row.mean.low, row.mean.high)}</div>',
        _to_detach(row, address(row, board.benchmarks[0])),
        _p(row),
        "–" if row.pass_at_k is None else words.percent(row.pass_at_k.value),
        "–" if row.maj_at_k is None else words.percent(row.maj_at_k.value),
        "–" if math.isnan(row.step_seconds) else words.number(row.step_seconds),
        "–" if math.isnan(row.acceptance) else words.percent(row.acceptance),
        " ".join(markup.link(str(run_id), f"run?run={run_id}") for run_id in row.run_ids),
    ]


def _of_benchmark(row: Row, name: str, address: Address) -> str:
    shown = markup.text(words.percent(row.benchmarks[name].value))
    if row.difference is None:
        return shown
    points, where = words.points(row.difference.benchmarks[name].value), address(row, name)
    return shown + (f"<div>{markup.link(points, where)}</div>" if where else f'<div class="m-sub">{points}</div>')


def _to_detach(row: Row, where: str | None) -> str:
    if row.difference is None:
        return "–"
    found = row.difference.mean
    value = markup.link(words.points(found.value), where) if where else words.points(found.value)
    return f'{value}<div class="m-sub">{words.points(found.low)} … {words.points(found.high)}</div>'


def _p(row: Row) -> str:
    if row.difference is None:
        return "–"
    if row.difference.adjusted_p is None or row.difference.smallest_p is None:
        return '<span class="m-sub">too few seeds</span>'
    smallest = f"smallest possible {p_value(row.difference.smallest_p)}"
    return markup.text(p_value(row.difference.adjusted_p), sub=smallest)
