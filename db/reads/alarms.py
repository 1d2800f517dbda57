"""The alarms of a run: those that were raised, and those that are on when its history is read to its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from db import tables
from db.statuses import ENDED
from trainer.alarms import LASTING, NAMES

RULE = "rule"
"""What the names of alarms begin with that a user's rule raises: see db.alerts."""

_MOST = 200
"""The newest lines of each run's history of alarms and attempts that are looked at; of what users' rules say as many by themselves, so that
no rule pushes out what the trainer says."""

_BY_RULE = tables.run_events.c.message.startswith(f"{RULE}/", autoescape=True)


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """What an alarm said: it begins (severity warning), it is over (info), or it is an error."""

    name: str
    severity: str
    message: str
    step: int
    """The step that said so."""


def alarms_raised(
    connection: Connection, run_ids: Sequence[int], *, most: int | None = _MOST
) -> dict[int, list[AlarmRow]]:
    """By run, what its alarms have said, the oldest first, with what says that one is over (severity info); the newest of them where
    there are more than `most`. Runs without any are left out.

    What an attempt said of steps that a later one has trained again is void.
    """
    table = tables.run_events
    place = func.row_number().over(partition_by=(table.c.run_id, _BY_RULE), order_by=table.c.id.desc())
    lines = (
        select(table.c.id, table.c.run_id, table.c.type, table.c.step, table.c.severity, table.c.message)
        .add_columns(place.label("place"))
        .where(table.c.run_id.in_(run_ids), table.c.type.in_(("alarm", "attempt_started")))
        .subquery()
    )
    statement = select(lines).order_by(lines.c.id)
    told: dict[int, list[AlarmRow]] = defaultdict(list)
    for row in connection.execute(statement if most is None else statement.where(lines.c.place <= most)):
        if row.type == "attempt_started":
            told[row.run_id] = [alarm for alarm in told[row.run_id] if alarm.step <= row.step]
        else:
            told[row.run_id].append(_row(row))
    return {run_id: alarms for run_id, alarms in told.items() if alarms}


def alarms_on(connection: Connection, run_ids: Sequence[int], *, at_end: bool = False) -> dict[int, list[AlarmRow]]:
    """By run, the alarms that are on now, or were when it ended; the oldest first. Runs without any are left out.

    What users' rules say is over with the run, because nobody can act on it any more: of runs that have ended it is given `at_end` only.

    A warning that only tells of something once, such as of prompts left out, is no alarm that is on, but for those of what holds for the
    whole run.
    """
    on = {run_id: _on(alarms) for run_id, alarms in alarms_raised(connection, run_ids).items()}
    by_rules = _on_by_rules(connection, run_ids, at_end)
    both = {run_id: [*on.get(run_id, ()), *by_rules.get(run_id, ())] for run_id in run_ids}
    return {run_id: sorted(alarms, key=lambda alarm: alarm.step) for run_id, alarms in both.items() if alarms}


def _on(told: Sequence[AlarmRow]) -> list[AlarmRow]:
    on: dict[str, AlarmRow] = {}
    for alarm in told:
        on.pop(alarm.name, None)
        if alarm.severity == "error" or (
            alarm.severity == "warning" and alarm.name.partition("/")[0] in (*NAMES, *LASTING)
        ):
            on[alarm.name] = alarm
    return list(on.values())


def _on_by_rules(connection: Connection, run_ids: Sequence[int], at_end: bool) -> dict[int, list[AlarmRow]]:
    """What users' rules say, as the table of their states has it: it knows all that are on, however long a run's history is."""
    state, rules, names, table = (
        each.c for each in (tables.alert_states, tables.alert_rules, tables.metric_names, tables.run_events)
    )
    statement = (
        select(state.run_id, state.said_at, rules.name, names.name)
        .join_from(tables.alert_states, tables.alert_rules)
        .join(tables.metric_names)
        .join(tables.runs, tables.runs.c.id == state.run_id)
        .where(state.run_id.in_(run_ids), state.on)
    )
    if not at_end:
        statement = statement.where(tables.runs.c.status.not_in(ENDED))
    on = {(run_id, step, f"{RULE}/{rule}/{metric}") for run_id, step, rule, metric in connection.execute(statement)}
    if not on:
        return {}
    lines = (
        select(table.run_id, table.step, table.severity, table.message)
        .where(table.run_id.in_({run_id for run_id, *_ in on}), table.step.in_({step for _, step, _ in on}))
        .where(table.type == "alarm", _BY_RULE)
        .order_by(table.id)
    )
    newest = {(row.run_id, row.step, (alarm := _row(row)).name): alarm for row in connection.execute(lines)}
    found: dict[int, list[AlarmRow]] = defaultdict(list)
    for key, alarm in newest.items():
        if key in on:
            found[key[0]].append(alarm)
    return found


def _row(row: Any) -> AlarmRow:
    name, _, message = row.message.partition(": ")
    return AlarmRow(name, row.severity, message, row.step)
