"""Who owns a run: claims, leases of devices, heartbeats and ends.

A run belongs to its last attempt (`runs.attempt`) while its status is active. A claim holds the run's row locked from the
look to the change; everything later is one UPDATE that names the owner it expects: of two that try at once, one changes the
row and the other is told so. A device belongs to whoever holds its row in `leases`, whose primary key admits one.

Every function works in the caller's transaction, opened with `db.engine.writing`; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Update, delete, exists, func, insert, select, update

from db import upsert
from db.runs import log_event
from db.statuses import ACTIVE, ENDED, Status
from db.tables import attempts, leases, runs

RESUMABLE = frozenset({Status.STARTING, Status.RUNNING, Status.FAILED, Status.STOPPED})
"""Statuses from which a run may be queued again: a run that is stopping has to stop, a finished one has nothing left."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that the caller now owns, and the device that is leased to it."""

    run_id: int
    attempt: int
    device: str
    folder: str


@dataclass(frozen=True, slots=True)
class StaleAttempt:
    """The owner of a run, which has not been heard of for some time. A process is known by its id and its start time."""

    run_id: int
    attempt: int
    status: Status
    folder: str
    supervisor_pid: int | None
    supervisor_started: float | None
    trainer_pid: int | None
    trainer_started: float | None
    heartbeat_at: float


def claim_next(connection: Connection, *, host: str, devices: Sequence[str], now: float) -> Claim | None:
    """Take the oldest queued run and the first free one of the host's `devices`; None where either is lacking."""
    # Where rows can be locked (PostgreSQL), a run that somebody else is claiming is passed over.
    oldest = (
        select(runs.c.id, runs.c.attempt, runs.c.folder, runs.c.step)
        .where(runs.c.status == Status.QUEUED)
        .order_by(runs.c.id)
    )
    run = connection.execute(oldest.limit(1).with_for_update(skip_locked=True)).one_or_none()
    if run is None:
        return None
    number = run.attempt + 1
    device = _lease(connection, host, devices, run.id, number, now)
    if device is None:
        return None
    connection.execute(
        update(runs)
        .where(runs.c.id == run.id)
        .values(status=Status.STARTING, reason="", stop_requested=False, attempt=number, stage="", ended_at=None)
    )
    connection.execute(
        insert(attempts).values(
            run_id=run.id,
            number=number,
            host=host,
            heartbeat_at=now,
            started_at=now,
            # The event file is the run's, not the attempt's: the next reader goes on where the last one stopped.
            offset=select(func.coalesce(func.max(attempts.c.offset), 0))
            .where(attempts.c.run_id == run.id)
            .scalar_subquery(),
        )
    )
    log_event(connection, run.id, number, run.step, "claimed", f"claimed by {host} on {device}", now=now)
    return Claim(run.id, number, device, run.folder)


def adopt(
    connection: Connection,
    *,
    run_id: int,
    attempt: int,
    host: str,
    supervisor_pid: int,
    supervisor_started: float,
    previous_pid: int | None,
    now: float,
) -> bool:
    """Become the attempt's supervisor in place of `previous_pid` (None: it had none yet).

    Returns:
        False where somebody else was faster, the attempt runs on another host, or it no longer owns the run.
    """
    statement = (
        _of_owner(run_id, attempt)
        .where(attempts.c.host == host, attempts.c.supervisor_pid.is_not_distinct_from(previous_pid))
        .values(supervisor_pid=supervisor_pid, supervisor_started=supervisor_started, heartbeat_at=now)
    )
    return connection.execute(statement).rowcount == 1


def set_trainer(connection: Connection, run_id: int, attempt: int, pid: int, started: float) -> None:
    """Record the trainer's process, so that a later supervisor can find it."""
    key = (attempts.c.run_id == run_id, attempts.c.number == attempt)
    connection.execute(update(attempts).where(*key).values(trainer_pid=pid, trainer_started=started))


def heartbeat(connection: Connection, run_id: int, attempt: int, now: float) -> bool:
    """Say that the attempt is alive; False where it no longer owns the run and has to leave it alone."""
    return connection.execute(_of_owner(run_id, attempt).values(heartbeat_at=now)).rowcount == 1


def stop_requested(connection: Connection, run_id: int) -> bool:
    """Whether the run is to stop; works in a reading transaction, too."""
    return bool(connection.execute(select(runs.c.stop_requested).where(runs.c.id == run_id)).scalar_one_or_none())


