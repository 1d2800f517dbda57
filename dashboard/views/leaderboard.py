"""Leaderboard: which regime is better here, and how sure is that? Boards of now and, at `/leaderboard?snapshot=TOKEN`, of one time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

import streamlit as st

from backend import report, words
from backend.leaderboard import Board, Row, boards_to_json, export, figures, left_out, numbers, paper, snapshots, titles
from backend.leaderboard.words import verdict
from backend.store import reading, writing
from dashboard import board_markup, markup, navigation, store
from dashboard.live_boards import live_boards
from db import reads
from db.snapshots import LONGEST_TITLE, Snapshot
from trainer.errors import StoreError

_ALL = "All experiments"
_TICK = 10.0
_NO_BAR = {"displaylogo": False}


def main() -> None:
    """Draw the page that the address asks for."""
    st.title("Leaderboard", anchor=False)
    if "snapshot" in st.query_params:
        _snapshot(st.query_params["snapshot"])
    else:
        _now()


def _now() -> None:
    with store.reading() as connection:
        experiments = [experiment.name for experiment in reads.experiments(connection)]
    experiment = _ALL
    left, *tools = st.columns([3, 2, 2, 2, 2], vertical_alignment="bottom")
    if len(experiments) > 1:
        experiment = left.selectbox("Experiment", [_ALL, *experiments], key="experiment", bind="query-params")
    chosen = None if experiment == _ALL else experiment
    archived = _archived(chosen)
    boards = live_boards(chosen, archived)
    with tools[0]:
        _report(chosen or (experiments[0] if len(experiments) == 1 else None), archived)
    with tools[1]:
        _export(boards, "leaderboard")
    with tools[2]:
        kept = _freeze(boards, chosen)
    with tools[3]:
        _list_snapshots()
    if kept is not None:
        with st.container(border=True):
            opens = markup.link(kept.title, f"leaderboard?snapshot={kept.token}")
            st.html(f'<div class="m-plain">Frozen: {opens}</div>')
            st.code(f"leaderboard?snapshot={kept.token}", language=None)
    _follow(chosen, archived)
    _reported(boards)


def _archived(experiment: str | None) -> bool:
    """Whether archived runs count; where there are none, nothing is asked."""
    with store.reading() as connection:
        put_away = left_out(connection, experiment)
    if not put_away:
        return False
    said, switch = st.columns([5, 2], vertical_alignment="center")
    counted = switch.toggle("Count archived runs", key="count_archived", bind="query-params")
    said.caption(
        f"{words.plural(put_away, 'archived run')} {'counts' if put_away == 1 else 'count'} here."
        if counted
        else f"{words.archived_left_out(put_away)}."
    )
    return counted


@st.fragment(run_every=_TICK)
def _follow(experiment: str | None, archived: bool) -> None:
    boards = live_boards(experiment, archived)
    if not boards:
        with st.container(border=True):
            st.markdown(
                "**Nothing has been evaluated yet.** A finished run stands here if its configuration has a benchmark under `evaluation.benchmarks`; those of the demo do."
            )
            st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        return
    _draw_all(boards, experiment, live=True, archived=archived)
    st.caption(
        "Each board holds the finished runs that share base model, data, budget, rewards, benchmarks and decoding; a run counts with its evaluation after its last step. "
        "Intervals are 95 %; differences are paired by problem and to detach trained in the same way; p deals the trainings out anew and is corrected for all "
        "comparisons of its board; ranks hold together with 95 %."
    )


def _draw_all(boards: Sequence[Board], experiment: str | None, *, live: bool, archived: bool = False) -> None:
    called, places = titles(boards), numbers(boards)
    for board in boards:
        drawn = partial(_changes, board, experiment=experiment, archived=archived) if live else None
        _draw(board, called[board.key], places, drawn)


def _draw(
    board: Board, title: str, places: Mapping[str, int], changes: Callable[[Row, str], str | None] | None
) -> None:
    """One board; `changes` gives the address of what stands behind a row's difference, where that can still be looked at."""
    number = places[board.key]
    st.header(words.literal(title), anchor=False)
    said = [sentence.partition(": ") for sentence in verdict(board)]
    st.markdown("  \n".join(f"**{words.literal(start)}:** {words.literal(rest)}" for start, _, rest in said))
    if board.caveat:
        st.warning(board.caveat, icon=":material/balance:")
    st.caption(words.literal(board_markup.facts(board)))
    if board.nearest is not None:
        near = f"board {places[board.nearest]}"
        with st.expander(f"Why it is not mixed with {near}"):
            st.html(board_markup.differences_table(board.differs, "Here", f"There, {near}"))
    st.html(board_markup.table(board, changes or (lambda row, name: None)))
    left, right = st.columns(2, gap="small")
    with left.container(border=True, height="stretch"):
        alt = f"{board.title} of each method with its interval"
        st.plotly_chart(figures.score_chart(board), key=f"scores:{number}", config=_NO_BAR, alt=alt)
    differences = figures.difference_chart(board)
    if differences is not None:
        with right.container(border=True, height="stretch"):
            alt = "Difference of each method to detach with its interval"
            st.plotly_chart(differences, key=f"differences:{number}", config=_NO_BAR, alt=alt)
    if changes is not None:
        st.page_link(
            navigation.compare(),
            label="Compare these runs step by step",
            query_params={"runs": ",".join(str(run_id) for row in board.rows for run_id in row.run_ids)},
            icon=":material/stacked_line_chart:",
        )


