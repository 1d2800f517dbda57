"""Run: one run at `/run?run=ID`, live while it lasts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

import streamlit as st

from backend import palette, waiting, words
from backend.next_steps import next_step
from dashboard import (
    audit_tab,
    checkpoints_tab,
    completions_tab,
    evaluation_tabs,
    events_tab,
    front_end,
    labelling,
    liveness,
    log_tab,
    markup,
    navigation,
    run_actions,
    run_tabs,
    store,
)
from db import reads
from db.reads import AlarmRow, RunDetail
from db.reads.alarms import RULE
from db.statuses import ENDED, Kind, Status
from trainer.config.continuing import shown as setting
from trainer.errors import StoreError

_TICK = 2.0
_Tabs = dict[str, Callable[..., None]]
"""Each takes the run; those in _BY_THEMSELVES also the seconds between two looks at a living run, None: it stands still."""
_TABS: dict[Kind, _Tabs] = {
    Kind.TRAINING: {
        "Coefficient": run_tabs.coefficient,
        "Learning": run_tabs.learning,
        "Audit": audit_tab.draw,
        "Speed": run_tabs.speed,
        "Completions": completions_tab.draw,
        "Checkpoints": checkpoints_tab.draw,
        "Evaluation": evaluation_tabs.outcome,
        "Answers": evaluation_tabs.answers,
        "Configuration": run_tabs.configuration,
        "Log": log_tab.draw,
        "Events": events_tab.draw,
    },
    Kind.EVALUATION: {
        "Results": evaluation_tabs.outcome,
        "Answers": evaluation_tabs.answers,
        "Speed": run_tabs.speed,
        "Configuration": run_tabs.configuration,
        "Log": log_tab.draw,
        "Events": events_tab.draw,
    },
}
_STILL = {"Configuration", "Answers"}
_BY_THEMSELVES = {"Completions", "Log"}
"""They have settings, and parts of their own that are drawn anew while the run lives."""
_COEFFICIENT = "mtp/coefficient"
_LIKE_RUN = ("id", "run_id", "name")
"""What somebody who writes an address by hand takes for `run`."""
_MOST_ALARMS = 8
"""That stand above the tabs."""
_TOO_LONG = 10
"""Digits that no run's number has."""


def main() -> None:
    """Draw the page."""
    st.page_link(navigation.runs(), label="All runs", icon=":material/arrow_back:")
    run_id = _asked_for()
    if run_id is None:
        return
    with store.reading() as connection:
        try:
            run = reads.get_run(connection, run_id)
        except StoreError:
            st.title("Run")
            raise
    every = None if run.status in ENDED else _TICK

    st.title(run.name, anchor=False)
    with st.container(horizontal=True, vertical_alignment="center", key="run-actions"):
        follow = every is not None and st.toggle(
            "Live",
            value=True,
            key="live",
            help="Off: the tabs below stand still, to zoom and read. A chart is drawn anew, zoomed out, when data arrives.",
        )
        run_actions.draw(run)
        labelling.edit(run)
        run_tabs.export(run)
    front_end.start_charts()
    st.fragment(_header, run_every=every)(run.id, run.status)
    drawn = _TABS[run.kind]
    tabs = st.tabs(list(drawn), key="tab", on_change="rerun", bind="query-params")
    for tab, (name, draw) in zip(tabs, drawn.items(), strict=True):
        if tab.open:
            with tab:
                live = every if follow and name not in _STILL else None
                if name in _BY_THEMSELVES:
                    st.fragment(draw)(run, live)
                else:
                    st.fragment(draw, run_every=live)(run)


def _asked_for() -> int | None:
    """The run that the address names; where it names none, the page says how it does, with a link to the run that was meant."""
    text = st.query_params.get("run", "")
    if text.isascii() and text.isdigit() and len(text) < _TOO_LONG:
        return int(text)
    st.title("Run", anchor=False)
    name, value = next(((name, st.query_params[name]) for name in _LIKE_RUN if st.query_params.get(name)), ("", ""))
    said = "No run is chosen."
    if text:
        said = f"{words.literal(repr(text))} is no run's number."
    elif name:
        said = f"The address of a run ends in `?run=NUMBER`, not in `?{name}=`."
    meant = _meant(text or value)
    st.info(
        f"{said} {'Perhaps this one is meant:' if meant else 'Choose one in the list of runs.'}", icon=":material/info:"
    )
    if meant is not None:  # a page_link to the page that it stands on would leave the address as it is
        link = markup.link(f"/run?run={meant[0]}", f"run?run={meant[0]}", sub=f"run {meant[0]}, {meant[1]}")
        st.html(f'<div class="m-plain">{link}</div>')
    return None


def _meant(text: str) -> tuple[int, str] | None:
    """Id and name of the run that is called so, or whose number the text begins with."""
    number = re.match(r"\D{0,2}(\d{1,9})(?!\d)", text, re.ASCII)
    with store.reading() as connection:
        for candidate in filter(None, (text, number and number[1])):
            with suppress(StoreError):
                run = reads.get_run(connection, reads.find_run(connection, candidate))
                return run.id, run.name
    return None


