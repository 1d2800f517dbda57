"""Runs: what is running, how far it is and how it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import streamlit as st

from backend import fleet, listing, palette, waiting, words
from dashboard import labelling, liveness, markup, navigation, store
from db import reads
from db.reads import AlarmRow, RunFilters, RunRow, WorkerRow
from db.statuses import ACTIVE, Kind, Status

_ALL, _ALL_REGIMES = "All experiments", "All regimes"
_KINDS: dict[str, Kind | None] = {
    "All kinds": None,
    "Trainings": Kind.TRAINING,
    "Evaluations": Kind.EVALUATION,
}
_PAGE, _ARCHIVED = "page", "archived"
_PER_PAGE = 50
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
    st.title("Runs", anchor=False)
    with store.reading() as connection:
        experiments = [experiment.name for experiment in reads.experiments(connection)]
        total = sum(reads.status_counts(connection).values())
        tags = list(reads.tags(connection))
    if not total:
        _queue_state()
        _empty()
        return
    filters, last = _filters(experiments, tags)
    with store.reading() as connection:
        pages = _pages(reads.count_runs(connection, **filters))
    listed = st.container()
    place = st.pagination(pages, key=_PAGE, bind="query-params") if pages > 1 else 1
    with listed:
        rows = _table(filters, place, pages)
    with last:
        labelling.panel(filters, rows)


def _pages(matching: int) -> int:
    return max(1, -(-matching // _PER_PAGE))


def _first_page() -> None:
    """Other filters begin with their first page."""
    if _PAGE in st.session_state:
        st.session_state[_PAGE] = 1


def _filters(experiments: Sequence[str], tags: Sequence[str]) -> tuple[RunFilters, st.delta_generator.DeltaGenerator]:
    """Which runs are listed, and room for what is done with them."""
    first, second, kinds, third, fourth = st.columns([2, 1.7, 2, 2, 2.6], vertical_alignment="bottom")
    experiment = first.selectbox(
        "Experiment", [_ALL, *experiments], key="experiment", bind="query-params", on_change=_first_page
    )
    regime = second.selectbox(
        "Regime", [_ALL_REGIMES, *palette.REGIMES], key="regime", bind="query-params", on_change=_first_page
    )
    kind = kinds.selectbox("Kind", list(_KINDS), key="kind", bind="query-params", on_change=_first_page)
    tagged = third.multiselect(
        "Tags",
        tags,
        key="tags",
        bind="query-params",
        on_change=_first_page,
        placeholder="With all of these" if tags else "No run is tagged yet",
        disabled=not tags,
    )
    text = fourth.text_input(
        "Text",
        key="text",
        bind="query-params",
        on_change=_first_page,
        placeholder="Name, number, preset, reason or note",
        icon=":material/search:",
    )
    pills, archive, last = st.columns([6, 1.4, 1.6], vertical_alignment="center")
    status = pills.pills(
        "Status",
        [str(status) for status in Status],
        key="status",
        bind="query-params",
        label_visibility="collapsed",
        on_change=_first_page,
    )
    archived = archive.toggle(
        "Archived",
        key=_ARCHIVED,
        bind="query-params",
        on_change=_first_page,
        help="Show the runs that were put away, and only those.",
    )
    return {
        "experiment": None if experiment == _ALL else experiment,
        "status": Status(status) if status else None,
        "regime": None if regime == _ALL_REGIMES else regime,
        "kind": _KINDS[kind],
        "text": (text or "").strip(),
        "tags": tagged,
        "archived": archived,
    }, last


@st.fragment(run_every=_TICK)
def _queue_state() -> None:
    with store.reading() as connection:
        counts, alive = reads.status_counts(connection), fleet.alive(connection)
    if any(counts.values()):
        st.rerun()
    _queue_line(counts, alive)


@st.fragment(run_every=_TICK)
def _table(filters: RunFilters, place: int, drawn_pages: int) -> list[int]:
    """The runs of one page; their numbers."""
    now = time.time()
    with store.reading() as connection:
        matching = reads.count_runs(connection, **filters)
        place = min(place, _pages(matching))
        rows = reads.list_runs(
            connection, limit=_PER_PAGE, offset=(place - 1) * _PER_PAGE, active_first=True, **filters
        )
        alarms = reads.alarms_on(connection, [row.id for row in rows])
        counts, alive, waits = reads.status_counts(connection), fleet.alive(connection), waiting.reasons(connection)
    if _pages(matching) != drawn_pages:
        st.rerun()
    _queue_line(counts, alive)
    if not rows:
        st.info(
            "No run is archived."
            if filters["archived"] and not _narrowed(filters)
            else "No run matches these filters.",
            icon=":material/filter_alt_off:",
        )
        return []
    st.html(
        markup.table(
            _COLUMNS, [_cells(row, alarms.get(row.id, ()), waits.get(row.id), now) for row in rows], label="Runs"
        )
        + markup.left_out(_COLUMNS)
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        first = (place - 1) * _PER_PAGE
        st.caption(
            f"{first + 1:,} to {first + len(rows):,} of {words.plural(matching, 'run')} that match"
            if matching > len(rows)
            else f"{words.plural(matching, 'run')}"
        )
        trainings = [row.id for row in rows if row.kind == Kind.TRAINING]
        if len(trainings) > 1:
            compared = ",".join(map(str, trainings[:_COMPARED]))
            st.page_link(
                navigation.compare(),
                label=f"Compare the first {min(len(trainings), _COMPARED)} of these",
                query_params={"runs": compared},
                icon=":material/stacked_line_chart:",
            )
        st.download_button(
            "CSV",
            lambda: _csv(filters),
            "runs.csv",
            "text/csv",
            key="csv",
            icon=":material/download:",
            on_click="ignore",
            help=f"All that match, at most {labelling.MOST:,}.",
        )
    return [row.id for row in rows]


def _narrowed(filters: RunFilters) -> bool:
    return any(value for name, value in filters.items() if name != "archived")


def _csv(filters: RunFilters) -> str:
    with store.reading() as connection:
        return listing.to_csv(reads.list_runs(connection, limit=labelling.MOST, **filters))


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
    if row.status in ACTIVE:
        note = " · ".join(filter(None, [note, _where(row)]))
    return [
        markup.link(f"{row.id} · {row.name}", f"run?run={row.id}", sub=detail)
        + markup.tags([(tag, f"?tags={quote(tag)}") for tag in row.tags])
        + markup.note(row.note),
        markup.status(shown, note=note, live=live)
        + markup.alarms([words.alarm(alarm.name) for alarm in alarms if alarm.severity == "warning"]),
        markup.regime(row.regime),
        markup.progress(row.step, row.total_steps, palette.regime_colour(row.regime)) + _left(row, shown, now),
        words.number(row.latest.get("reward/mean")),
        words.percent(row.latest.get("reward/accuracy")),
        words.number(row.coefficient),
        words.number(row.latest.get("time/step_seconds"), 2),
        words.duration(row.seconds),
        words.age(row.created_at, now),
    ]


def _where(row: RunRow) -> str:
    """Host and devices: 'here: cpu:0, cpu:1'."""
    return f"{row.host}: {', '.join(row.devices)}" if row.devices else row.host or ""


def _left(row: RunRow, shown: str, now: float) -> str:
    """How long it still takes, of a run that makes steps."""
    if shown != Status.RUNNING or row.attempt_started_at is None:
        return ""
    elapsed = now - row.attempt_started_at
    left = words.time_left(step=row.step, total=row.total_steps, from_step=row.resumed_from or 0, elapsed=elapsed)
    return "" if left is None else f'<div class="m-sub">about {words.duration(left)} left</div>'


def _about(row: RunRow) -> list[str]:
    if row.kind == Kind.TRAINING:
        return [row.preset or row.algorithm, f"seed {row.seed}"]
    of = f"of run {row.evaluates}, step {row.evaluates_step:,}" if row.evaluates is not None else "of a model"
    return [f"evaluation {of}"]


def _empty() -> None:
    with st.container(border=True):
        st.header("No runs yet", anchor=False)
        st.markdown(
            "A run appears here as soon as it is submitted. Launch one from a preset, or let the demo train four regimes of a tiny model in a few minutes:"
        )
        st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        st.code("mtprl demo", language="bash")


main()
