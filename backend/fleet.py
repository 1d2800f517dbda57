"""The workers of all hosts: which are alive, and letting them take no new runs."""

from __future__ import annotations

import socket
import time

from sqlalchemy import Connection

from backend import store
from db import reads, workers
from db.reads import WorkerRow
from trainer.errors import StoreError

WORKER_SILENT = 20.0
"""Seconds without a heartbeat after which a worker counts as gone."""


def alive(connection: Connection) -> list[WorkerRow]:
    """The workers that have been heard of lately, on any host, drained ones included."""
    since = time.time() - WORKER_SILENT
    return [row for row in reads.workers(connection) if row.ended_at is None and row.heartbeat_at > since]


def drain(name: str | None, draining: bool = True) -> list[str]:
    """Let a worker, or all workers of this host, take no new run, or let them take runs again; what they have goes on.

    Returns:
        The names of the workers.

    Raises:
        StoreError: there is no such worker.
    """
    host = socket.gethostname()
    with store.writing() as connection:
        rows = [row for row in reads.workers(connection) if (row.host if name is None else row.name) == (name or host)]
        names = [row.name for row in rows if name is not None or row.ended_at is None]
        workers.set_draining(connection, names, draining)
    if not names:
        raise StoreError(
            f"{f'there is no worker {name!r}' if name else f'no worker runs on this host ({host})'}; `mtprl workers` lists those that there are"
        )
    return names
