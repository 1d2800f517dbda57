"""The hosts of the queue: their workers, what each device does, and how much of the host is taken."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from backend import waiting
from backend.fleet import WORKER_SILENT
from db import reads
from db.reads import HostRun, LeaseRow, RunRow, WorkerRow
from db.statuses import Status
from db.workers import Gpu, Load

FORGOTTEN = 7 * 86_400.0
"""Seconds of silence after which a worker that did not shut down in good order is no longer shown."""
NEXT = 5
"""Waiting runs that are shown."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a host, and the run that holds it."""

    name: str
    held: LeaseRow | None
    gpu: Gpu | None
    offered: bool
    """Whether a worker that is alive offers it; else it is only known by who holds it."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A host."""

    host: str
    workers: Sequence[WorkerRow]
    """Those that have not shut down in good order."""
    devices: Sequence[Device]
    load: Load | None
    """As the worker said that was heard of last; None where none that is alive does."""
    last: Sequence[HostRun]
    """Its newest attempts, the newest first."""
    alive: bool

    @property
    def free(self) -> int:
        """Devices that no run holds, of workers that take runs."""
        return sum(device.offered and device.held is None for device in self.devices)


@dataclass(frozen=True, slots=True)
class Park:
    """All machines, and what waits for them."""

    machines: Sequence[Machine]
    """Those with a worker that is alive first, then by name."""
    ended: int
    """Workers that have shut down in good order, or are forgotten."""
    next: Sequence[tuple[RunRow, str]]
    """The runs that are served next, and for what each waits."""


def is_alive(worker: WorkerRow, now: float) -> bool:
    """Whether the worker has been heard of lately."""
    return worker.ended_at is None and now - worker.heartbeat_at < WORKER_SILENT


def park(connection: Connection) -> Park:
    """What there is now."""
    now, known, leases = time.time(), reads.workers(connection), reads.leases(connection)
    shown = [worker for worker in known if worker.ended_at is None and now - worker.heartbeat_at < FORGOTTEN]
    hosts = sorted({worker.host for worker in shown} | {lease.host for lease in leases})
    last = reads.last_on_hosts(connection, hosts)
    machines = [
        machine(
            host,
            [worker for worker in shown if worker.host == host],
            [lease for lease in leases if lease.host == host],
            [run for run in last if run.host == host],
            now,
        )
        for host in hosts
    ]
    waits = waiting.reasons(connection)
    rows = reads.list_runs(connection, status=Status.QUEUED, active_first=True, limit=NEXT)
    return Park(
        sorted(machines, key=lambda one: (not one.alive, one.host)),
        len(known) - len(shown),
        [(row, waits.get(row.id, "")) for row in rows],
    )


def machine(
    host: str, workers: Sequence[WorkerRow], leases: Sequence[LeaseRow], last: Sequence[HostRun], now: float
) -> Machine:
    """One host from what the store says of it at the time `now`."""
    alive = [worker for worker in workers if is_alive(worker, now)]
    newest = max(alive, key=lambda worker: worker.heartbeat_at, default=None)
    load = newest.load if newest is not None else None
    gpus = load["gpus"] if load is not None else {}
    held = {lease.device: lease for lease in leases}
    offered = {name for worker in alive if not worker.draining for name in worker.devices}
    names = {name for worker in alive for name in worker.devices} | held.keys()
    devices = [
        Device(name, held.get(name), gpus.get(name), name in offered)
        for name in sorted(names, key=lambda name: (len(name), name))
    ]
    return Machine(host, tuple(workers), tuple(devices), load, tuple(last), bool(alive))
