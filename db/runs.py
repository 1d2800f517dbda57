"""What a user does to a run: submit it, ask it to stop and let it go on; and the log of what happened to it.

Every function works in the caller's transaction, opened with `db.engine.writing`; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from db import upsert
from db.statuses import ENDED, Kind, Status
from db.tables import experiments, run_events, runs
from trainer.errors import StoreError


def create_run(
    connection: Connection,
    *,
    experiment: str,
    name: str,
    config: Mapping[str, Any],
    regime: str,
    algorithm: str,
    seed: int,
    total_steps: int,
    preset: str | None,
    folder: str,
    now: float,
    devices: int = 1,
    priority: int = 0,
    retries: int = 0,
    cloned_from: int | None = None,
    difference: Sequence[tuple[str, Any, Any]] | None = None,
    kind: Kind = Kind.TRAINING,
    evaluates: int | None = None,
    evaluates_step: int | None = None,
) -> int:
    """Put a run at the end of the queue and return its id; the experiment is made where it is new.

    `folder` may be given later with `set_folder`, where the id is to be part of it. `difference` is (field, there, here) for
    each setting in which it differs from the run that it is cloned from. `evaluates` is the run whose policy after `evaluates_step` an
    evaluation is about.
    """
    connection.execute(
        upsert.insert(connection, experiments).values(name=experiment, created_at=now).on_conflict_do_nothing()
    )
    experiment_id = connection.execute(select(experiments.c.id).where(experiments.c.name == experiment)).scalar_one()
    run_id = connection.execute(
        insert(runs)
        .values(
            experiment_id=experiment_id,
            name=name,
            config=dict(config),
            regime=regime,
            algorithm=algorithm,
            seed=seed,
            total_steps=total_steps,
            preset=preset,
            folder=folder,
            status=Status.QUEUED,
            created_at=now,
            queued_at=now,
            devices=devices,
            priority=priority,
            retries=retries,
            cloned_from=cloned_from,
            difference=None if difference is None else [list(change) for change in difference],
            kind=kind,
            evaluates=evaluates,
            evaluates_step=evaluates_step,
        )
        .returning(runs.c.id)
    ).scalar_one()
    cloned = f", cloned from run {cloned_from}" if cloned_from is not None else ""
    log_event(connection, run_id, 0, 0, "submitted", f"submitted to experiment {experiment}{cloned}", now=now)
    return run_id


def resume(
    connection: Connection,
    run_id: int,
    *,
    attempt: int,
    config: Mapping[str, Any],
    total_steps: int,
    devices: int,
    priority: int,
    retries: int,
    reason: str,
    now: float,
) -> bool:
    """Put a run that has ended at the end of the queue again, as the same run with another attempt to come.

    Returns:
        False, with nothing changed, where it has not ended, or `attempt` is not its last one.
    """
    ended = update(runs).where(runs.c.id == run_id, runs.c.attempt == attempt, runs.c.status.in_(ENDED))
    values = {
        "status": Status.QUEUED,
        "reason": reason,
        "stop_requested": False,
        "ended_at": None,
        "config": dict(config),
        "total_steps": total_steps,
        "devices": devices,
        "priority": priority,
        "retries": retries,
        "retried": 0,
        "queued_at": now,
        "archived_at": None,
    }
    step = connection.execute(ended.values(values).returning(runs.c.step)).scalar_one_or_none()
    if step is None:
        return False
    log_event(connection, run_id, attempt, step, "resumed", reason, now=now)
    return True


def set_folder(connection: Connection, run_id: int, folder: str) -> None:
    """Say where the run's folder is."""
    connection.execute(update(runs).where(runs.c.id == run_id).values(folder=folder))


def request_stop(connection: Connection, run_id: int, now: float) -> Status:
    """Ask a run to stop and return its status afterwards.

    A queued run is stopped at once. A starting or running one becomes stopping; its supervisor sees that and ends it. One
    that is stopping or has ended stays as it is.

    Raises:
        StoreError: there is no such run.
    """
    run = runs.c.id == run_id
    queued = update(runs).where(run, runs.c.status == Status.QUEUED)
    owned = update(runs).where(run, runs.c.status.in_([Status.STARTING, Status.RUNNING]))
    reason = "stopped before it started"
    if connection.execute(
        queued.values(status=Status.STOPPED, reason=reason, stop_requested=True, ended_at=now)
    ).rowcount:
        _log_stop(connection, run_id, reason, now)
    elif connection.execute(owned.values(status=Status.STOPPING, stop_requested=True)).rowcount:
        _log_stop(connection, run_id, "asked to stop", now)
    status = connection.execute(select(runs.c.status).where(run)).scalar_one_or_none()
    if status is None:
        raise StoreError(f"run {run_id} does not exist; `mtprl runs` lists those that do")
    return Status(status)


def log_event(
    connection: Connection,
    run_id: int,
    attempt: int,
    step: int,
    type: str,
    message: str,
    severity: str = "info",
    *,
    now: float,
) -> None:
    """Add a line to the run's history. `severity` is info, warning or error; `message` is for the user."""
    row = {
        "run_id": run_id,
        "attempt": attempt,
        "step": step,
        "type": type,
        "message": message,
        "severity": severity,
        "time": now,
    }
    connection.execute(insert(run_events), row)


def _log_stop(connection: Connection, run_id: int, message: str, now: float) -> None:
    attempt, step = connection.execute(select(runs.c.attempt, runs.c.step).where(runs.c.id == run_id)).one()
    log_event(connection, run_id, attempt, step, "stop_requested", message, now=now)
