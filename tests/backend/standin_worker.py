"""The Celery application of a real worker whose supervisors start the stand-in trainer.

TEST_HOST is the name of the host that it believes to be on, TEST_HOST_GONE after how many seconds a silent host counts as gone.
"""

import os

import standin_supervisor

from backend import reaper, worker
from backend.celery_app import app

worker.SUPERVISOR = standin_supervisor.COMMAND
reaper.HOST_GONE = float(os.environ.get("TEST_HOST_GONE", reaper.HOST_GONE))

__all__ = ["app"]
