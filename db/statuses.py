"""The statuses of a run.

queued -> starting -> running -> finished | failed | stopped
   |          `----------`-> stopping -> stopped
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
"""An attempt owns the run and holds a device."""

ENDED = frozenset({Status.FINISHED, Status.FAILED, Status.STOPPED})
"""No process is left."""
