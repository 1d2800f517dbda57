"""What a user does to a run: submit it and ask it to stop; and the log of what happened to it.

Every function works in the caller's transaction, opened with `db.engine.writing`; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update

from db import upsert
from db.statuses import Status
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
) -> int:
    """Put a run at the end of the queue and return its id; the experiment is made where it is new.

    `folder` may be given later with `set_folder`, where the id is to be part of it.
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
        )
        .returning(runs.c.id)
    ).scalar_one()
    log_event(connection, run_id, 0, 0, "submitted", f"submitted to experiment {experiment}", now=now)
    return run_id


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
