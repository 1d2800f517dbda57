"""Which trials there are: kinds of faults, and for each trial what the seed draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, cycle, islice
from random import Random
from typing import Any

STAND_IN, REAL = "stand-in", "real"
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"

QUEUED, STARTING, RUNNING, SAVING, ENDING, STOPPING = "queued", "starting", "running", "saving", "ending", "stopping"
ALL_PHASES = (QUEUED, STARTING, RUNNING, SAVING, ENDING)


@dataclass(frozen=True)
class Fault:
    """One kind of fault and how often it is tried."""

    name: str
    stand_in: int
    real: int
    phases: Sequence[str] = ALL_PHASES
    databases: Sequence[str] = (SQLITE, POSTGRESQL)


WORKER, PARENT, RESTARTED = "kill -9 worker", "kill -9 `mtprl worker`, not its child", "SIGTERM worker, restarted"
SUPERVISOR, TRAINER, PAIR = "kill -9 supervisor", "kill -9 trainer", "kill -9 supervisor and trainer"
DASHBOARD, REDIS, POSTGRES = "kill -9 dashboard", "kill -9 Redis", "kill -9 PostgreSQL"
EVERYTHING = "kill -9 everything"
DOWN = "database down 60 s"
EVENTS_FULL, CHECKPOINT_FULL = "disk full for events", "disk full for a checkpoint"
SIGTERM_SAVING = "SIGTERM while a checkpoint is written"

FAULTS = (
    Fault(WORKER, 6, 2),
    Fault(PARENT, 0, 2, phases=(RUNNING, STARTING)),
    Fault(RESTARTED, 4, 2, phases=(RUNNING, SAVING)),
    Fault(SUPERVISOR, 8, 2, phases=(STARTING, RUNNING, SAVING, ENDING, STOPPING)),
    Fault(TRAINER, 6, 2, phases=(STARTING, RUNNING, SAVING, ENDING)),
    Fault(PAIR, 6, 2, phases=(STARTING, RUNNING, SAVING, ENDING, STOPPING)),
    Fault(DASHBOARD, 2, 0, phases=(RUNNING,)),
    Fault(REDIS, 5, 0),
    Fault(POSTGRES, 8, 2, phases=(*ALL_PHASES, STOPPING), databases=(POSTGRESQL,)),
    Fault(EVERYTHING, 9, 3, phases=(*ALL_PHASES, STOPPING)),
    Fault(DOWN, 4, 0, phases=(RUNNING,)),
    Fault(EVENTS_FULL, 2, 1, phases=(RUNNING,)),
    Fault(CHECKPOINT_FULL, 2, 2, phases=(RUNNING,)),
    Fault(SIGTERM_SAVING, 2, 2, phases=(SAVING,)),
)


@dataclass(frozen=True)
class Trial:
    """One trial; what else it needs to choose it draws from `seed`."""

    number: int
    fault: str
    phase: str
    trainer: str
    database: str
    runs: int
    """Runs at once; there are two slots for them."""
    seed: int

    @property
    def dashboard(self) -> bool:
        """Whether a dashboard is served; it takes as long to start as everything else together."""
        return self.fault == DASHBOARD or (self.fault == EVERYTHING and self.seed % 2 == 0)

    def as_json(self) -> dict[str, Any]:
        """For `Trial(**...)`."""
        return asdict(self)


def trials(seed: int) -> list[Trial]:
    """All trials, in an order that spreads the kinds, so that a part of them already says something of all."""
    draw = Random(f"faults {seed}")
    found: list[tuple[str, str, str, str, int]] = []
    for fault in FAULTS:
        for trainer, number in ((STAND_IN, fault.stand_in), (REAL, fault.real)):
            phases = draw.sample(fault.phases, len(fault.phases))
            databases = draw.sample(fault.databases, len(fault.databases))
            for phase, database in islice(zip(cycle(phases), _turns(databases, len(phases)), strict=False), number):
                most = 2 if trainer == REAL else 3  # real ones take a core each
                found.append((fault.name, phase, trainer, database, draw.randint(1, most)))
    draw.shuffle(found)
    return [Trial(number, *one, seed=draw.randrange(2**32)) for number, one in enumerate(found, start=1)]


def _turns(databases: Sequence[str], phases: int) -> Iterator[str]:
    """The databases in turn, so that a phase that comes again meets another one."""
    shift = int(phases % len(databases) == 0)
    return (databases[(index + shift * (index // phases)) % len(databases)] for index in count())
