"""The statuses of a run, and what kinds of runs there are.

queued -> starting -> running -> finished | failed | stopped
   |          |----------`-> stopping -> stopped
   |          `-> queued, after an accident that was not the run's own; as is a run that a user resumes
   `-> stopped
"""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What a run does: it trains a policy, or evaluates one."""

    TRAINING = "training"
    EVALUATION = "evaluation"


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
