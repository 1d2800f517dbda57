"""Does joint training of MTP heads help RL, and with which regime? Every arm, seed by seed, on tiny models.

    python -m benchmarks.regimes run [--minutes M] [--workers 2] [--seeds 5] [--out DIR]
    python -m benchmarks.regimes timing [--out DIR]
    python -m benchmarks.regimes report [--out DIR]

`run` goes on where an earlier one was ended: results are lines of DIR/runs.jsonl, and a run that has one is not made again.
`timing` measures seconds per update side by side, on a machine with nothing else to do. `report` writes docs/results/regimes.md from the runs that
are kept beside it; with --out it first takes over what DIR has.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from benchmarks import plan, report
from benchmarks.bases import make_base
from benchmarks.origin import about
from benchmarks.plan import Job
from benchmarks.records import FOLDER, refresh
from benchmarks.timing import write
from benchmarks.workers import Results, run_all

OUT = Path(".mtprl/benchmarks/regimes")
RESULTS = "runs.jsonl"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regimes", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="make the runs that have no result yet")
    run.add_argument("--minutes", type=float, default=float("inf"), help="start no run after this time")
    run.add_argument("--workers", type=int, default=2, help="runs at a time, one processor core each")
    run.add_argument("--seeds", type=int, default=plan.SEEDS, help="seeds of every arm")
    run.add_argument("--out", type=Path, default=OUT, help="folder of base models and results")
    run.set_defaults(command=lambda given: run_command(given.out, given.minutes, given.workers, given.seeds))
    timing = commands.add_parser("timing", help="seconds per update of the arms, side by side")
    timing.add_argument("--out", type=Path, default=OUT, help="folder of base models and results")
    timing.set_defaults(command=lambda given: timing_command(given.out))
    written = commands.add_parser("report", help="write docs/results/regimes.md")
    written.add_argument("--out", type=Path, help="folder of base models and results, to take the runs from first")
    written.set_defaults(command=lambda given: report_command(given.out))
    given = parser.parse_args(arguments)
    given.command(given)


def run_command(out: Path, minutes: float, workers: int, seeds: int) -> None:
    """Make bases, sweep the learning rate, then the arms, then the audit."""
    deadline = time.monotonic() + 60 * minutes
    torch.set_num_threads(1)  # bases too: sums of floats depend on how many threads share them
    signal.signal(signal.SIGTERM, _end)
    for base in plan.BASES:
        make_base(out, base, tell=lambda line, base=base: print(f"{base}: {line}", flush=True))  # type: ignore[misc]
    results = Results(out / RESULTS, stamp={"started": _note(out)})

    def make(jobs: Sequence[Job]) -> bool:
        known = [job for job in jobs if job.is_known(out)]
        for name in sorted(
            {f"{job.block}: {job.arm.name}" for job in jobs} - {f"{j.block}: {j.arm.name}" for j in known}
        ):
            print(f"{name} is left out: this version of the trainer does not know its settings", flush=True)
        run_all(known, out, results, workers, deadline, Progress(known, results))
        return all(job.key in results.rows for job in known)

    if make(plan.sweep()):
        lrs = plan.best_lrs(results.rows.values())
        print(f"learning rates: {lrs}", flush=True)
        make([*plan.main(seeds, lrs), *plan.audit(lrs)])


def timing_command(out: Path) -> None:
    """Time the updates of every arm."""
    torch.set_num_threads(1)
    for base in plan.BASES:
        make_base(out, base)
    print(write(out, {**about(), "load": os.getloadavg()[0]}).read_text(), end="")


def report_command(out: Path | None, folder: Path = FOLDER) -> None:
    """Write the report, of fresh runs where `out` is given."""
    if out is not None:
        refresh(out, folder)
    print(report.write(folder))


class Progress:
    """Prints a line for each finished run, with an estimate of the time left."""

    def __init__(self, jobs: Sequence[Job], results: Results):
        self._all = len(jobs)
        self._before = sum(job.key in results.rows for job in jobs)
        self._start = time.monotonic()

    def __call__(self, job: Job, row: dict[str, Any], left: int) -> None:
        """Tell of one finished run."""
        done = self._all - left
        minutes = (time.monotonic() - self._start) / 60 * left / max(1, done - self._before)
        outcome = row.get("failed") or f"{row['accuracy'][0]:.3f} -> {row['final']:.3f} in {row['seconds']:.0f} s"
        where = (
            f"{job.block} seed {job.seed} {job.base} {job.algorithm} {job.arm.name} lr {job.lr * job.arm.lr_factor:g}"
        )
        print(f"[{done}/{self._all}] {where}: {outcome}; about {minutes:.0f} min left", flush=True)


def _note(out: Path) -> str:
    """Note an attempt in the folder; when it was started, by which its runs name it."""
    now = about()
    print(json.dumps(now), flush=True)
    with (out / "attempts.jsonl").open("a") as file:
        file.write(json.dumps(now) + "\n")
    return str(now["started"])


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # through every `finally`, so that no worker is left


if __name__ == "__main__":
    main()
