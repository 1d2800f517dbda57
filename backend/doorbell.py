"""Celery's side of a worker: hears the doorbell, and begins anew whatever happens to it.

The work is done by the worker's housekeeping thread, which needs no queue. Celery ends the process at what it takes for an
unrecoverable error, such as a message that is no JSON or a Redis that dies at the wrong moment; with it would go the thread.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer


class Doorbell(Consumer):
    """A consumer to which every error is like a lost connection: it is logged, and the connection is made anew."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.connection_errors = (Exception,)
