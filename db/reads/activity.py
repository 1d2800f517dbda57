"""What happened to a run, and which workers are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from db import tables


@dataclass(frozen=True, slots=True)
class RunEvent:
    """A line of a run's history."""

    id: int
    attempt: int
    step: int
    time: float
    type: str
    severity: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker; `ended_at` is None until it shuts down in good order."""

    name: str
    host: str
    pid: int
    devices: Sequence[str]
    started_at: float
    heartbeat_at: float
    ended_at: float | None
    draining: bool
    """It takes no new run."""


def run_events(connection: Connection, run_id: int, after_id: int = 0, limit: int = 200) -> list[RunEvent]:
    """The run's history after the event `after_id`, the oldest first; ask again with the last id for what follows."""
    table = tables.run_events
    statement = (
        select(*(table.c[name] for name in RunEvent.__dataclass_fields__))
        .where(table.c.run_id == run_id, table.c.id > after_id)
        .order_by(table.c.id)
        .limit(limit)
    )
    return [RunEvent(*row) for row in connection.execute(statement)]


def workers(connection: Connection) -> list[WorkerRow]:
    """All workers that ever reported, by name."""
    table = tables.workers
    statement = select(*(table.c[name] for name in WorkerRow.__dataclass_fields__)).order_by(table.c.name)
    return [WorkerRow(*row) for row in connection.execute(statement)]
