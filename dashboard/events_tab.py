"""The tab of the run page that shows what happened when: attempts, alarms, evaluations, checkpoints, and what to do about an end."""

from __future__ import annotations

import time

import streamlit as st

from backend import words
from backend.next_steps import next_step
from dashboard import markup, store
from db import reads
from db.reads import AttemptRow, RunDetail, RunEvent

_MOST = 500
_ATTEMPTS = "attempts"
_GROUPS = {"alarms": "alarm", "evaluations": "evaluation", "checkpoints": "checkpoint"}
"""What has a type of event of its own; all other events are of attempts: claimed, started, stopped, resumed, ended."""
_SHOWN_FIRST = (_ATTEMPTS, "alarms", "evaluations")
_ENDS = ("ended", "failed", "stopped", "lost")

_COLUMNS = (
    markup.Column("When"),
    markup.Column("Step", number=True),
    markup.Column("What"),
    markup.Column("Attempt", number=True, wide=True),
    markup.Column("Message"),
)
_ATTEMPT_COLUMNS = (
    markup.Column("Attempt", number=True),
    markup.Column("Why"),
    markup.Column("Where"),
    markup.Column("Began"),
    markup.Column("Lasted", number=True),
    markup.Column("From step", number=True, wide=True),
    markup.Column("How it ended"),
)


def draw(run: RunDetail) -> None:
    """What happened, the newest first."""
    now = time.time()
    chosen = st.pills(
        "Show",
        [_ATTEMPTS, *_GROUPS],
        selection_mode="multi",
        default=_SHOWN_FIRST,
        key="events",
        bind="query-params",
    )
    wanted, others = [_GROUPS[name] for name in chosen if name in _GROUPS], list(_GROUPS.values())
    with store.reading() as connection:
        counts = reads.event_counts(connection, run.id)
        attempts = reads.get_run(connection, run.id).attempts
        rows = reads.newest_events(
            connection, run.id, types=wanted, all_but=others if _ATTEMPTS in chosen else None, limit=_MOST
        )
    if not counts:
        st.info("Nothing has happened to this run yet.", icon=":material/hourglass_empty:")
        return
    if len(attempts) > 1 and _ATTEMPTS in chosen:
        cells = [_attempt_cells(attempt, now) for attempt in reversed(attempts)]
        st.html(markup.table(_ATTEMPT_COLUMNS, cells, label="Attempts") + markup.left_out(_ATTEMPT_COLUMNS))
    st.caption(_counted(counts, chosen, len(rows)))
    if rows:
        st.html(markup.table(_COLUMNS, [_cells(row, now) for row in rows], label="Events") + markup.left_out(_COLUMNS))


def _counted(counts: dict[str, int], chosen: list[str], shown: int) -> str:
    """How many there are, how many of them are shown, and what is not."""
    by_group = {name: counts.get(type, 0) for name, type in _GROUPS.items()}
    by_group[_ATTEMPTS] = sum(counts.values()) - sum(by_group.values())
    wanted = sum(by_group[name] for name in chosen)
    said = [words.plural(wanted, "event") if shown == wanted else f"The newest {shown:,} of {wanted:,} events"]
    hidden = [
        words.plural(count, name.removesuffix("s")) for name, count in by_group.items() if count and name not in chosen
    ]
    if hidden:
        said.append(f"not shown: {', '.join(hidden)}")
    return " · ".join(said)


def _cells(row: RunEvent, now: float) -> list[str]:
    advice = next_step(row.message) if row.type in _ENDS else None
    return [
        markup.when(row.time, words.age(row.time, now)),
        str(row.step),
        markup.event(row.type.replace("_", " "), row.severity),
        str(row.attempt),
        markup.text(_message(row), sub=f"Next: {advice.replace('`', '')}" if advice else ""),
    ]


def _message(row: RunEvent) -> str:
    """What is said of it; an alarm's name in words, as everywhere."""
    name, colon, said = row.message.partition(": ")
    return f"{words.alarm(name)}. {said}" if row.type == "alarm" and colon else row.message


def _attempt_cells(attempt: AttemptRow, now: float) -> list[str]:
    until = attempt.ended_at or attempt.heartbeat_at
    ended = " · ".join(filter(None, (attempt.outcome, attempt.message))) or "still at it"
    return [
        str(attempt.number),
        markup.text(attempt.cause or "the first one"),
        markup.text(attempt.host, sub=", ".join(attempt.devices or ())),
        markup.when(attempt.started_at, words.age(attempt.started_at, now)),
        words.duration(max(until - attempt.started_at, 0.0)),
        "–" if attempt.resumed_from is None else f"{attempt.resumed_from:,}",
        markup.text(ended),
    ]