def _header(run_id: int, drawn_for: str) -> None:
    """Status, progress and the newest numbers; draws the whole page anew when the status changes what the page offers."""
    now = time.time()
    with store.reading() as connection:
        run = reads.get_run(connection, run_id)
        latest = reads.latest(connection, run_id)
        waits = waiting.reasons(connection).get(run_id) if run.status == Status.QUEUED else None
        alarms = reads.alarms_on(connection, [run_id]).get(run_id, [])
    if run.status != drawn_for:
        st.rerun()
    shown = liveness.shown_status(run.status, run.heartbeat_at, now)
    left = "" if shown == liveness.LOST else _remaining(run, now)
    note = (
        "" if run.status == Status.FAILED else liveness.note(run.status, run.reason, run.stage, run.heartbeat_at, now)
    )
    note = waits or note
    facts = [
        f"run {run.id}",
        run.experiment,
        run.algorithm,
        f"seed {run.seed}",
        ", ".join(run.devices),
        f"priority {run.priority}" if run.priority else "",
        f"attempt {run.attempt}" if run.attempt > 1 else "",
        "archived" if run.archived_at is not None else "",
    ]
    st.html(
        f'<div class="m-head">{markup.status(shown, live=shown == Status.RUNNING)}{markup.regime(run.regime)}'
        f'<span class="m-sub">{markup.text(" · ".join(fact for fact in facts if fact))}</span></div>'
        + markup.progress(
            run.step,
            run.total_steps,
            palette.regime_colour(run.regime),
            "problems" if run.kind == Kind.EVALUATION else "steps",
        )
        + f'<div class="m-sub">{markup.text(" · ".join(part for part in (note, left) if part))}</div>'
        + markup.tags([(tag, f"./?tags={quote(tag)}") for tag in run.tags])
        + (f'<div class="m-sub">✎ {markup.text(run.note)}</div>' if run.note else "")
        + (f'<div class="m-sub">{_origin(run)}</div>' if run.cloned_from is not None else "")
        + (f'<div class="m-sub">{_evaluated(run)}</div>' if run.kind == Kind.EVALUATION else "")
    )
    if shown == liveness.LOST:
        st.warning(
            "Nobody has heard of this run's supervisor. If no worker is alive, run `mtprl up`: it takes the run up again, or says that it is gone.",
            icon=":material/heart_broken:",
        )
    if run.status == Status.FAILED:
        reason = run.reason or "It failed without a word; see the log."
        advice = next_step(reason)
        st.error(
            words.literal(reason) + (f"\n\n**Next:** {advice}" if advice else ""),
            icon=":material/error:",
        )
    # What the trainer says comes first: of alerts there may be hundreds.
    alarms.sort(key=lambda alarm: (alarm.severity != "error", alarm.name.startswith(f"{RULE}/")))
    for alarm in alarms[:_MOST_ALARMS]:
        _alarm(alarm, run.status)
    if (more := len(alarms) - _MOST_ALARMS) > 0:
        st.warning(f"{words.plural(more, 'more alarm')} on: Events has all of them.", icon=":material/warning:")
    st.html(markup.tiles(_tiles(run.kind, latest, run.coefficient)))


def _origin(run: RunDetail) -> str:
    """The run that it was made from, and in which settings it differs."""
    changes = [f"{field}: {setting(old)} → {setting(new)}" for field, old, new in run.difference or ()]
    return f"cloned from {markup.link(f'run {run.cloned_from}', f'run?run={run.cloned_from}')}, " + (
        markup.text("; ".join(changes)) if changes else "with nothing changed"
    )


def _evaluated(run: RunDetail) -> str:
    """What an evaluation is about."""
    if run.evaluates is None:
        return f"evaluates {markup.text(str(run.config['model']['path']))}"
    return f"evaluates {markup.link(f'run {run.evaluates}', f'run?run={run.evaluates}')}, after step {run.evaluates_step:,}"


def _alarm(alarm: AlarmRow, status: Status) -> None:
    """What looks wrong, since when, and what to try. The error that ended a run is its reason already."""
    said = f"**{words.literal(words.alarm(alarm.name))}.** {words.literal(alarm.message)}"
    if alarm.severity == "warning":
        st.warning(said, icon=":material/warning:")
    elif status != Status.FAILED:
        st.error(said, icon=":material/error:")


def _remaining(run: RunDetail, now: float) -> str:
    if run.status in ENDED:
        return f"took {words.duration(run.seconds)}" if run.seconds is not None else ""
    attempt = run.attempts[-1] if run.attempts else None
    if attempt is None or run.status != Status.RUNNING:
        return ""
    left = words.time_left(
        step=run.step, total=run.total_steps, from_step=attempt.resumed_from or 0, elapsed=now - attempt.started_at
    )
    return f"about {words.duration(left)} left" if left is not None else ""


def _tiles(kind: Kind, latest: dict[str, reads.Point], coefficient: float | None) -> list[tuple[str, str, str]]:
    """The newest numbers; of the coefficient a recent mean, because a single step's is often at its clip."""
    items = []
    unit = "problem" if kind == Kind.EVALUATION else "step"
    if coefficient is not None:
        last = latest[_COEFFICIENT].step
        first = max(1, last - reads.RECENT_STEPS + 1)
        of = f"mean, steps {first} to {last}" if first < last else f"step {last}"
        items.append(("Coefficient", words.number(coefficient), of))
    for name, label, form in (
        ("reward/mean", "Reward", words.number),
        ("reward/accuracy", "Accuracy", words.percent),
        ("mtp/acceptance_greedy", "Heads agree", words.percent),
        ("rollout/draft_acceptance_1", "Drafts accepted", words.percent),
        ("policy/entropy", "Entropy", words.number),
        ("time/step_seconds", f"Time per {unit}", words.duration),
    ):
        if name in latest:
            items.append((label, form(latest[name].value), f"{unit} {latest[name].step:,}"))
    for name, point in latest.items():
        if name.startswith("eval/"):
            _, benchmark, metric = name.split("/", 2)
            items.append(
                (f"{benchmark} {metric.replace('_at_', '@')}", words.percent(point.value), f"{unit} {point.step:,}")
            )
    return items


main()
