"""How soon is what a run writes to be seen? 20 live runs, each with the real supervisor, and everything that they wrote counted.

    python -m benchmarks.live [--minutes 5] [--runs 20]

Each run is a supervisor process (backend.supervisor) and, in the place of its trainer, a process that plays a recorded run
(benchmarks.replay). One reader asks the store for new values, 20 times a second. Writes docs/results/live.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import psutil
from sqlalchemy import Engine, select

from benchmarks import postgres
from benchmarks.markdown import table
from db import claims, engine, reads
from db.runs import create_run
from db.statuses import ENDED
from db.tables import metric_names, metrics
from trainer.events import EVENTS_FILE, decode_number, parse_lines

RESULTS = Path("docs/results/live.md")
LOOK, WEIGH = 0.05, 5.0
"""Seconds between two looks of the reader at all runs, and between two looks at the memory of the supervisors."""
WARM_UP = 30.0
"""Seconds after which a supervisor's memory should no longer grow."""

Key = tuple[int, int, int, int]


@dataclass
class Seen:
    """What a reader saw: by the key of a row, seconds from writing to being readable; and the supervisors' memory, (seconds, MB)."""

    delays: dict[Key, float] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)


def supervise_replay(run_id: int, seconds: float) -> None:
    """Supervise a recorded run that is played for so long."""
    from backend.supervisor import supervise

    supervise(run_id, 1, program=(sys.executable, "-m", "benchmarks.replay", str(seconds)))


def submit(store: Engine, home: Path, count: int) -> list[int]:
    """Queue and claim so many runs; their ids."""
    ids = []
    for number in range(count):
        folder = home / "runs" / str(number)
        folder.mkdir(parents=True)
        about: dict[str, Any] = {
            "regime": "occ",
            "algorithm": "dapo",
            "seed": number,
            "total_steps": 1000,
            "config": {},
        }
        with engine.writing(store) as connection:
            run_id = create_run(
                connection,
                experiment="live",
                name=f"live-{number}",
                preset=None,
                folder=str(folder),
                now=time.time(),
                **about,
            )
            claims.claim_next(connection, host=socket.gethostname(), devices=[f"cpu:{number}"], now=time.time())
        ids.append(run_id)
    return ids


def measure(url: str, home: Path, runs: int, seconds: float) -> tuple[list[str], bool]:
    """The row of the table for one database, and whether nothing is lost."""
    os.environ |= {
        "MTPRL_HOME": str(home),
        "MTPRL_DATABASE_URL": url,
        "MTPRL_CPU_SLOTS": str(runs),
        "MTPRL_REDIS_URL": "redis://127.0.0.1:1/0",
    }
    engine.migrate(url)
    store = engine.connect(url)
    ids = submit(store, home, runs)
    context = multiprocessing.get_context("spawn")
    supervisors = [context.Process(target=supervise_replay, args=(run_id, seconds)) for run_id in ids]
    for supervisor in supervisors:
        supervisor.start()
    seen = _watch(store, ids, [psutil.Process(supervisor.pid) for supervisor in supervisors])
    for supervisor in supervisors:
        supervisor.join()
    written, stored = _written(home), _stored(store, ids)
    store.dispose()
    delays = sorted(seen.delays.values())
    cuts = quantiles(delays, n=100)
    early = median(mb for at, mb in seen.memory if WARM_UP <= at < WARM_UP + 6 * WEIGH)
    late = median(mb for _, mb in seen.memory[-6:])
    lost = len(written.items() ^ stored.items())
    row = [
        f"{len(written):,}",
        f"{len(delays):,}",
        f"{cuts[49]:.2f}",
        f"{cuts[94]:.2f}",
        f"{cuts[98]:.2f}",
        f"{delays[-1]:.2f}",
        str(lost),
    ]
    return [*row, f"{early:.0f} → {late:.0f}"], lost == 0


