"""The store beside MLflow and Trackio, on one machine in one go: what goes in per second, how long a chart takes, how much it weighs.

    python -m benchmarks.store [--rounds 3] [--peers DIR]

The peers get an environment of their own in DIR, made with pip where it is not there. The systems take turns, workload by workload;
the best of the rounds stands in docs/results/store.md, because other work on the machine can only make a time longer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks import postgres
from benchmarks.markdown import NOTHING, table
from benchmarks.stores import BATCH_STEPS, LONG, METRICS, MOST, RUNS, SHORTER, STEPS

RESULTS = Path("docs/results/store.md")
PEERS = Path(".mtprl/benchmarks/peers")
REQUIREMENTS = ("mlflow==3.17.2", "trackio==0.43.0", "psycopg2-binary")
ROWS = ("one_by_one", "in_batches", "per_processor")
CHARTS = ("chart_of_one", "chart_of_many")
AIMS = {
    "mtprl, SQLite": {"in_batches": 250_000, "chart_of_one": 0.020, "chart_of_many": 0.200, "bytes": 40},
    "mtprl, PostgreSQL": {"in_batches": 150_000, "chart_of_one": 0.020, "chart_of_many": 0.200, "bytes": 120},
}

Measured = dict[str, float]
"""By workload: rows/s, seconds of a chart, or bytes per point."""


@dataclass(frozen=True)
class Candidate:
    """A system on a database."""

    name: str
    system: str
    address: str
    python: str
    server: psutil.Process | None = None

    def run(self, workload: str) -> tuple[list[float], float]:
        """Seconds that the workload took each time, in a process of its own; and seconds of processor time, the server's included."""
        command = [self.python, "-m", "benchmarks.stores", self.system, self.address, workload]
        quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "TRACKIO_DIR": self.address}
        before = self._served()
        done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}, {workload}:\n{done.stderr[-4000:]}")
        times: list[tuple[float, float]] = json.loads(done.stdout.splitlines()[-1])
        served = self._served() - before
        return [seconds for seconds, _ in times], sum(processor for _, processor in times) + served

    def _served(self) -> float:
        """Processor time of the server so far, with the connections that have ended: their processes are its children."""
        return sum(self.server.cpu_times()[:4]) if self.server else 0.0

    def size(self) -> int:
        """Bytes of the database."""
        if self.address.startswith("postgresql"):
            with psycopg.connect(re.sub(r"\+\w+", "", self.address, count=1)) as connection:
                row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
                return int(row[0]) if row else 0
        place = Path(self.address.removeprefix("sqlite:///"))
        files = [place] if place.is_file() else list(place.rglob("*.db"))
        for file in files:
            with sqlite3.connect(file) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return sum(file.stat().st_size for file in files)


