"""A board as figures. Pure: a board in, Plotly figures out."""

from __future__ import annotations

import textwrap
from html import escape

import plotly.graph_objects as go

from backend import charts, palette
from backend.leaderboard.board import Board, Row
from trainer.evaluation.statistics import Estimate


def score_chart(board: Board) -> go.Figure:
    """avg@k of each row with its interval."""
    mean = "mean over benchmarks, " if len(board.benchmarks) > 1 else ""
    return charts.intervals(
        f"avg@{board.samples}, {mean}with 95 % interval", [_interval(row, row.mean) for row in board.rows]
    )


def difference_chart(board: Board) -> go.Figure | None:
    """Difference of each row to detach with its interval; None where there is none."""
    rows = [_interval(row, row.difference.mean) for row in board.rows if row.difference is not None]
    return charts.intervals("Difference to detach with 95 % interval", rows, difference=True) if rows else None


def _interval(row: Row, estimate: Estimate) -> charts.Row:
    name = f"{row.regime} · {row.algorithm}"
    variant = "<br>".join(escape(line) for line in textwrap.wrap(row.variant, 30)[:3])
    label = f'{name}<br><span style="font-size:10px">{variant}</span>' if variant else name
    return charts.Row(label, estimate.value, estimate.low, estimate.high, palette.regime_colour(row.regime))
