"""The workers' own rows: who is there, and since when nobody has heard of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from sqlalchemy import Connection, case, update

from db import upsert
from db.tables import workers


class Gpu(TypedDict):
    """A GPU; memory in bytes, of all processes."""

    name: str
    memory_used: int
    memory_total: int
    busy: float
    """Share of the last moments in which it computed."""


class Load(TypedDict):
    """A host, as one of its workers sees it; sizes in bytes."""

    cores: int
    busy: float
    """Share of the cores' time since the last heartbeat that was used, by whomever."""
    memory_used: int
    memory_total: int
    disk_free: int
    """Of the file system that holds MTPRL_HOME."""
    disk_total: int
    gpus: dict[str, Gpu]
    """By device, such as cuda:0; empty where there are none, or nvidia-ml-py is not installed."""


def worker_heartbeat(
    connection: Connection,
    name: str,
    host: str,
    pid: int,
    devices: Sequence[str],
    now: float,
    load: Load | None = None,
) -> None:
    """Say that the worker is alive; its first call, and the first one of a new process, sets `started_at`."""
    statement = upsert.insert(connection, workers).values(
        name=name, host=host, pid=pid, devices=list(devices), started_at=now, heartbeat_at=now, load=load
    )
    new = statement.excluded
    values = {
        "host": new.host,
        "pid": new.pid,
        "devices": new.devices,
        "started_at": case((workers.c.pid == new.pid, workers.c.started_at), else_=new.started_at),
        "heartbeat_at": new.heartbeat_at,
        "ended_at": None,
        "load": new.load,
    }
    connection.execute(statement.on_conflict_do_update(index_elements=[workers.c.name], set_=values))


def worker_ended(connection: Connection, name: str, now: float) -> None:
    """Say that the worker has shut down in good order."""
    connection.execute(update(workers).where(workers.c.name == name).values(ended_at=now))


def set_draining(connection: Connection, names: Sequence[str], draining: bool) -> None:
    """Let workers take no new run, or let them take runs again. It stays so when they are started again."""
    connection.execute(update(workers).where(workers.c.name.in_(names)).values(draining=draining))
