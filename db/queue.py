"""The queue: which run is next, on which worker, and for what the others wait.

Runs are served by priority, then by arrival. A run is given all its devices at once, from one worker. Where no worker has as
many free, it holds the worker where most of them are: nothing that stands behind it starts there until it has. So a run that
needs many devices is passed by others only on workers that it does not wait for, and those that train there end one day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, UnaryExpression, select

from db.statuses import Status
from db.tables import leases, runs, workers

LONGEST = 1000
"""Runs that are looked at: those further behind wait for them anyway."""


class Device(NamedTuple):
    """A device of the queue's hosts."""

    host: str
    name: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queued run, as far as the queue is concerned."""

    run_id: int
    attempt: int
    """The last one; 0 before the first."""
    step: int
    devices: int
    folder: str
    reason: str
    """Why it is queued again, or what keeps it waiting beside devices; "" where nothing does."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What one worker has to give, taken or not."""

    worker: str
    host: str
    names: tuple[str, ...]

    @property
    def devices(self) -> list[Device]:
        """Its devices, by the names that the whole queue knows."""
        return [Device(self.host, name) for name in self.names]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the queue has for one run now."""

    run: Waiting
    place: int
    """1 for the next one."""
    given: Offer | None
    """The worker that has devices for it now."""
    devices: tuple[Device, ...]
    """Those devices, as many as it asks for; none where `given` is None."""
    held: Offer | None
    """The worker that it waits for, and that nothing behind it gets; None where runs before it hold all that could serve it."""
    free: int
    """How many of that worker's devices are free."""


def turns(
    queue: Sequence[Waiting],
    offers: Sequence[Offer],
    taken: AbstractSet[Device],
    preferred: Offer | None = None,
    serves: Callable[[Waiting, Offer], bool] = lambda run, offer: True,
) -> Iterator[Turn]:
    """Go through the queue and yield what each run gets or waits for.

    Args:
        queue: in the order of service.
        offers: of the workers that take runs.
        taken: devices that are leased.
        preferred: where several workers have devices for a run, it gets this one's.
        serves: whether a worker could serve the run at all, apart from the number of its devices.
    """
    gone = set(taken)
    held: list[Offer] = []

    def free(offer: Offer) -> list[Device]:
        return [device for device in offer.devices if device not in gone]

    for place, run in enumerate(queue, 1):
        able = [
            offer for offer in offers if len(offer.names) >= run.devices and offer not in held and serves(run, offer)
        ]
        best = max(able, key=lambda offer: (len(free(offer)), offer.worker), default=None)
        if preferred in able and len(free(preferred)) >= run.devices:
            best = preferred
        if best is None:
            yield Turn(run, place, None, (), None, 0)
            continue
        there = free(best)
        if len(there) >= run.devices:
            devices = tuple(there[: run.devices])
            gone.update(devices)
            yield Turn(run, place, best, devices, None, len(there))
        else:
            held.append(best)
            gone.update(there)
            yield Turn(run, place, None, (), best, len(there))


def queued(connection: Connection, limit: int = LONGEST) -> list[Waiting]:
    """The runs that wait, in the order of service."""
    columns = (runs.c.id, runs.c.attempt, runs.c.step, runs.c.devices, runs.c.folder, runs.c.reason)
    statement = select(*columns).where(runs.c.status == Status.QUEUED).order_by(*order()).limit(limit)
    return [Waiting(*row) for row in connection.execute(statement)]


def order() -> tuple[UnaryExpression, ColumnElement, ColumnElement]:
    """SQL: the order of service, the next run first."""
    return runs.c.priority.desc(), runs.c.queued_at, runs.c.id


def offers(connection: Connection, since: float) -> list[Offer]:
    """What the workers have to give that were heard of after `since` and are not drained, by name."""
    alive = (workers.c.ended_at.is_(None), workers.c.heartbeat_at > since, ~workers.c.draining)
    statement = select(workers.c.name, workers.c.host, workers.c.devices).where(*alive).order_by(workers.c.name)
    return [Offer(name, host, tuple(names)) for name, host, names in connection.execute(statement)]


def taken(connection: Connection) -> set[Device]:
    """The devices that are leased."""
    return {Device(*row) for row in connection.execute(select(leases.c.host, leases.c.device))}
