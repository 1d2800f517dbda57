"""The alarms of a run: those that were raised, and those that are on when its history is read to its end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from db import tables
from trainer.alarms import LASTING, NAMES

RULE = "rule"
"""What the names of alarms begin with that a user's rule raises: see db.alerts."""

_MOST = 200
"""The newest lines of each run's history of alarms and attempts that are looked at."""


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """What an alarm said: it begins (severity warning), it is over (info), or it is an error."""

    name: str
    severity: str
    message: str
    step: int
    """The step that said so."""


def alarms_raised(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[AlarmRow]]:
    """By run, what its alarms have said, the oldest first, with what says that one is over (severity info); the newest of them where
    there are very many. Runs without any are left out.

    What an attempt said of steps that a later one has trained again is void.
    """
    table = tables.run_events
    newest_first = func.row_number().over(partition_by=table.c.run_id, order_by=table.c.id.desc())
    lines = (
        select(table.c.id, table.c.run_id, table.c.type, table.c.step, table.c.severity, table.c.message)
        .add_columns(newest_first.label("place"))
        .where(table.c.run_id.in_(run_ids), table.c.type.in_(("alarm", "attempt_started")))
        .subquery()
    )
    told: dict[int, list[AlarmRow]] = defaultdict(list)
    for row in connection.execute(select(lines).where(lines.c.place <= _MOST).order_by(lines.c.id)):
        if row.type == "attempt_started":
            told[row.run_id] = [alarm for alarm in told[row.run_id] if alarm.step <= row.step]
        else:
            name, _, message = row.message.partition(": ")
            told[row.run_id].append(AlarmRow(name, row.severity, message, row.step))
    return {run_id: alarms for run_id, alarms in told.items() if alarms}


def alarms_on(connection: Connection, run_ids: Sequence[int]) -> dict[int, list[AlarmRow]]:
    """By run, the alarms that are on now, or were when it ended; the oldest first. Runs without any are left out.

    A warning that only tells of something once, such as of prompts left out, is no alarm that is on, but for those of what holds for the
    whole run.
    """
    on = {run_id: _on(alarms) for run_id, alarms in alarms_raised(connection, run_ids).items()}
    return {run_id: alarms for run_id, alarms in on.items() if alarms}


def _on(told: Sequence[AlarmRow]) -> list[AlarmRow]:
    on: dict[str, AlarmRow] = {}
    for alarm in told:
        on.pop(alarm.name, None)
        if alarm.severity == "error" or (
            alarm.severity == "warning" and alarm.name.partition("/")[0] in (*NAMES, *LASTING, RULE)
        ):
            on[alarm.name] = alarm
    return list(on.values())