def finish(
    connection: Connection,
    *,
    run_id: int,
    attempt: int,
    status: Status,
    reason: str,
    exit_code: int | None,
    now: float,
) -> bool:
    """End the run and free its device.

    Returns:
        False, with nothing changed, where the attempt no longer owns the run.
    """
    if status not in ENDED:
        raise ValueError(f"a run cannot end as {status}; expected one of {sorted(ENDED)}")
    ended = update(runs).where(runs.c.id == run_id, runs.c.attempt == attempt, runs.c.status.in_(ACTIVE))
    values = {"status": status, "reason": reason, "stage": "", "ended_at": now}
    step = connection.execute(ended.values(values).returning(runs.c.step)).scalar_one_or_none()
    if step is None:
        return False
    _close(connection, run_id, attempt, status, reason, exit_code, now)
    log_event(
        connection,
        run_id,
        attempt,
        step,
        status,
        reason or status,
        "error" if status == Status.FAILED else "info",
        now=now,
    )
    return True


def requeue(connection: Connection, run_id: int, now: float, reason: str, *, attempt: int) -> bool:
    """Queue a run again, in its old place: after its attempt died before training started, or to resume it.

    The caller has made sure that no process of `attempt` is left.

    Returns:
        False, with nothing changed, where `attempt` is not the run's last one, or the run is queued, stopping or finished.
    """
    again = update(runs).where(runs.c.id == run_id, runs.c.attempt == attempt, runs.c.status.in_(RESUMABLE))
    values = {"status": Status.QUEUED, "reason": reason, "stage": "", "stop_requested": False, "ended_at": None}
    step = connection.execute(again.values(values).returning(runs.c.step)).scalar_one_or_none()
    if step is None:
        return False
    _close(connection, run_id, attempt, Status.FAILED, reason, None, now)
    log_event(connection, run_id, attempt, step, "requeued", reason, now=now)
    return True


def stale_attempts(connection: Connection, *, host: str, before: float) -> list[StaleAttempt]:
    """The owners of active runs on this host whose last heartbeat is older than `before`, oldest first."""
    columns = (
        runs.c.id,
        attempts.c.number,
        runs.c.status,
        runs.c.folder,
        attempts.c.supervisor_pid,
        attempts.c.supervisor_started,
        attempts.c.trainer_pid,
        attempts.c.trainer_started,
        attempts.c.heartbeat_at,
    )
    statement = (
        select(*columns)
        .join_from(runs, attempts, (attempts.c.run_id == runs.c.id) & (attempts.c.number == runs.c.attempt))
        .where(runs.c.status.in_(ACTIVE), attempts.c.host == host, attempts.c.heartbeat_at < before)
        .order_by(attempts.c.heartbeat_at, runs.c.id)
    )
    return [
        StaleAttempt(run, number, Status(status), *rest) for run, number, status, *rest in connection.execute(statement)
    ]


def _lease(
    connection: Connection, host: str, devices: Sequence[str], run_id: int, attempt: int, now: float
) -> str | None:
    for device in devices:
        row = {"host": host, "device": device, "run_id": run_id, "attempt": attempt, "taken_at": now}
        lease = upsert.insert(connection, leases).values(row).on_conflict_do_nothing().returning(leases.c.device)
        if connection.execute(lease).first():
            return device
    return None


def _of_owner(run_id: int, attempt: int) -> Update:
    """UPDATE of the attempt's row, without effect where the attempt does not own the run."""
    return update(attempts).where(attempts.c.run_id == run_id, attempts.c.number == attempt, owns(run_id, attempt))


def owns(run_id: int, attempt: int) -> ColumnElement[bool]:
    """SQL: the attempt owns the run."""
    return exists().where(runs.c.id == run_id, runs.c.attempt == attempt, runs.c.status.in_(ACTIVE))


def _close(
    connection: Connection, run_id: int, attempt: int, outcome: Status, reason: str, exit_code: int | None, now: float
) -> None:
    key = (attempts.c.run_id == run_id, attempts.c.number == attempt, attempts.c.ended_at.is_(None))
    values = {"ended_at": now, "outcome": outcome, "message": reason, "exit_code": exit_code}
    connection.execute(update(attempts).where(*key).values(values))
    connection.execute(delete(leases).where(leases.c.run_id == run_id))