def measure(candidates: Sequence[Candidate], rounds: int) -> dict[str, Measured]:
    """By candidate: the best of the rounds, in which the candidates take turns."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        for workload, steps in (("one_by_one", dict.fromkeys(BATCH_STEPS, STEPS)), ("in_batches", BATCH_STEPS)):
            for each in _turned(candidates, number):
                rows = METRICS * steps[each.system]
                before = each.size()
                seconds, processor = each.run(workload)
                found[each.name, workload].append(rows / min(seconds))
                if workload == "in_batches":
                    found[each.name, "bytes"].append((each.size() - before) / rows)
                    found[each.name, "per_processor"].append(rows / processor)
                _say(each, workload, found[each.name, workload][-1])
    for each in candidates:
        each.run("fill")
        _say(each, "fill", 0)
    for number in range(rounds):
        for workload in CHARTS:
            for each in _turned(candidates, number):
                found[each.name, workload].append(min(each.run(workload)[0]))
                _say(each, workload, found[each.name, workload][-1])
    measured: dict[str, Measured] = defaultdict(dict)
    for (name, workload), values in found.items():
        measured[name][workload] = max(values) if workload in ROWS else min(values)
    return measured


def _turned(candidates: Sequence[Candidate], by: int) -> Sequence[Candidate]:
    by %= len(candidates)
    return [*candidates[by:], *candidates[:by]]


def _say(each: Candidate, workload: str, value: float) -> None:
    print(f"{each.name}: {workload} {value:,.3f}", file=sys.stderr, flush=True)


def page(measured: Mapping[str, Measured], rounds: int, load: str) -> str:
    """docs/results/store.md."""
    words = {
        "one_by_one": ("rows/s, a commit per step", lambda value: f"{value:,.0f}"),
        "in_batches": ("rows/s, in batches", lambda value: f"{value:,.0f}"),
        "per_processor": ("the same per second of processor time", lambda value: f"{value:,.0f}"),
        "chart_of_one": (f"chart, {LONG:,} points, ms", lambda value: f"{1000 * value:,.1f}"),
        "chart_of_many": (f"chart, {RUNS} x {SHORTER:,}, ms", lambda value: f"{1000 * value:,.0f}"),
        "bytes": ("bytes per point", lambda value: f"{value:,.0f}"),
    }
    head = ["", *(title for title, _ in words.values())]
    rows = [
        [name, *(show(values[workload]) for workload, (_, show) in words.items())] for name, values in measured.items()
    ]
    ratios = [
        [
            f"{name} / {other}",
            *(f"{values[workload] / measured[other][workload]:.2g}" for workload in words),
        ]
        for name, values in measured.items()
        for other in measured
        if name in AIMS and other not in AIMS and name.rpartition(", ")[2] in other
    ]
    aims = [
        [name, words[workload][0], show(aim), show(measured[name][workload]), "yes" if reached else "no"]
        for name, of in AIMS.items()
        if name in measured
        for workload, aim in of.items()
        for show in [words[workload][1]]
        for reached in [measured[name][workload] >= aim if workload in ROWS else measured[name][workload] <= aim]
    ]
    return "\n".join(
        [
            "# The store, measured",
            "",
            f"The best of {rounds} rounds in which the systems take turns, each workload in a process of its own: the machine has other work to",
            f"do, which can only make a time longer; processor time, the database server's included, depends less on it. Rows are values of {METRICS} metrics a step. mtprl's time is that of a supervisor, from the bytes",
            "of the event file to the commit, JSON included; MLflow's is that of its store without a server before it, `log_batch` with 1,000",
            "values where they come in batches; Trackio's is that of `bulk_log`, which writes one JSON row per step (its `log` collects such rows",
            f"in memory and calls it). A chart is one metric, at most {MOST:,} points of each run, by the function that the system's own page",
            "calls, in a process that has drawn it before: mtprl's keeps the smallest, the largest and the first non-finite value of every part;",
            "MLflow's numbers all points in SQL and Trackio's reads all of them, and both keep some at equal distances.",
            "",
            *table(head, rows),
            "",
            "## Ratios",
            "",
            "More is better in the first three columns, less in the others.",
            "",
            *table(head, ratios or [[NOTHING] * len(head)]),
            "",
            "## Aims",
            "",
            *table(["", "what", "aim", "measured", "reached"], aims),
            "",
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(REQUIREMENTS[:2])}; load average {load}",
            "(1, 5, 15 minutes) at the beginning and at the end, this benchmark itself included.",
            "",
            "    python -m benchmarks.store",
            "",
        ]
    )


def peers(folder: Path) -> str:
    """The Python that has the peers."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    return str(python)


def main() -> None:
    """Measure everything and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument("--peers", type=Path, default=PEERS, help="environment of MLflow and Trackio")
    given = parser.parse_args()
    theirs, ours = peers(given.peers), sys.executable
    load = _load()
    with tempfile.TemporaryDirectory() as folder, postgres.server() as server:
        for name in ("mtprl", "mlflow"):
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")
        for name in ("mtprl", "mlflow"):
            sqlite3.connect(f"{folder}/{name}.db").close()
        (Path(folder) / "trackio").mkdir()
        with psycopg.connect(server) as connection:
            serving = psutil.Process(connection.info.backend_pid).parent()
        at = {name: server.replace("/postgres?", f"/{name}?") for name in ("mtprl", "mlflow")}
        candidates = [
            Candidate("mtprl, SQLite", "mtprl", f"sqlite:///{folder}/mtprl.db", ours),
            Candidate("MLflow, SQLite", "mlflow", f"sqlite:///{folder}/mlflow.db", theirs),
            Candidate("Trackio, SQLite", "trackio", f"{folder}/trackio", theirs),
            Candidate(
                "mtprl, PostgreSQL", "mtprl", at["mtprl"].replace("postgresql:", "postgresql+psycopg:"), ours, serving
            ),
            Candidate(
                "MLflow, PostgreSQL", "mlflow", at["mlflow"].replace("postgresql:", "postgresql+psycopg2:"), theirs
            ),
        ]
        measured = measure(candidates, given.rounds)
    text = page(measured, given.rounds, f"{load}; {_load()}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(text)
    print(text)


def _load() -> str:
    return ", ".join(f"{number:.1f}" for number in os.getloadavg())


if __name__ == "__main__":
    main()
