"""Who owns a run: claims, leases of devices, heartbeats and ends.

A run belongs to its last attempt (`runs.attempt`) while its status is active. Claims are made one at a time; everything later is
one UPDATE that names the owner it expects: of two that try at once, one changes the row and the other is told so. A device
belongs to whoever holds its row in `leases`, whose primary key admits one.

Every function works in the caller's transaction, opened with `db.engine.writing`; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Update, and_, case, delete, exists, func, insert, select, text, update

from db import queue
from db.queue import Device, Offer, Turn, Waiting
from db.runs import log_event
from db.statuses import ACTIVE, ENDED, Status
from db.tables import attempts, leases, runs, workers

LOST = "lost"
"""Outcome of an attempt that was ended by an accident which was not the run's own."""

_CLAIM_LOCK = 0x6D747071  # any number that nothing else in the database locks


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that the caller now owns, and the devices that are leased to it."""

    run_id: int
    attempt: int
    devices: tuple[str, ...]
    folder: str


@dataclass(frozen=True, slots=True)
class OwnerRow:
    """The owner of an active run. A process is known by its host, its id and its start time."""

    run_id: int
    attempt: int
    status: Status
    folder: str
    host: str
    supervisor_pid: int | None
    supervisor_started: float | None
    trainer_pid: int | None
    trainer_started: float | None
    heartbeat_at: float


def claim_next(
    connection: Connection,
    *,
    host: str,
    devices: Sequence[str],
    now: float,
    worker: str = "",
    since: float = float("inf"),
    sees: Callable[[Waiting], bool] = lambda run: True,
) -> Claim | None:
    """Take the run that is next for this worker, with as many of its devices as the run asks for; None where there is none.

    Args:
        host: the worker's.
        devices: all devices that it has, taken or not.
        now: the time.
        worker: its name.
        since: other workers that were not heard of after this are not counted on.
        sees: whether the run's folder is to be found on this host.
    """
    _one_at_a_time(connection)
    mine = Offer(worker, host, tuple(devices))
    taken = queue.taken(connection)
    if taken.issuperset(mine.devices) or _is_draining(connection, worker):
        return None
    others = [offer for offer in queue.offers(connection, since) if offer.worker != worker]

    def serves(run: Waiting, offer: Offer) -> bool:
        return offer is not mine or sees(run)

    for turn in queue.turns(queue.queued(connection), [mine, *others], taken, mine, serves):
        if turn.given is mine and (claim := _claim(connection, turn, now)):
            return claim
        taken.update(turn.devices if turn.held is None else turn.held.devices)
        if taken.issuperset(mine.devices):
            break
    return None


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
    outcome: str | None = None,
) -> bool:
    """End the run and free its devices.

    Args:
        outcome: of the attempt, where that is another word than the run's status.

    Returns:
        False, with nothing changed, where the attempt no longer owns the run.
    """
    if status not in ENDED:
        raise ValueError(f"a run cannot end as {status}; expected one of {sorted(ENDED)}")
    ended = update(runs).where(owns_row(run_id, attempt))
    values = {"status": status, "reason": reason, "stage": "", "ended_at": now}
    step = connection.execute(ended.values(values).returning(runs.c.step)).scalar_one_or_none()
    if step is None:
        return False
    _close(connection, run_id, attempt, outcome or status, reason, exit_code, now)
    severity = "error" if status == Status.FAILED else "info"
    log_event(connection, run_id, attempt, step, status, reason or status, severity, now=now)
    return True


def lose(connection: Connection, *, run_id: int, attempt: int, reason: str, now: float) -> Status | None:
    """End an attempt that an accident ended which was not the run's own: its machine, its supervisor, the start of its trainer.

    The run is queued again, in its old place, as long as it has retries left; else it fails. One that was asked to stop is stopped.
    The caller has made sure that no process of the attempt is left, or that nobody can.

    Returns:
        What the run is now; None, with nothing changed, where the attempt no longer owns the run.
    """
    columns = (runs.c.stop_requested, runs.c.retries, runs.c.retried)
    row = connection.execute(select(*columns).where(owns_row(run_id, attempt)).with_for_update()).one_or_none()
    if row is None:
        return None
    if not row.stop_requested and row.retried < row.retries:
        words = f"retry {row.retried + 1} of {row.retries}: {reason}"
        requeue(connection, run_id, now, words, attempt=attempt)
        connection.execute(update(runs).where(runs.c.id == run_id).values(retried=row.retried + 1))
        return Status.QUEUED
    if row.stop_requested:
        status, words = Status.STOPPED, f"stopped by the user; {reason}"
    else:
        often = f"; queued again {row.retried} times before" if row.retried > 1 else "; queued again once before"
        status, words = Status.FAILED, f"lost: {reason}{often if row.retried else ''}"
    finish(
        connection, run_id=run_id, attempt=attempt, status=status, reason=words, exit_code=None, now=now, outcome=LOST
    )
    return status


def requeue(connection: Connection, run_id: int, now: float, reason: str, *, attempt: int) -> bool:
    """Queue an active run again, in its old place. The caller has made sure that no process of `attempt` is left.

    Returns:
        False, with nothing changed, where `attempt` does not own the run, or the run is stopping.
    """
    again = update(runs).where(owns_row(run_id, attempt), runs.c.status != Status.STOPPING)
    values = {"status": Status.QUEUED, "reason": reason, "stage": ""}
    step = connection.execute(again.values(values).returning(runs.c.step)).scalar_one_or_none()
    if step is None:
        return False
    _close(connection, run_id, attempt, LOST, reason, None, now)
    log_event(connection, run_id, attempt, step, "requeued", reason, "warning", now=now)
    return True


def owners(connection: Connection, *, host: str, before: float = float("inf")) -> list[OwnerRow]:
    """The owners of active runs on this host whose last heartbeat is older than `before`, the most silent first."""
    return _owners(connection, attempts.c.host == host, attempts.c.heartbeat_at < before)


def owners_elsewhere(connection: Connection, *, host: str) -> list[tuple[OwnerRow, float]]:
    """The owners of active runs on other hosts, and when a worker of their host was last heard of (0.0: never)."""
    last = dict(
        connection.execute(
            select(workers.c.host, func.max(workers.c.heartbeat_at))
            .where(workers.c.host != host)
            .group_by(workers.c.host)
        )
        .tuples()
        .all()
    )
    return [(owner, last.get(owner.host, 0.0)) for owner in _owners(connection, attempts.c.host != host)]


def active_attempts(connection: Connection, folders: Sequence[str]) -> dict[str, int | None]:
    """By run folder, as far as it is a run's of this store: the attempt that owns the run; None where none does."""
    owner = case((runs.c.status.in_(ACTIVE), runs.c.attempt))
    return dict(connection.execute(select(runs.c.folder, owner).where(runs.c.folder.in_(folders))).tuples().all())


