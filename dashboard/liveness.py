"""Whether what the store says of a run is still so: a heartbeat that stopped means that nobody can vouch for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend import words
from backend.fleet import WORKER_SILENT
from db.reads import WorkerRow
from db.statuses import ACTIVE, Status

STALE_AFTER = WORKER_SILENT
"""Seconds without a heartbeat after which a run is not shown as alive; the same as for a worker."""

LOST = "lost"


def shown_status(status: str, heartbeat_at: float | None, now: float) -> str:
    """The status to show: `lost` instead of an active one whose supervisor gave no sign of life for STALE_AFTER seconds."""
    return LOST if status in ACTIVE and is_stale(heartbeat_at, now) else str(status)


def note(status: str, reason: str, stage: str, heartbeat_at: float | None, now: float) -> str:
    """A few words below the status: why it ended or waits, what it does now, or since when it is silent."""
    if status in ACTIVE and is_stale(heartbeat_at, now):
        return (
            "no sign of life" if heartbeat_at is None else f"no sign of life for {words.duration(now - heartbeat_at)}"
        )
    return stage.replace("_", " ") if status == Status.RUNNING and stage else reason


def is_stale(heartbeat_at: float | None, now: float) -> bool:
    """No heartbeat within STALE_AFTER seconds."""
    return heartbeat_at is None or now - heartbeat_at > STALE_AFTER


def queue_line(counts: Mapping[Status, int], alive: Sequence[WorkerRow]) -> tuple[str, bool]:
    """The state of queue and workers in one line, and whether it needs the reader's attention."""
    queued, active = counts[Status.QUEUED], sum(counts[status] for status in ACTIVE)
    tail = f"{active} active · {queued} queued"
    drained = sum(worker.draining for worker in alive)
    if alive:
        said = f"{words.plural(len(alive), 'worker')} alive" + (f", {drained} drained" if drained else "")
        return f"{said} · {tail}", drained == len(alive)
    if active or queued:
        return f"No worker is alive: run `mtprl up`, and the {tail.replace(' · ', ' and ')} go on.", True
    return "No worker is alive: run `mtprl up` before launching a run.", True
