"""The Celery application of a real worker whose supervisors start the stand-in trainer."""

import standin_supervisor

from backend import worker
from backend.celery_app import app

worker.SUPERVISOR = standin_supervisor.COMMAND

__all__ = ["app"]