def _watch(store: Engine, ids: list[int], supervisors: list[psutil.Process]) -> Seen:
    """Look at the store until all runs have ended."""
    seen, last = Seen(), dict.fromkeys(ids, 0)
    begun = weighed = time.monotonic()
    while True:
        with engine.reading(store) as connection:
            known = connection.execute(select(metric_names.c.id)).scalars().all()
        for run_id in ids:
            # A step's rows come at several moments, and the first of a step beside the last of the one before it.
            new = select(metrics.c.metric_id, metrics.c.step, metrics.c.mini_batch, metrics.c.time).where(
                metrics.c.run_id == run_id, metrics.c.metric_id.in_(known), metrics.c.step >= last[run_id] - 1
            )
            with engine.reading(store) as connection:
                rows = connection.execute(new).all()
            now = time.time()
            for metric_id, step, mini_batch, written in rows:
                seen.delays.setdefault((run_id, metric_id, step, mini_batch), now - written)
                last[run_id] = max(last[run_id], step)
        if time.monotonic() - weighed >= WEIGH:
            weighed = time.monotonic()
            with engine.reading(store) as connection:
                if all(run.status in ENDED for run in reads.list_runs(connection)):
                    return seen
            living = [process.memory_info().rss / 2**20 for process in supervisors if process.is_running()]
            if len(living) == len(supervisors):
                seen.memory.append((weighed - begun, sum(living) / len(living)))
        time.sleep(LOOK)


def _written(home: Path) -> dict[tuple[str, str, int, int], str]:
    """Every value in the event files, by run's folder, metric, step and mini-batch."""
    values = {}
    for path in home.glob(f"runs/*/{EVENTS_FILE}"):
        for event, _ in parse_lines(path.read_bytes()):
            for name, number in (event or {}).get("values", {}).items():
                assert event is not None
                values[str(path.parent), name, event["step"], event["mini_batch"]] = repr(decode_number(number))
    return values


def _stored(store: Engine, ids: list[int]) -> dict[tuple[str, str, int, int], str]:
    values = {}
    with engine.reading(store) as connection:
        for run_id in ids:
            folder = reads.get_run(connection, run_id).folder
            for row in reads.export_rows(connection, run_id):
                values[folder, row.metric, row.step, row.mini_batch] = repr(row.value)
    return values


@contextmanager
def _databases(home: Path) -> Iterator[dict[str, str]]:
    with postgres.server() as server:
        yield {
            "SQLite": f"sqlite:///{home}/mtprl.db",
            "PostgreSQL": server.replace("postgresql://", "postgresql+psycopg://", 1),
        }


HEAD = (
    "database",
    "values written",
    "of them seen",
    "p50, s",
    "p95, s",
    "p99, s",
    "longest, s",
    "lost or changed",
    "MB per supervisor, after 30 s → at the end",
)


def main() -> None:
    """Measure both databases and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the runs write")
    parser.add_argument("--runs", type=int, default=20, help="live runs at once")
    given = parser.parse_args()
    rows, whole = [], True
    with tempfile.TemporaryDirectory() as folder, _databases(Path(folder)) as databases:
        for name, url in databases.items():
            row, kept = measure(url, Path(folder) / name, given.runs, 60 * given.minutes)
            rows.append([name, *row])
            whole &= kept
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    text = [
        "# Live runs, measured",
        "",
        f"{given.runs} live runs for {given.minutes:g} minutes. Each has the real supervisor, a process of its own, and in the place of its",
        "trainer a process that plays the recorded events of an occ run with their pauses, again and again. One reader asks the store for",
        "new values 20 times a second. A delay is from the writing of an event to the moment when the reader had the row; the supervisor",
        "looks into the file every 0.3 s. At the end every value in the event files is compared with the store.",
        "",
        *table(HEAD, rows),
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; load average at the end: {load} (1, 5, 15 minutes).",
        "",
        "    python -m benchmarks.live"
        + (f" --minutes {given.minutes:g}" if given.minutes != 5 else "")
        + (f" --runs {given.runs}" if given.runs != 20 else ""),
        "",
    ]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("\n".join(text))
    print("\n".join(text))
    if not whole:
        sys.exit("values were lost or changed")


if __name__ == "__main__":
    main()