def note_waiting(connection: Connection, run: Waiting, words: str) -> None:
    """Say what keeps a queued run from being taken, beside devices; nothing is written where that is said already."""
    if words not in run.reason:
        waits = (runs.c.id == run.run_id, runs.c.status == Status.QUEUED)
        reason = f"{run.reason}; {words}" if run.reason else words
        connection.execute(update(runs).where(*waits).values(reason=reason))


def _owners(connection: Connection, *which: ColumnElement[bool]) -> list[OwnerRow]:
    columns = (
        runs.c.id,
        attempts.c.number,
        runs.c.status,
        runs.c.folder,
        attempts.c.host,
        attempts.c.supervisor_pid,
        attempts.c.supervisor_started,
        attempts.c.trainer_pid,
        attempts.c.trainer_started,
        attempts.c.heartbeat_at,
    )
    statement = (
        select(*columns)
        .join_from(runs, attempts, (attempts.c.run_id == runs.c.id) & (attempts.c.number == runs.c.attempt))
        .where(runs.c.status.in_(ACTIVE), *which)
        .order_by(attempts.c.heartbeat_at, runs.c.id)
    )
    return [
        OwnerRow(run, number, Status(status), *rest) for run, number, status, *rest in connection.execute(statement)
    ]


def _one_at_a_time(connection: Connection) -> None:
    """Let nobody else claim until this transaction ends; on SQLite it is the only one that writes anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIM_LOCK})


def _is_draining(connection: Connection, worker: str) -> bool:
    return bool(connection.execute(select(workers.c.draining).where(workers.c.name == worker)).scalar_one_or_none())


def _claim(connection: Connection, turn: Turn, now: float) -> Claim | None:
    """Make the run the worker's; None where it was stopped meanwhile."""
    run, number = turn.run, turn.run.attempt + 1
    values = {"status": Status.STARTING, "reason": "", "attempt": number, "stage": "", "ended_at": None}
    claimed = update(runs).where(runs.c.id == run.run_id, runs.c.status == Status.QUEUED).values(values)
    if connection.execute(claimed).rowcount != 1:
        return None
    _lease(connection, turn.devices, run.run_id, number, now)
    host, names = turn.devices[0].host, tuple(device.name for device in turn.devices)
    connection.execute(
        insert(attempts).values(
            run_id=run.run_id,
            number=number,
            host=host,
            devices=list(names),
            cause=run.reason if run.attempt else None,
            heartbeat_at=now,
            started_at=now,
            # The event file is the run's, not the attempt's: the next reader goes on where the last one stopped.
            offset=select(func.coalesce(func.max(attempts.c.offset), 0))
            .where(attempts.c.run_id == run.run_id)
            .scalar_subquery(),
        )
    )
    log_event(connection, run.run_id, number, run.step, "claimed", f"claimed by {host} on {', '.join(names)}", now=now)
    return Claim(run.run_id, number, names, run.folder)


def _lease(connection: Connection, devices: Sequence[Device], run_id: int, attempt: int, now: float) -> None:
    # No ON CONFLICT: claims are made one at a time, so a device that is taken after all is a mistake and must be an error.
    row = {"run_id": run_id, "attempt": attempt, "taken_at": now}
    connection.execute(insert(leases), [{"host": device.host, "device": device.name, **row} for device in devices])


def _of_owner(run_id: int, attempt: int) -> Update:
    """UPDATE of the attempt's row, without effect where the attempt does not own the run."""
    return update(attempts).where(attempts.c.run_id == run_id, attempts.c.number == attempt, owns(run_id, attempt))


def owns(run_id: int, attempt: int) -> ColumnElement[bool]:
    """SQL: the attempt owns the run."""
    return exists().where(owns_row(run_id, attempt))


def owns_row(run_id: int, attempt: int) -> ColumnElement[bool]:
    """SQL, of the run's own row: the attempt owns it."""
    return and_(runs.c.id == run_id, runs.c.attempt == attempt, runs.c.status.in_(ACTIVE))


def _close(
    connection: Connection, run_id: int, attempt: int, outcome: str, reason: str, exit_code: int | None, now: float
) -> None:
    key = (attempts.c.run_id == run_id, attempts.c.number == attempt, attempts.c.ended_at.is_(None))
    values = {"ended_at": now, "outcome": outcome, "message": reason, "exit_code": exit_code}
    connection.execute(update(attempts).where(*key).values(values))
    connection.execute(delete(leases).where(leases.c.run_id == run_id))
