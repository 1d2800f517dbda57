"""What the list of runs costs to read, with few runs in the store and with many.

    python -m benchmarks.lists [--runs 1000,10000] [--url URL]

Every run has the configuration of a preset, 60 metrics with a latest value each, 12 steps of its coefficient and, one in five, a tag. A look is what the
page reads every two seconds: one page of 50 runs with their numbers, the alarms that are on, why runs wait, and the counts. Printed are the
median and the slowest of several looks.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, insert

from backend import waiting
from db import reads, tables
from db.engine import connect, migrate, reading, writing
from db.reads import RunFilters
from db.reads.runs import HEADLINES
from db.statuses import Status
from trainer.config import parse, resolve
from trainer.presets import presets

PAGE = 50
_LOOKS = 15
_METRICS = 60
_STEPS = 12


def fill(connection: Connection, count: int) -> None:
    """Add runs: nearly all have ended, 20 run, 30 wait."""
    config = parse(resolve(presets()["demo/occ-calibrated"].values, [], {"MTPRL_HOME": "/home"})).model_dump(
        mode="json"
    )
    first = _first(connection)
    if first == 1:
        connection.execute(
            insert(tables.experiments), [{"name": f"experiment-{n}", "created_at": 1.0} for n in range(20)]
        )
        names = [
            "mtp/coefficient",
            *HEADLINES,
            *(f"group/metric_{number}" for number in range(_METRICS - 1 - len(HEADLINES))),
        ]
        connection.execute(insert(tables.metric_names), [{"name": name} for name in names])
    numbers = range(first, first + count)
    now = time.time()
    connection.execute(insert(tables.runs), [_run(number, first + count - number, config, now) for number in numbers])
    connection.execute(
        insert(tables.attempts), [_attempt(number, now) for number in numbers if first + count - number > 30]
    )
    connection.execute(
        insert(tables.run_tags), [{"run_id": number, "tag": "baseline"} for number in numbers if number % 5 == 0]
    )
    value = {"attempt": 1, "value": 0.5, "code": 0, "time": now}
    for start in range(first, first + count, 500):
        some = range(start, min(start + 500, first + count))
        connection.execute(
            insert(tables.latest_metrics),
            [
                {"run_id": run, "metric_id": metric, "step": _STEPS, "mini_batch": -1, **value}
                for run in some
                for metric in range(1, _METRICS + 1)
            ],
        )
        connection.execute(
            insert(tables.metrics),
            [
                {"run_id": run, "metric_id": 1, "step": step, "mini_batch": -1, **value}
                for run in some
                for step in range(1, _STEPS + 1)
            ],
        )
        connection.execute(
            insert(tables.run_events),
            [
                {
                    "run_id": run,
                    "attempt": 1,
                    "step": step,
                    "time": now,
                    "type": type,
                    "severity": "info",
                    "message": "checkpoints/step",
                }
                for run in some
                for step, type in enumerate(["submitted", "claimed", "attempt_started", *["checkpoint"] * 9, "ended"])
            ],
        )


def looks() -> dict[str, RunFilters]:
    """What is looked for, by its name."""
    return {
        "all": {"archived": False},
        "failed": {"archived": False, "status": Status.FAILED},
        "an experiment": {"archived": False, "experiment": "experiment-3"},
        "a tag": {"archived": False, "tags": ["baseline"]},
        "a text": {"archived": False, "text": "seed77"},
    }


def look(connection: Connection, filters: RunFilters, offset: int) -> None:
    """What the page reads at once."""
    rows = reads.list_runs(connection, limit=PAGE, offset=offset, active_first=True, **filters)
    reads.count_runs(connection, **filters)
    reads.alarms_on(connection, [row.id for row in rows])
    reads.status_counts(connection)
    reads.workers(connection)
    waiting.reasons(connection)


def main() -> None:
    """Fill, look, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="1000,10000")
    parser.add_argument("--url")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{Path(folder) / 'mtprl.db'}"
        migrate(url)
        engine = connect(url)
        print("| runs | look | ms, median | slowest |\n| ---: | --- | ---: | ---: |")
        for count in map(int, arguments.runs.split(",")):
            with writing(engine) as connection:
                fill(connection, count - _first(connection) + 1)
            for name, filters in looks().items():
                with reading(engine) as connection:
                    pages = max(reads.count_runs(connection, **filters) // PAGE, 1)
                for place, offset in {"first page": 0, "last page": (pages - 1) * PAGE}.items():
                    times = [_seconds(engine, filters, offset) for _ in range(_LOOKS)]
                    print(
                        f"| {count:,} | {name}, {place} | {1000 * statistics.median(times):.1f} | {1000 * max(times):.1f} |"
                    )
        engine.dispose()


def _seconds(engine: Engine, filters: RunFilters, offset: int) -> float:
    with reading(engine) as connection:
        begun = time.perf_counter()
        look(connection, filters, offset)
        return time.perf_counter() - begun


def _first(connection: Connection) -> int:
    return sum(reads.status_counts(connection).values()) + 1


def _run(number: int, from_end: int, config: dict[str, Any], now: float) -> dict[str, Any]:
    ended = (Status.FINISHED, Status.FINISHED, Status.FAILED, Status.STOPPED)[number % 4]
    status = Status.QUEUED if from_end <= 30 else Status.RUNNING if from_end <= 50 else ended
    return {
        "experiment_id": number % 20 + 1,
        "name": f"occ-dapo-seed{number}",
        "config": config,
        "regime": ("occ", "detach", "ce", "policy")[number % 4],
        "algorithm": "dapo",
        "seed": number,
        "total_steps": 200,
        "preset": "demo/occ-calibrated",
        "folder": f"/home/runs/{number:05d}",
        "status": status,
        "reason": "all steps are done",
        "queued_at": now,
        "attempt": int(status != Status.QUEUED),
        "step": _STEPS,
        "created_at": now,
        "archived_at": now if number % 10 == 9 and status in (Status.FAILED, Status.STOPPED) else None,
    }


def _attempt(number: int, now: float) -> dict[str, Any]:
    return {
        "run_id": number,
        "number": 1,
        "host": f"host-{number % 4}",
        "heartbeat_at": now,
        "offset": 0,
        "started_at": now - 60,
    }


if __name__ == "__main__":
    main()
