"""The statuses of a run.

queued -> starting -> running -> finished | failed | stopped
   |          |----------`-> stopping -> stopped
   |          `-> queued, after an accident that was not the run's own; as is a run that a user resumes
   `-> stopped
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a run is doing. A member equals its own text, as it stands in the store."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


ACTIVE = frozenset({Status.STARTING, Status.RUNNING, Status.STOPPING})
"""An attempt owns the run and holds its devices."""

ENDED = frozenset({Status.FINISHED, Status.FAILED, Status.STOPPED})
"""No process is left."""
