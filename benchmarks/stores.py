"""One workload on one store, in a process of its own: mtprl's, MLflow's or Trackio's. Prints a JSON list of times.

    python -m benchmarks.stores SYSTEM ADDRESS WORKLOAD

Run with the Python of the environment that has the system; nothing else is imported. What each workload is stands in `WORKLOADS`;
benchmarks.store runs them in turn and says what comes out.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

METRICS = 50
"""Per step, where rows are counted."""
STEPS = 300
"""Stored one by one."""
BATCH_STEPS = {"mtprl": 4_000, "mlflow": 400, "trackio": 4_000}
"""Stored in batches, by system: so many that it takes each a few seconds at most."""
LONG, RUNS, SHORTER = 1_000_000, 20, 100_000
"""Points of the long series; runs that are compared, and the points of each."""
MOST = 1000
"""Points that a chart shows of a series."""
QUERIES = 7

_NAMES = [f"group_{number % 5}/metric_{number:02d}" for number in range(METRICS)]
_ONE = _NAMES[:1]
_EPOCH = 1_700_000_000


def _rows(steps: int, names: Sequence[str], seed: int = 0) -> Iterator[dict[str, float]]:
    """What each step logs."""
    numbers = random.Random(seed)
    for _ in range(steps):
        yield {name: numbers.gauss(0, 1) for name in names}


class Times(NamedTuple):
    """How long something took."""

    seconds: float
    processor: float
    """Seconds of processor time of this process."""


class System(Protocol):
    """A store: every run that is named is a new one, but in `chart`."""

    def one_by_one(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """How long it takes to store steps, each committed before the next."""

    def in_batches(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """How long it takes to store all, as the system does it with most at once."""

    def fill(self, run: str, rows: Iterator[dict[str, float]]) -> None:
        """Store a series to be charted, in whatever way."""

    def chart(self, runs: Sequence[str]) -> Times:
        """How long it takes to read one metric of these runs, at most `MOST` points of each."""


class Mtprl:
    """Stretches of an event file, parsed and stored by db.ingest; charts by db.reads."""

    def __init__(self, address: str):
        from db import engine

        engine.migrate(address)
        self._engine = engine
        self._store = engine.connect(address)

    def _new(self, name: str) -> int:
        from db import claims, runs

        about: dict[str, Any] = {
            "experiment": "benchmark",
            "config": {},
            "regime": "occ",
            "algorithm": "dapo",
            "seed": 0,
        }
        with self._engine.writing(self._store) as connection:
            run = runs.create_run(connection, name=name, total_steps=1, preset=None, folder=name, now=1.0, **about)
            claims.claim_next(connection, host="benchmark", devices=[f"cpu:{run}"], now=1.0)
        return run

    def _carry(self, run: int, data: bytes, most: int) -> None:
        """As a supervisor does: read so many bytes, parse the complete lines, store them with the offset."""
        from db.ingest import ingest
        from trainer.events import parse_lines

        at = 0
        while at < len(data):
            lines = list(parse_lines(data[at : at + most]))
            end = at + sum(length for _, length in lines)
            events = [event for event, _ in lines if event]
            with self._engine.writing(self._store) as connection:
                ingest(connection, run, events, attempt=1, start=at, offset=end, torn_lines=0)
            at = end

    def one_by_one(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """As System says."""
        number, lines = self._new(run), [_event(step, values) for step, values in enumerate(rows)]
        data, longest = b"".join(lines), max(map(len, lines))
        # Every line as long as the longest: each piece of that size is one event.
        data = b"".join(line[:-1].ljust(longest - 1) + b"\n" for line in lines)
        return _timed(lambda: self._carry(number, data, longest))

    def in_batches(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """As System says."""
        number, data = self._new(run), b"".join(_event(step, values) for step, values in enumerate(rows))
        return _timed(lambda: self._carry(number, data, 4 * 2**20))

    def fill(self, run: str, rows: Iterator[dict[str, float]]) -> None:
        """As System says."""
        data = b"".join(_event(step, values) for step, values in enumerate(rows))
        self._carry(self._new(run), data, 4 * 2**20)

    def chart(self, runs: Sequence[str]) -> Times:
        """As System says."""
        from db import reads

        with self._engine.reading(self._store) as connection:
            ids = [reads.find_run(connection, run) for run in runs]

        def read() -> None:
            with self._engine.reading(self._store) as connection:
                assert len(reads.series(connection, ids, _ONE, max_points=MOST)) == len(ids)

        return _timed(read)


def _event(step: int, values: dict[str, float]) -> bytes:
    header = {"type": "metrics", "attempt": 1, "step": step, "mini_batch": -1, "time": float(_EPOCH + step)}
    return (json.dumps({**header, "values": values}, separators=(",", ":")) + "\n").encode()


class Mlflow:
    """The tracking store itself, without a server before it: `log_batch`, which takes at most 1,000 values; charts as its page asks."""

    def __init__(self, address: str):
        from mlflow.entities import Metric
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        self._store, self._metric = SqlAlchemyStore(address, "artifacts"), Metric
        found = self._store.get_experiment_by_name("benchmark")
        self._experiment = found.experiment_id if found else self._store.create_experiment("benchmark")

    def _new(self, name: str) -> str:
        run = self._store.create_run(self._experiment, "benchmark", _EPOCH, [], name)
        return str(run.info.run_id)

    def _entities(self, rows: Sequence[dict[str, float]]) -> list[Any]:
        return [
            self._metric(name, value, 1000 * (_EPOCH + step), step)
            for step, values in enumerate(rows)
            for name, value in values.items()
        ]

    def _log(self, run: str, entities: Sequence[Any], most: int) -> None:
        for begin in range(0, len(entities), most):
            self._store.log_batch(run, entities[begin : begin + most], [], [])

    def one_by_one(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """As System says."""
        number, entities = self._new(run), self._entities(rows)
        return _timed(lambda: self._log(number, entities, METRICS))

    def in_batches(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """As System says."""
        number, entities = self._new(run), self._entities(rows)
        return _timed(lambda: self._log(number, entities, 1000))

    def fill(self, run: str, rows: Iterator[dict[str, float]]) -> None:
        """By SQL, as log_batch would leave it: log_batch itself takes minutes for a million values."""
        from sqlalchemy import text

        number = self._new(run)
        insert = text(
            "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (:key, :value, :timestamp, :run, :step, :nan)"
        )
        values = (
            {
                "key": name,
                "value": value,
                "timestamp": 1000 * (_EPOCH + step),
                "run": number,
                "step": step,
                "nan": False,
            }
            for step, row in enumerate(rows)
            for name, value in row.items()
        )
        with self._store.engine.begin() as connection:
            while some := list(islice(values, 10_000)):
                connection.execute(insert, some)

    def chart(self, runs: Sequence[str]) -> Times:
        """As System says."""
        ids = {run.info.run_name: run.info.run_id for run in self._store.search_runs([self._experiment], "", 1)}
        wanted = [ids[run] for run in runs]

        def read() -> None:
            found = self._store.get_metric_history_bulk_interval(wanted, _ONE[0], MOST, None, None)
            assert len({point.run_id for point in found}) == len(wanted)

        return _timed(read)


class Trackio:
    """Its SQLite storage: `bulk_log`, one JSON row per step; charts as its page asks."""

    def __init__(self, address: str):
        os.environ["TRACKIO_DIR"] = address
        from trackio.sqlite_storage import SQLiteStorage

        self._storage = SQLiteStorage
        self._most = MOST

    def one_by_one(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """As System says."""

        def log() -> None:
            for step, values in enumerate(rows):
                self._storage.bulk_log("benchmark", run, [values], [step])

        return _timed(log)

    def in_batches(self, run: str, rows: Sequence[dict[str, float]]) -> Times:
        """As System says."""
        return _timed(lambda: self._storage.bulk_log("benchmark", run, list(rows), list(range(len(rows)))))

    def fill(self, run: str, rows: Iterator[dict[str, float]]) -> None:
        """As System says."""
        numbered = enumerate(rows)
        while some := list(islice(numbered, 50_000)):
            self._storage.bulk_log("benchmark", run, [values for _, values in some], [step for step, _ in some])

    def chart(self, runs: Sequence[str]) -> Times:
        """As System says."""
        self._most -= 1  # or it answers from memory
        asked = [{"run": run, "run_id": None} for run in runs]

        def read() -> None:
            found = self._storage.get_logs_batch("benchmark", asked, max_points=self._most)
            assert all(each["logs"] for each in found)

        return _timed(read)


def _timed(action: Callable[[], None]) -> Times:
    begun, used = time.perf_counter(), time.process_time()
    action()
    return Times(time.perf_counter() - begun, time.process_time() - used)


SYSTEMS: dict[str, Callable[[str], System]] = {"mtprl": Mtprl, "mlflow": Mlflow, "trackio": Trackio}


def _fill(system: System) -> list[Times]:
    system.fill("long", _rows(LONG, _ONE))
    for number in range(RUNS):
        system.fill(f"of-many-{number}", _rows(SHORTER, _ONE, seed=number))
    return []


def _charts(system: System, runs: Sequence[str]) -> list[Times]:
    return [system.chart(runs) for _ in range(QUERIES)]


WORKLOADS: dict[str, Callable[[System], list[Times]]] = {
    "one_by_one": lambda system: [system.one_by_one(f"steps-{time.time_ns()}", list(_rows(STEPS, _NAMES)))],
    "in_batches": lambda system: [
        system.in_batches(f"batches-{time.time_ns()}", list(_rows(BATCH_STEPS[sys.argv[1]], _NAMES)))
    ],
    "fill": _fill,
    "chart_of_one": lambda system: _charts(system, ["long"]),
    "chart_of_many": lambda system: _charts(system, [f"of-many-{number}" for number in range(RUNS)]),
}


if __name__ == "__main__":
    name, address, workload = sys.argv[1:]
    Path(os.environ.get("TRACKIO_DIR", ".")).mkdir(parents=True, exist_ok=True)
    print(json.dumps(WORKLOADS[workload](SYSTEMS[name](address))))
