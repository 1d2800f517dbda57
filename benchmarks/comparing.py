"""What Compare costs to read: 20 runs of 5 metrics and 100,000 steps each, by every axis and as runs or groups.

    python -m benchmarks.comparing [FOLDER]

Prints the seconds of each read and of making its lines, and those of the processor, which other work on the machine does not move: the best
and the worst of five; FOLDER keeps the store for another time.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, insert, literal, select, update

from backend.comparison import axes, lines
from backend.comparison.groups import RUNS, SEEDS, grouped
from backend.comparison.smoothing import Smoothing
from db import claims, engine, ingest, reads, runs, tables
from db.statuses import Status
from db.tables import latest_metrics, metric_extremes, metrics
from trainer.config import parse, resolve
from trainer.presets import presets

RUNS_COMPARED, STEPS, REPEATS = 20, 100_000, 5
METRICS = ("reward/mean", "reward/accuracy", "mtp/coefficient", "mtp/gain", "time/step_seconds")
_PRESETS = ("demo/occ", "demo/detach", "demo/ce", "demo/policy")
_PIECE = 20_000  # steps that are stored at once


def main() -> None:
    """Fill and measure."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{folder / 'mtprl.db'}"
        engine.migrate(url)
        store = engine.connect(url)
        with engine.reading(store) as connection:
            filled = reads.count_runs(connection) == RUNS_COMPARED
        if not filled:
            fill(store)
        for by in (RUNS, SEEDS):
            for axis in axes.AXES:
                for smoothing in (Smoothing(), Smoothing("mean", window=501)):
                    times = [_measured(store, by, axis, smoothing) for _ in range(REPEATS)]
                    said = (f"{min(each):5.2f} to {max(each):5.2f} s" for each in zip(*times, strict=True))
                    print(f"{by:15} {axis:7} smoothing {smoothing.kind:5}", *said, sep="  ", flush=True)
        store.dispose()


def fill(store: Engine) -> None:
    """Store one run as a supervisor does, and as many copies of it, which cost the same to read."""
    with engine.writing(store) as connection:
        ids = [_add(connection, number) for number in range(RUNS_COMPARED)]
        for piece, first in enumerate(range(1, STEPS + 1, _PIECE)):
            events = list(_events(first))
            ingest.ingest(connection, ids[0], events, attempt=1, start=piece, offset=piece + 1, torn_lines=0)
        for table in (metrics, metric_extremes, latest_metrics):
            for run_id in ids[1:]:
                columns = [literal(run_id) if column.name == "run_id" else column for column in table.c]
                connection.execute(
                    insert(table).from_select([*table.c.keys()], select(*columns).where(table.c.run_id == ids[0]))
                )
        connection.execute(update(tables.runs).values(step=STEPS))


def _add(connection: Connection, number: int) -> int:
    preset, seed = _PRESETS[number % len(_PRESETS)], number // len(_PRESETS)
    config = parse(resolve(presets()[preset].values, [f"seed={seed}", f"steps={STEPS}"], {"MTPRL_HOME": "/"}))
    run_id = runs.create_run(
        connection,
        experiment="benchmark",
        name=f"run-{number}",
        config=config.model_dump(mode="json"),
        regime=config.regime.kind,
        algorithm=config.algorithm.kind,
        seed=seed,
        total_steps=STEPS,
        preset=preset,
        folder=f"runs/{number}",
        now=0.0,
    )
    claims.claim_next(connection, host="benchmark", devices=[f"cpu:{number}"], now=0.0)
    claims.finish(
        connection, run_id=run_id, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=float(STEPS)
    )
    return run_id


def _events(first: int) -> Iterator[dict[str, object]]:
    rng = random.Random(first)
    for step in range(first, min(first + _PIECE, STEPS + 1)):
        values = {name: rng.gauss(0, 1) for name in (*METRICS, "rollout/tokens")}
        head = {"type": "metrics", "attempt": 1, "step": step, "mini_batch": -1}
        yield {**head, "time": float(step), "values": values}


def _measured(store: Engine, by: str, axis: str, smoothing: Smoothing) -> tuple[float, float]:
    """As the page does it: the runs, their values, and the lines of each chart."""
    begun, used = time.perf_counter(), time.process_time()
    with engine.reading(store) as connection:
        ids = [run_id for run_id, *_ in reads.matching_runs(connection, limit=RUNS_COMPARED)]
        groups = grouped([reads.get_run(connection, run_id) for run_id in ids], by)
        means = by == SEEDS or smoothing.kind != "none"
        values = lines.read(connection, groups, METRICS, axis=axis, means=means)
    for metric in METRICS:
        assert lines.chart(values, groups, metric, smoothing).raw
    return time.perf_counter() - begun, time.process_time() - used


if __name__ == "__main__":
    main()
