"""The store beside MLflow and Trackio, on one machine in one go: what goes in per second, how long a chart takes, how much it weighs.

    python -m benchmarks.store [--rounds 3] [--peers DIR]

The peers get an environment of their own in DIR, made with pip where it is not there. The systems take turns, workload by workload;
medians over the rounds stand in docs/results/store.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import venv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from benchmarks import postgres
from benchmarks.markdown import NOTHING, table
from benchmarks.stores import BATCH_STEPS, LONG, METRICS, MOST, RUNS, SHORTER, STEPS

RESULTS = Path("docs/results/store.md")
PEERS = Path(".mtprl/benchmarks/peers")
REQUIREMENTS = ("mlflow==3.17.2", "trackio==0.43.0", "psycopg2-binary")
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

    def run(self, workload: str) -> list[float]:
        """Seconds that the workload took, in a process of its own."""
        command = [self.python, "-m", "benchmarks.stores", self.system, self.address, workload]
        quiet = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "TRACKIO_DIR": self.address}
        done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}, {workload}:\n{done.stderr[-4000:]}")
        seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
        return seconds

    def size(self) -> int:
        """Bytes of the database."""
        if self.address.startswith("postgresql"):
            with psycopg.connect(self.address.replace("+psycopg", "")) as connection:
                row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
                return int(row[0]) if row else 0
        place = Path(self.address.removeprefix("sqlite:///"))
        files = [place] if place.is_file() else list(place.rglob("*.db"))
        for file in files:
            with sqlite3.connect(file) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return sum(file.stat().st_size for file in files)


def measure(candidates: Sequence[Candidate], rounds: int) -> dict[str, Measured]:
    """By candidate: medians over the rounds, the candidates taking turns."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(rounds):
        for workload, rows in (("one_by_one", STEPS * METRICS), ("in_batches", BATCH_STEPS * METRICS)):
            for each in _turned(candidates, number):
                before = each.size()
                found[each.name, workload] += [rows / seconds for seconds in each.run(workload)]
                if workload == "in_batches":
                    found[each.name, "bytes"].append((each.size() - before) / rows)
                _say(each, workload, found[each.name, workload][-1])
    for each in candidates:
        each.run("fill")
        _say(each, "fill", 0)
    for number in range(rounds):
        for workload in CHARTS:
            for each in _turned(candidates, number):
                found[each.name, workload].append(median(each.run(workload)))
                _say(each, workload, found[each.name, workload][-1])
    measured: dict[str, Measured] = defaultdict(dict)
    for (name, workload), values in found.items():
        measured[name][workload] = median(values)
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
        for reached in [
            measured[name][workload] >= aim if workload == "in_batches" else measured[name][workload] <= aim
        ]
    ]
    return "\n".join(
        [
            "# The store, measured",
            "",
            f"Medians over {rounds} rounds in which the systems take turns, each workload in a process of its own. Rows are values of",
            f"{METRICS} metrics a step: {STEPS} steps one by one, {BATCH_STEPS:,} in batches. mtprl's time is that of a supervisor, from the bytes",
            "of the event file to the commit, JSON included; MLflow's is that of its store without a server before it, `log_batch` with 1,000",
            "values where they come in batches; Trackio's is that of `bulk_log`, which writes one JSON row per step (its `log` collects such rows",
            f"in memory and calls it). A chart is one metric, at most {MOST:,} points of each run, by the function that the system's own page",
            "calls: mtprl's keeps the smallest, the largest and the first non-finite value of every part; MLflow's takes every so many-th",
            "point, and so does Trackio's.",
            "",
            *table(head, rows),
            "",
            "## Ratios",
            "",
            "More is better in the first two columns, less in the others.",
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
        at = {name: server.replace("/postgres?", f"/{name}?") for name in ("mtprl", "mlflow")}
        candidates = [
            Candidate("mtprl, SQLite", "mtprl", f"sqlite:///{folder}/mtprl.db", ours),
            Candidate("MLflow, SQLite", "mlflow", f"sqlite:///{folder}/mlflow.db", theirs),
            Candidate("Trackio, SQLite", "trackio", f"{folder}/trackio", theirs),
            Candidate("mtprl, PostgreSQL", "mtprl", at["mtprl"].replace("postgresql:", "postgresql+psycopg:"), ours),
            Candidate("MLflow, PostgreSQL", "mlflow", at["mlflow"], theirs),
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
