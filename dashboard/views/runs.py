"""Runs: what is running, how far it is and how it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st
from sqlalchemy import Connection

from backend import fleet, palette, waiting, words
from backend import runs as service
from dashboard import liveness, markup, navigation, store
from db import reads
from db.reads import AlarmRow, RunRow, WorkerRow
from db.statuses import ENDED, Kind, Status
from trainer.errors import MtprlError

_ALL, _ALL_REGIMES = "All experiments", "All regimes"
_KINDS: dict[str, Kind | None] = {
    "Trainings and evaluations": None,
    "Trainings": Kind.TRAINING,
    "Evaluations": Kind.EVALUATION,
}
_STOP, _CHOSEN, _ALL_OF_THEM = "stop", "stop:chosen", "stop:all"
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
    filters = _filters(experiments)
    _table(filters)


@dataclass(frozen=True)
class _Filters:
    """Which runs are listed."""

    experiment: str | None
    status: Status | None
    regime: str | None
    kind: Kind | None
    text: str

    def rows(self, connection: Connection) -> list[RunRow]:
        """Those runs, the newest first."""
        return reads.list_runs(
            connection,
            experiment=self.experiment,
            status=self.status,
            regime=self.regime,
            kind=self.kind,
            text=self.text,
            limit=_LIMIT,
        )


def _filters(experiments: list[str]) -> _Filters:
    first, second, kinds, third, last = st.columns([2, 1.7, 2, 2.6, 1.3], vertical_alignment="bottom")
    experiment = first.selectbox("Experiment", [_ALL, *experiments], key="experiment", bind="query-params")
    regime = second.selectbox("Regime", [_ALL_REGIMES, *palette.REGIMES], key="regime", bind="query-params")
    kind = kinds.selectbox("Kind", list(_KINDS), key="kind", bind="query-params")
    text = third.text_input(
        "Text",
        key="text",
        bind="query-params",
        placeholder="Name, number, preset, algorithm or reason",
        icon=":material/search:",
    )
    status = st.pills(
        "Status", [str(status) for status in Status], key="status", bind="query-params", label_visibility="collapsed"
    )
    filters = _Filters(
        None if experiment == _ALL else experiment,
        Status(status) if status else None,
        None if regime == _ALL_REGIMES else regime,
        _KINDS[kind],
        (text or "").strip(),
    )
    with last:
        _stop_several(filters)
    return filters


def _stop_several(filters: _Filters) -> None:
    with st.popover(
        "Stop",
        icon=":material/stop_circle:",
        key=_STOP,
        on_change="rerun",
        width="stretch",
        help="Several runs at once",
    ):
        with store.reading() as connection:
            rows = [
                row for row in filters.rows(connection) if row.status not in ENDED and row.status != Status.STOPPING
            ]
        if not rows:
            st.markdown("None of the runs that are listed is queued or active.")
            return
        names = {row.id: f"{row.id} · {row.name} ({row.status})" for row in rows}
        chosen = st.multiselect(
            "Runs to stop", list(names), format_func=names.__getitem__, key=_CHOSEN, placeholder="Choose runs"
        )
        if st.session_state.get(_ALL_OF_THEM):
            chosen = list(names)
        st.checkbox(f"All {len(names)} that are listed and have not ended", key=_ALL_OF_THEM)
        st.markdown("They write a checkpoint after the step they are in, then end; queued ones leave the queue.")
        st.button(
            f"Stop {words.plural(len(chosen), 'run')}",
            type="primary",
            disabled=not chosen,
            on_click=_stop_now,
            args=(chosen,),
        )


def _stop_now(run_ids: list[int]) -> None:
    """Ask them to stop, close the popover, and say what happens now."""
    st.session_state[_STOP], st.session_state[_CHOSEN], st.session_state[_ALL_OF_THEM] = False, [], False
    try:
        said = [service.stop(run_id) for run_id in run_ids]
        st.toast(
            said[0] if len(said) == 1 else f"{words.plural(len(said), 'run')} asked to stop",
            icon=":material/stop_circle:",
        )
    except MtprlError as error:
        st.toast(str(error), icon=":material/error:")


@st.fragment(run_every=_TICK)
def _queue_state() -> None:
    with store.reading() as connection:
        counts, alive = reads.status_counts(connection), fleet.alive(connection)
    if any(counts.values()):
        st.rerun()
    _queue_line(counts, alive)


@st.fragment(run_every=_TICK)
def _table(filters: _Filters) -> None:
    now = time.time()
    with store.reading() as connection:
        rows = filters.rows(connection)
        alarms = reads.alarms_on(connection, [row.id for row in rows])
        counts, alive, waits = reads.status_counts(connection), fleet.alive(connection), waiting.reasons(connection)
    _queue_line(counts, alive)
    if not rows:
        st.info("No run matches these filters.", icon=":material/filter_alt_off:")
        return
    st.html(
        markup.table(
            _COLUMNS, [_cells(row, alarms.get(row.id, ()), waits.get(row.id), now) for row in rows], label="Runs"
        )
    )
    trainings = [row.id for row in rows if row.kind == Kind.TRAINING]
    if len(trainings) > 1:
        compared = ",".join(map(str, trainings[:_COMPARED]))
        st.page_link(
            navigation.compare(),
            label=f"Compare the newest {min(len(trainings), _COMPARED)} of these",
            query_params={"runs": compared},
            icon=":material/stacked_line_chart:",
        )
    if len(rows) == _LIMIT:
        st.caption(f"The newest {_LIMIT} runs are shown; choose an experiment or a status to see others.")


def _queue_line(counts: Mapping[Status, int], alive: Sequence[WorkerRow]) -> None:
    line, attention = liveness.queue_line(counts, alive)
    if attention:
        st.warning(line, icon=":material/power_off:")
    else:
        st.caption(line)


def _cells(row: RunRow, alarms: Sequence[AlarmRow], waits: str | None, now: float) -> list[str]:
    shown = liveness.shown_status(row.status, row.heartbeat_at, now)
    live = shown in (Status.RUNNING, Status.STARTING, Status.STOPPING)
    detail = " · ".join([row.experiment, *_about(row)])
    note = waits or liveness.note(row.status, row.reason, row.stage, row.heartbeat_at, now)
    return [
        markup.link(f"{row.id} · {row.name}", f"run?run={row.id}", sub=detail),
        markup.status(shown, note=note, live=live)
        + markup.alarms([words.alarm(alarm.name) for alarm in alarms if alarm.severity == "warning"]),
        markup.regime(row.regime),
        markup.progress(row.step, row.total_steps, palette.regime_colour(row.regime)),
        words.number(row.latest.get("reward/mean")),
        words.percent(row.latest.get("reward/accuracy")),
        words.number(row.coefficient),
        words.number(row.latest.get("time/step_seconds"), 2),
        words.duration(row.seconds),
        words.age(row.created_at, now),
    ]


def _about(row: RunRow) -> list[str]:
    if row.kind == Kind.TRAINING:
        return [row.preset or row.algorithm, f"seed {row.seed}"]
    of = f"of run {row.evaluates}, step {row.evaluates_step:,}" if row.evaluates is not None else "of a model"
    return [f"evaluation {of}"]


def _empty() -> None:
    with st.container(border=True):
        st.subheader("No runs yet", anchor=False)
        st.markdown(
            "A run appears here as soon as it is submitted. Launch one from a preset, or let the demo train four regimes of a tiny model in a few minutes:"
        )
        st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        st.code("mtprl demo", language="bash")


main()
