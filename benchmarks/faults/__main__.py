"""python -m benchmarks.faults: makes the trials that have no result yet, then writes the table."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.faults import report, servers
from benchmarks.faults.plan import FAULTS, Trial, trials

OUT = Path(".mtprl/benchmarks/faults")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="draws trials and moments")
    parser.add_argument("--lanes", type=int, default=2, help="trials at a time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no trial after this time")
    parser.add_argument("--only", nargs="*", default=[], help="numbers of trials, or words in the name of a fault")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of results, base model and database template")
    parser.add_argument("--again", action="store_true", help="make the chosen trials again that have a result")
    parser.add_argument("--report", action="store_true", help="only write the table")
    given = parser.parse_args(arguments)
    wanted = [trial for trial in trials(given.seed) if not given.only or any(_is(trial, one) for one in given.only)]
    if not wanted:
        parser.error(
            f"--only {' '.join(given.only)} names no trial; the faults are: {'; '.join(f.name for f in FAULTS)}"
        )
    if not given.report:
        results = Results(given.out / f"seed-{given.seed}.jsonl")
        make_base(given.out)
        servers.template(given.out.resolve() / "postgres")
        todo = wanted if given.again else [trial for trial in wanted if trial.number not in results.rows]
        run_all(todo, given.out, given.lanes, given.seconds, results)
    print(report.write(Results(given.out / f"seed-{given.seed}.jsonl").rows, given.seed, len(trials(given.seed))))


def _is(trial: Trial, word: str) -> bool:
    return word == str(trial.number) or (not word.isdecimal() and word.lower() in trial.fault.lower())


class Results:
    """A line per trial; the last one of a number counts."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[int, dict[str, Any]] = {row["number"]: row for row in map(json.loads, lines)}

    def add(self, row: dict[str, Any]) -> None:
        """Keep a result."""
        with self._lock:
            self.rows[row["number"]] = row
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def make_base(out: Path) -> None:
    """Make an untrained base model and its data, unless they are there."""
    import torch

    from trainer.models.demo_base import character_tokenizer, model_folder, new_model
    from trainer.models.storage import save_joint
    from trainer.tasks.addition import draw_pairs, write_problems

    home = out.resolve() / "base"
    if not (home / "data").exists():
        torch.manual_seed(0)
        save_joint(new_model(), character_tokenizer(), model_folder(home))
        pairs = draw_pairs(80, 0)
        write_problems(home / "data" / "addition" / "train.jsonl", pairs[:70])
        write_problems(home / "data" / "addition" / "test.jsonl", pairs[70:])


def run_all(todo: Sequence[Trial], out: Path, lanes: int, seconds: float, results: Results) -> None:
    """Make trials, several at a time, each in a process of its own; Ctrl-C and SIGTERM end those that are being made."""
    begun, made = time.monotonic(), 0
    living: set[subprocess.Popen[str]] = set()
    commit = _commit()
    ending = threading.Event()

    def make(trial: Trial) -> None:
        nonlocal made
        if ending.is_set() or time.monotonic() - begun > seconds:
            return
        command = [sys.executable, "-m", "benchmarks.faults.trial", json.dumps(trial.as_json()), str(out.resolve())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            living.add(process)
            output, _ = process.communicate()
            living.discard(process)
        if process.returncode or ending.is_set():
            print(f"trial {trial.number} was broken off (exit code {process.returncode})", flush=True)
            return
        row = {**json.loads(output.splitlines()[-1]), "commit": commit}
        results.add(row)
        made += 1
        left = (time.monotonic() - begun) / made * (len(todo) - made) / 60
        print(f"{made}/{len(todo)} {_line(row)}; about {left:.0f} min left", flush=True)

    def end(*_: object) -> None:
        ending.set()
        for process in list(living):
            process.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with ThreadPoolExecutor(lanes) as lane:
        list(lane.map(make, todo))


def _line(row: dict[str, Any]) -> str:
    found = ", ".join(f"{name} {number}" for name, number in row["counted"].items() if number) or row["skipped"] or "ok"
    which = f"trial {row['number']}: {row['fault']}, {row['phase']}, {row['trainer']} trainer, {row['database']}, {row['runs']} runs"
    return "\n    ".join([f"{which}, {row['seconds']:.0f} s: {found}", *row["said"]])


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=False).stdout.strip()

    changed = "+" if git("status", "--porcelain", "--untracked-files=no", "backend", "db", "trainer") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