def _changes(board: Board, row: Row, benchmark: str, *, experiment: str | None, archived: bool) -> str | None:
    if row.difference is None:
        return None
    return board_markup.changes_address(board, row.key, row.difference.to, benchmark, experiment, archived)


def _report(experiment: str | None, archived: bool) -> None:
    """Downloads that are made when they are asked for: a report reads all runs of its experiment."""
    with st.popover("Report", icon=":material/description:", width="stretch"):
        if experiment is None:
            st.caption("A report is on one experiment: choose it on the left.")
            return
        st.caption(
            "Answer, protocol, curves, every run, configurations, and the commands to repeat it, as of now. Making it can take some seconds."
        )
        for format, title in (("html", "HTML, one file"), ("markdown", "Markdown")):
            st.download_button(
                title,
                partial(_reported_now, experiment, format, archived),
                report.file_name(experiment, format),
                key=f"report:{format}",
                on_click="ignore",
            )


def _reported_now(experiment: str, format: str, archived: bool) -> str:
    with reading() as connection:
        return report.written(report.make(connection, experiment, now=time.time(), archived=archived), format)


def _export(boards: Sequence[Board], name: str) -> None:
    with st.popover("Export", icon=":material/download:", disabled=not boards, width="stretch"):
        for title, suffix, text in (
            ("CSV", "csv", export.to_csv(boards)),
            ("Markdown", "md", export.to_markdown(boards)),
            ("JSON", "json", boards_to_json(boards, indent=2)),
        ):
            st.download_button(title, text, f"{name}.{suffix}", key=f"export:{suffix}", on_click="ignore")


def _freeze(boards: Sequence[Board], experiment: str | None) -> Snapshot | None:
    """The snapshot that was just made."""
    with (
        st.popover("Freeze", icon=":material/ac_unit:", disabled=not boards, width="stretch"),
        st.form("freeze", border=False),
    ):
        st.caption("Keeps these boards as they are now, at an address that no later run changes.")
        title = st.text_input("Title", max_chars=LONGEST_TITLE, key="freeze:title")
        if not st.form_submit_button("Freeze a snapshot", type="primary"):
            return None
        try:
            with writing() as connection:
                return snapshots.freeze(connection, title, boards, experiment)
        except StoreError as error:
            st.error(str(error), icon=":material/error:")
            return None


def _list_snapshots() -> None:
    with store.reading() as connection:
        rows = snapshots.listed(connection)
    with st.popover("Snapshots", icon=":material/inventory_2:", disabled=not rows, width="stretch"):
        lines = [
            [markup.link(row.title, f"leaderboard?snapshot={row.token}"), markup.text(_date(row.created_at))]
            for row in rows
        ]
        st.html(markup.table((markup.Column("Title"), markup.Column("Frozen")), lines, label="Snapshots"))


def _snapshot(token: str) -> None:
    # Not a link of Streamlit's own, which would keep the page's address, and come back to it, because it is the same page.
    st.html(f'<div class="m-plain">{markup.link("← Leaderboard of now", "leaderboard")}</div>')
    with store.reading() as connection:
        frozen = snapshots.thaw(connection, token)
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    left.header(words.literal(frozen.snapshot.title), anchor=False)
    with right:
        _export(frozen.boards, f"leaderboard-{token}")
    scope = f"experiment {frozen.experiment}" if frozen.experiment else "all experiments"
    st.info(
        f"Frozen on {_date(frozen.snapshot.created_at)}, {words.literal(scope)}. No later run changes this page.",
        icon=":material/ac_unit:",
    )
    if snapshots.moved_on(frozen, live_boards(frozen.experiment)):
        st.caption(
            "The leaderboard of now says something else: runs or evaluations have finished, been archived or gone since."
        )
    _draw_all(frozen.boards, frozen.experiment, live=False)


def _reported(boards: Sequence[Board]) -> None:
    st.divider()
    st.header("Reported by the paper, not measured here", anchor=False)
    st.caption(
        f"avg@32 in percent, [{paper.CITATION}]({paper.ADDRESS}): MiMo-7B-RL and GLM-4.5-Air on DAPO-Math-17k, 200 steps of 128 × 16, responses up to 8,192 tokens, "
        "temperature 1.0 and top-p 0.7. Seconds per step there: "
        + ", ".join(f"{regime} {seconds:.2f}" for regime, seconds in paper.SECONDS_PER_STEP.items())
        + " (oracle: full-model gradients)."
    )
    st.html(board_markup.reported_table())
    if boards:
        apart = paper.apart(boards[0])
        with st.expander(f"Why these cannot be compared with {'board 1' if len(boards) > 1 else 'the board'} above"):
            st.html(board_markup.differences_table(apart, "Here", "In the paper"))


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


main()
