"""What happened to a run, and which workers are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, or_, select

from db import tables
from db.statuses import Status
from db.workers import Load


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
    load: Load | None = None
    """What its host has and how much of it is taken, by its last heartbeat; None where it did not say."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A device that a run holds."""

    host: str
    device: str
    run_id: int
    run: str
    """The run's name."""
    regime: str
    status: Status
    step: int
    total_steps: int
    taken_at: float


@dataclass(frozen=True, slots=True)
class HostRun:
    """An attempt on a host."""

    host: str
    run_id: int
    run: str
    """The run's name."""
    number: int
    started_at: float
    ended_at: float | None
    outcome: str | None
    """None while it lasts."""


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


def newest_events(
    connection: Connection, run_id: int, *, types: Sequence[str], all_but: Sequence[str] | None, limit: int
) -> list[RunEvent]:
    """The run's last events of these types, and of all types but `all_but` where that is given, the newest first."""
    table = tables.run_events
    kinds: ColumnElement[bool] = table.c.type.in_(types)
    if all_but is not None:
        kinds = or_(kinds, table.c.type.not_in(all_but))
    statement = (
        select(*(table.c[name] for name in RunEvent.__dataclass_fields__))
        .where(table.c.run_id == run_id, kinds)
        .order_by(table.c.id.desc())
        .limit(limit)
    )
    return [RunEvent(*row) for row in connection.execute(statement)]


def event_counts(connection: Connection, run_id: int) -> dict[str, int]:
    """How many events of each type the run has."""
    table = tables.run_events
    statement = select(table.c.type, func.count()).where(table.c.run_id == run_id).group_by(table.c.type)
    return dict(connection.execute(statement).tuples().all())


def workers(connection: Connection) -> list[WorkerRow]:
    """All workers that ever reported, by name."""
    table = tables.workers
    statement = select(*(table.c[name] for name in WorkerRow.__dataclass_fields__)).order_by(table.c.name)
    return [WorkerRow(*row) for row in connection.execute(statement)]


def leases(connection: Connection) -> list[LeaseRow]:
    """All devices that runs hold, by host and device."""
    lease, run = tables.leases.c, tables.runs.c
    statement = (
        select(lease.host, lease.device, run.id.label("run_id"), run.name.label("run"), run.regime)
        .add_columns(run.status, run.step, run.total_steps, lease.taken_at)
        .join_from(tables.leases, tables.runs)
        .order_by(lease.host, lease.device)
    )
    rows = connection.execute(statement).mappings()
    return [LeaseRow(**{**row, "status": Status(row["status"])}) for row in rows]


def last_on_hosts(connection: Connection, hosts: Sequence[str], each: int = 5) -> list[HostRun]:
    """The newest attempts on these hosts, at most `each` of one, the newest first."""
    table = tables.attempts.c
    found = []
    for host in hosts:  # one statement for each: a host's newest are then found without numbering all of its attempts
        statement = (
            select(table.host, table.run_id, tables.runs.c.name, table.number, table.started_at)
            .add_columns(table.ended_at, table.outcome)
            .join_from(tables.attempts, tables.runs)
            .where(table.host == host)
            .order_by(table.started_at.desc(), table.run_id.desc())
            .limit(each)
        )
        found += [HostRun(*row) for row in connection.execute(statement)]
    return found
