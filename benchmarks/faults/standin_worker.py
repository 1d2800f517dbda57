"""The Celery application of a real worker whose supervisors start the stand-in trainer."""

from __future__ import annotations

from backend import worker
from backend.celery_app import app
from benchmarks.faults import standin_supervisor

worker.SUPERVISOR = standin_supervisor.COMMAND

__all__ = ["app"]
