"""Leaderboard: methods on held-out problems, with intervals, and with what they cannot say."""

from __future__ import annotations

import math
import textwrap
from pathlib import PurePath

import streamlit as st

from backend.leaderboard import Board, Row, leaderboard
from dashboard import charts, markup, navigation, palette, store, words
from db import reads
from trainer.evaluation.statistics import Estimate

_ALL = "All experiments"
_TICK = 10.0


def main() -> None:
    """Draw the page."""
    st.title("Leaderboard")
    with store.reading() as connection:
        experiments = [experiment.name for experiment in reads.experiments(connection)]
    experiment = _ALL
    if len(experiments) > 1:
        left, _ = st.columns([1, 3])
        experiment = left.selectbox("Experiment", [_ALL, *experiments], key="experiment", bind="query-params")
    _boards(None if experiment == _ALL else experiment)


@st.fragment(run_every=_TICK)
def _boards(experiment: str | None) -> None:
    with store.reading() as connection:
        boards = leaderboard(connection, experiment)
    if not boards:
        with st.container(border=True):
            st.markdown(
                "**Nothing has been evaluated yet.** A finished run stands here if its configuration has a benchmark under `evaluation.benchmarks`; those of the demo do."
            )
            st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        return
    for number, board in enumerate(boards):
        _draw(board, number)
    st.caption(
        "Each board holds the finished runs that share base model, data, budget, rewards, benchmark and decoding; a run counts with its last evaluation. "
        "Intervals are 95 %; differences are paired by problem and to detach trained in the same way."
    )


def _draw(board: Board, number: int) -> None:
    metric = f"avg@{board.samples}"
    st.subheader(f"{board.benchmark} · {metric}", anchor=False)
    problems = board.rows[0].score.problems
    facts = [
        f"model {PurePath(board.model).name}",
        f"trained on {'/'.join(PurePath(board.data).parts[-2:])}",
        words.plural(problems, "held-out problem"),
        f"{words.plural(board.steps, 'step')} of {board.prompts_per_step} prompts × {board.samples_per_prompt} responses",
        f"evaluated at temperature {board.temperature:g}, top-p {board.top_p:g}",
        "experiment " + ", ".join(board.experiments),
    ]
    st.caption(" · ".join(facts))
    if board.caveat:
        st.warning(board.caveat, icon=":material/balance:")
    columns = (
        markup.Column("Regime"),
        markup.Column("Algorithm"),
        markup.Column("Problems", number=True, wide=True),
        markup.Column("Seeds", number=True),
        markup.Column(metric, number=True),
        markup.Column("95 % interval", number=True),
        markup.Column("Difference to detach, points", number=True),
        markup.Column("s / step", number=True, wide=True),
        markup.Column("Acceptance", number=True, wide=True),
        markup.Column("Speaks of", wide=True),
        markup.Column("Runs"),
    )
    st.html(markup.table(columns, [_cells(row) for row in board.rows], label=f"{board.benchmark}, {metric}"))
    left, right = st.columns(2, gap="small")
    scores = [_interval(row, row.score) for row in board.rows]
    differences = [_interval(row, row.difference) for row in board.rows if row.difference is not None]
    with left.container(border=True, height="stretch"):
        st.plotly_chart(
            charts.intervals(f"{metric} with 95 % interval", scores),
            key=f"scores:{number}",
            config={"displaylogo": False},
            alt=f"{metric} of each method with its interval",
        )
    if differences:
        with right.container(border=True, height="stretch"):
            figure = charts.intervals("Difference to detach", differences, difference=True)
            st.plotly_chart(
                figure,
                key=f"differences:{number}",
                config={"displaylogo": False},
                alt="Difference of each method to detach with its interval",
            )
    ids = ",".join(str(run_id) for row in board.rows for run_id in row.run_ids)
    st.page_link(
        navigation.compare(),
        label="Compare these runs step by step",
        query_params={"runs": ids},
        icon=":material/stacked_line_chart:",
    )


def _cells(row: Row) -> list[str]:
    return [
        markup.regime(row.regime) + (f'<div class="m-sub">{markup.text(row.variant)}</div>' if row.variant else ""),
        markup.text(row.algorithm),
        f"{row.score.problems:,}",
        markup.text(str(len(row.seeds)), sub=", ".join(map(str, sorted(row.seeds)))),
        f"<b>{words.percent(row.score.value)}</b>",
        _bounds(row.score),
        "–"
        if row.difference is None
        else markup.text(
            words.points(row.difference.value),
            sub=f"{words.points(row.difference.low)} … {words.points(row.difference.high)}",
        ),
        "–" if math.isnan(row.step_seconds) else words.number(row.step_seconds),
        "–" if math.isnan(row.acceptance) else words.percent(row.acceptance),
        f'<span class="m-sub">{markup.text(row.score.scope)}</span>',
        " ".join(markup.link(str(run_id), f"run?run={run_id}") for run_id in row.run_ids),
    ]


def _bounds(estimate: Estimate) -> str:
    return f"{words.percent(estimate.low)} … {words.percent(estimate.high)}"


def _interval(row: Row, estimate: Estimate) -> charts.Row:
    name = f"{row.regime} · {row.algorithm}"
    variant = "<br>".join(textwrap.wrap(row.variant, 30)[:3])
    label = f'{name}<br><span style="font-size:10px">{variant}</span>' if variant else name
    return charts.Row(label, estimate.value, estimate.low, estimate.high, palette.regime_colour(row.regime))


main()
