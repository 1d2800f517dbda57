"""Runs: what is running, how far it is and how it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import streamlit as st

from backend.runs import workers_alive
from dashboard import liveness, markup, navigation, palette, store, words
from db import reads
from db.reads import AlarmRow, RunRow
from db.statuses import Status

_ALL = "All experiments"
_LIMIT = 200
_TICK = 2.0
_COMPARED = 12
_COLUMNS = (
    markup.Column("Run"),
    markup.Column("Status"),
    markup.Column("Regime"),
    markup.Column("Step"),
    markup.Column("Reward", number=True),
    markup.Column("Accuracy", number=True, wide=True),
    markup.Column("Coefficient", number=True),
    markup.Column("s / step", number=True, wide=True),
    markup.Column("Duration", number=True, wide=True),
    markup.Column("Created", number=True),
)


def main() -> None:
    """Draw the page."""
    st.title("Runs")
    with store.reading() as connection:
        experiments = [experiment.name for experiment in reads.experiments(connection)]
        total = sum(reads.status_counts(connection).values())
    if not total:
        _queue_state()
        _empty()
        return
    left, right = st.columns([1, 3], vertical_alignment="bottom")
    experiment = left.selectbox("Experiment", [_ALL, *experiments], key="experiment", bind="query-params")
    status = right.pills("Status", [str(status) for status in Status], key="status", bind="query-params")
    _table(None if experiment == _ALL else experiment, Status(status) if status else None)


@st.fragment(run_every=_TICK)
def _queue_state() -> None:
    with store.reading() as connection:
        counts, alive = reads.status_counts(connection), workers_alive(connection)
    if any(counts.values()):
        st.rerun()
    _queue_line(counts, alive)


@st.fragment(run_every=_TICK)
def _table(experiment: str | None, status: Status | None) -> None:
    now = time.time()
    with store.reading() as connection:
        rows = reads.list_runs(connection, experiment=experiment, status=status, limit=_LIMIT)
        alarms = reads.alarms_on(connection, [row.id for row in rows])
        counts, alive = reads.status_counts(connection), workers_alive(connection)
    _queue_line(counts, alive)
    if not rows:
        st.info("No run matches these filters.", icon=":material/filter_alt_off:")
        return
    st.html(markup.table(_COLUMNS, [_cells(row, alarms.get(row.id, ()), now) for row in rows], label="Runs"))
    if len(rows) > 1:
        compared = ",".join(str(row.id) for row in rows[:_COMPARED])
        st.page_link(
            navigation.compare(),
            label=f"Compare the newest {min(len(rows), _COMPARED)} of these",
            query_params={"runs": compared},
            icon=":material/stacked_line_chart:",
        )
    if len(rows) == _LIMIT:
        st.caption(f"The newest {_LIMIT} runs are shown; choose an experiment or a status to see others.")


def _queue_line(counts: Mapping[Status, int], alive: int) -> None:
    line, attention = liveness.queue_line(counts, alive)
    if attention:
        st.warning(line, icon=":material/power_off:")
    else:
        st.caption(line)


def _cells(row: RunRow, alarms: Sequence[AlarmRow], now: float) -> list[str]:
    shown = liveness.shown_status(row.status, row.heartbeat_at, now)
    live = shown in (Status.RUNNING, Status.STARTING, Status.STOPPING)
    detail = " · ".join([row.experiment, row.preset or row.algorithm, f"seed {row.seed}"])
    started_until = (row.ended_at or now) - row.started_at if row.started_at else None
    return [
        markup.link(f"{row.id} · {row.name}", f"run?run={row.id}", sub=detail),
        markup.status(shown, note=liveness.note(row.status, row.reason, row.stage, row.heartbeat_at, now), live=live)
        + markup.alarms([words.alarm(alarm.name) for alarm in alarms if alarm.severity == "warning"]),
        markup.regime(row.regime),
        markup.progress(row.step, row.total_steps, palette.regime_colour(row.regime)),
        words.number(row.latest.get("reward/mean")),
        words.percent(row.latest.get("reward/accuracy")),
        words.number(row.coefficient),
        words.number(row.latest.get("time/step_seconds"), 2),
        words.duration(started_until),
        words.age(row.created_at, now),
    ]


def _empty() -> None:
    with st.container(border=True):
        st.subheader("No runs yet", anchor=False)
        st.markdown(
            "A run appears here as soon as it is submitted. Launch one from a preset, or let the demo train four regimes of a tiny model in a few minutes:"
        )
        st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        st.code("mtprl demo", language="bash")


main()
