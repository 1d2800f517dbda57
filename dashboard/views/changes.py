"""What stands behind a difference: `/changes?within=EXPERIMENT&board=...&row=...&against=...&benchmark=...&archived_too=true&problem=...`."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from backend import palette, words
from backend.leaderboard import Board, Row, behind
from backend.leaderboard.behind import Change, Share
from dashboard import markup, navigation, store
from dashboard.board_markup import changes_address
from dashboard.live_boards import live_boards
from db.reads import SampleRow

_MOST = 100
_AT_ONCE = 15
"""Problems that are listed before the others are unfolded."""
_SAMPLES_AT_ONCE = 3
"""Answers of a side that stand there before the others are unfolded."""
_NOT_KEPT = "The texts of this evaluation were not kept; only what was right is known. `mtprl evaluate` keeps them."


def main() -> None:
    """Draw the problems on which two rows differ, and one of them with all that was answered."""
    st.title("What changed", anchor=False)
    st.page_link(navigation.leaderboard(), label="Leaderboard", icon=":material/arrow_back:")
    if "board" not in st.query_params:
        st.info("No difference is chosen. Choose one on the leaderboard: each leads here.", icon=":material/info:")
        return
    boards = live_boards(st.query_params.get("within"), _with_archived())
    board = next((board for board in boards if board.key == st.query_params.get("board")), None)
    if board is None or len(board.rows) < 2:
        st.warning(
            "This board is not there any more, or has one row only: later runs or evaluations took its place. The leaderboard has those of now.",
            icon=":material/search_off:",
        )
        return
    st.header(board.title, anchor=False)
    here, there, benchmark = _choices(board)
    if here.key == there.key:
        st.info("Choose two different rows.", icon=":material/compare_arrows:")
        return
    with store.reading() as connection:
        changes = behind.changes(connection, here, there, benchmark)
    asked = st.query_params.get("problem")
    chosen = next((change for change in changes if change.item_id == asked), None)
    _summary(here, there, benchmark, changes)
    if chosen is not None:
        _problem(here, there, benchmark, chosen)
    _list(board, here, there, benchmark, changes)


def _with_archived() -> bool:
    return st.query_params.get("archived_too") == "true"


def _choices(board: Board) -> tuple[Row, Row, str]:
    """Two rows and a benchmark, from the address, which follows what is chosen."""
    keys = [row.key for row in board.rows]
    names = {row.key: row.name for row in board.rows}
    first = st.query_params.get("row", keys[0])
    asked = {
        "row": first,
        "against": st.query_params.get("against") or next(key for key in keys if key != first),
        "benchmark": st.query_params.get("benchmark", board.benchmarks[0]),
    }
    options = {"row": keys, "against": keys, "benchmark": list(board.benchmarks)}
    titles = {"row": "Row", "against": "Against", "benchmark": "Benchmark"}
    found = {}
    for column, name in zip(st.columns(3), options, strict=True):
        place = options[name].index(asked[name]) if asked[name] in options[name] else 0
        found[name] = column.selectbox(
            titles[name], options[name], index=place, format_func=lambda key: names.get(key, key)
        )
        if found[name] != st.query_params.get(name):
            st.query_params[name] = found[name]
    rows = {row.key: row for row in board.rows}
    return rows[found["row"]], rows[found["against"]], found["benchmark"]


def _summary(here: Row, there: Row, benchmark: str, changes: Sequence[Change]) -> None:
    better, worse = sum(change.by > 0 for change in changes), sum(change.by < 0 for change in changes)
    st.markdown(
        f"On **{better:,}** of {words.plural(len(changes), 'problem')} {words.literal(here.name)} was right more often, on **{worse:,}** "
        f"{words.literal(there.name)}, on {len(changes) - better - worse:,} both were equally often.{_difference(here, there, benchmark)}"
    )


def _list(board: Board, here: Row, there: Row, benchmark: str, changes: Sequence[Change]) -> None:
    columns = (
        markup.Column("Problem"),
        markup.Column(f"Right, {here.name}"),
        markup.Column(f"Right, {there.name}"),
        markup.Column("Change, points", number=True),
    )
    experiment = st.query_params.get("within")
    rows = [
        [
            markup.link(
                change.item_id,
                changes_address(board, here.key, there.key, benchmark, experiment, _with_archived(), change.item_id),
            ),
            _share(change.here, here.regime),
            _share(change.there, there.regime),
            words.points(change.by),
        ]
        for change in changes[:_MOST]
    ]
    st.html(markup.table(columns, rows[:_AT_ONCE], label="Problems by how much they changed"))
    if len(rows) > _AT_ONCE:
        with st.expander(f"{len(rows) - _AT_ONCE:,} that changed less"):
            st.html(markup.table(columns, rows[_AT_ONCE:], label="Problems that changed less"))
    if len(changes) > _MOST:
        st.caption(f"The {_MOST} problems that changed most, of {len(changes):,}.")


def _difference(here: Row, there: Row, benchmark: str) -> str:
    """A sentence with the difference and its interval, where the board has it."""
    if here.difference is None or here.difference.to != there.key:
        return ""
    found = here.difference.benchmarks[benchmark]
    bounds = f"{words.points(found.low)} … {words.points(found.high)}"
    return f" In all **{words.literal(words.points(found.value))} points**, {words.literal(bounds)} with 95 % for {found.scope}."


def _share(share: Share, regime: str) -> str:
    return markup.fraction(share.right, share.of, palette.regime_colour(regime))


def _problem(here: Row, there: Row, benchmark: str, change: Change) -> None:
    with st.container(border=True):
        st.markdown(f"**Problem {words.literal(change.item_id)}** of {words.literal(benchmark)}")
        place = st.container()
        told = False
        with store.reading() as connection:
            first = behind.most_apart(connection, here, there, benchmark, change)
        if max(len(here.runs), len(there.runs)) > 1:
            st.caption("Opened on the trainings that show this problem's change most clearly; wrong answers first.")
        sides = zip(st.columns(2), (here, there), (change.here, change.there), first, strict=True)
        for column, row, share, opened in sides:
            with column:
                st.html(
                    markup.regime(row.regime) + markup.text("", sub=f"{share.right} of {share.of} right · {row.name}")
                )
                runs = sorted(row.runs, key=lambda run: run.seed)
                run = st.selectbox(
                    "Training",
                    runs,
                    index=runs.index(opened),
                    format_func=lambda run: f"seed {run.seed}, run {run.run_id}",
                    key=f"training:{row.key}:{benchmark}:{change.item_id}",
                    disabled=len(runs) == 1,
                )
                with store.reading() as connection:
                    item = behind.answers(connection, run, benchmark, change.item_id)
                if item is None:
                    st.info(_NOT_KEPT, icon=":material/visibility_off:")
                    continue
                if not told:
                    told = True
                    place.html(f'<div class="m-box">{markup.verbatim(item.problem)}</div>')
                    place.html(f'<div class="m-sub">Right answer</div><b>{markup.text(item.answer)}</b>')
                _samples(sorted(item.samples, key=lambda sample: sample.correct))


def _samples(samples: Sequence[SampleRow]) -> None:
    """The first answers, the others folded, so that both sides can be seen together."""
    for sample in samples[:_SAMPLES_AT_ONCE]:
        st.html(_sample(sample))
    others = samples[_SAMPLES_AT_ONCE:]
    if others:
        right = sum(sample.correct for sample in others)
        with st.expander(f"{words.plural(len(others), 'more answer')}, {right:,} of them right"):
            st.html("".join(_sample(sample) for sample in others))


def _sample(sample: SampleRow) -> str:
    cut = ", cut at the longest response" if sample.truncated else ""
    why = f"{sample.reason} · {words.plural(sample.tokens, 'token')}{cut}"
    return f'<div class="m-box m-answer">{markup.grade(sample.correct, why)}{markup.verbatim(sample.completion)}</div>'


main()
