"""One trial, from an empty home to its verdict: python -m benchmarks.faults.trial TRIAL_AS_JSON SHARED_FOLDER."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from backend import again, runs
from benchmarks.faults import evidence, plan
from benchmarks.faults.plan import REAL, Trial
from benchmarks.faults.stack import TMPFS_BYTES, Stack, until
from benchmarks.faults.strikes import OUTAGE, Striker
from benchmarks.faults.verdict import Done, Ended, complaints
from trainer.config import RunConfig, parse

WAIT = {plan.STAND_IN: 120.0, REAL: 240.0}
"""Seconds after the fault until which every run must have ended."""
LEFT = 45.0
"""Seconds until which no process of a run may be left: the search for orphans comes every half minute."""
ENDED = ("finished", "failed", "stopped")

COUNTED = ("lost", "doubled", "phantom", "orphan", "false")

Result = dict[str, Any]


class Tally:
    """What was counted, and a sentence for each."""

    def __init__(self) -> None:
        self.counted = dict.fromkeys(COUNTED, 0)
        self.said: list[str] = []

    def add(self, what: str, *words: str, number: int | None = None) -> None:
        """Count something that is wrong, once per sentence unless `number` is given."""
        self.counted[what] += len(words) if number is None else number
        self.said += words


def main() -> None:
    """Make the trial and print its result as the last line of the output."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    trial = Trial(**json.loads(sys.argv[1]))
    print(json.dumps(make(trial, Path(sys.argv[2]))), flush=True)


def make(trial: Trial, shared: Path) -> Result:
    """One trial; its folder is kept where something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix=f"mtprl-fault-{trial.number}-"))
    begun = time.monotonic()
    tally = Tally()
    result: Result = {**trial.as_json(), "counted": tally.counted, "skipped": "", "said": tally.said}
    stack = None
    try:
        stack = Stack(trial, folder, shared)
        words = _needs_tmpfs(trial) and _mount(stack.home / "runs")
        if words:
            result["skipped"] = words
        else:
            result |= _make(trial, stack, shared, tally)
    except Exception:  # whatever it is, it must be seen beside the trial, and the others go on
        tally.add("false", traceback.format_exc()[-2000:])
    finally:
        if stack is not None:
            if tally.said:
                _keep(stack, folder)
            stack.clear()
        if tally.said:
            tally.said.append(f"kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return {**result, "seconds": round(time.monotonic() - begun, 1)}


def _make(trial: Trial, stack: Stack, shared: Path, tally: Tally) -> Result:
    draw = Random(trial.seed)
    stack.start_redis()
    if trial.dashboard:
        stack.start_dashboard()
    stack.start_worker()
    totals: dict[int, int] = {}
    for number in range(trial.runs):
        config = _config(trial, draw, number, shared)
        totals[runs.submit(config)] = config.steps
    folders = {run: Path(folder) for run, folder in stack.ask("SELECT id, folder FROM runs")}
    striker = Striker(trial, stack, draw, folders, totals)
    striker.strike()
    first = _wait(trial, stack)
    attempts = dict(map(tuple, stack.ask_patiently("SELECT id, attempt FROM runs")))
    ends = {run: [end] for run, end in first.items()}
    if trial.fault in (plan.CHECKPOINT_FULL, plan.EVENTS_FULL, plan.SIGTERM_SAVING, plan.TRAINER):
        (stack.home / "runs" / "filler").unlink(missing_ok=True)
        resumed = _resume(first)
        if draw.random() < 0.5:
            _stop_at_once(trial, stack, {run: (folders[run], attempts[run] + 1) for run in resumed}, tally)
        for run, end in _wait(trial, stack).items():
            ends[run] += [end] if run in resumed else []
    for run, folder in folders.items():
        _compare(stack, run, folder, tally)
        ended = _ended(stack, run, folder, ends[run], attempts[run], striker.done[run])
        tally.add("false", *(f"run {run}: {words}" for words in complaints(trial.fault, ended)))
    _look_for_phantoms(stack, tally)
    _look_for_orphans(stack, tally)
    return {
        "moment": striker.moment,
        "killed": {run: sorted(done.killed) for run, done in striker.done.items() if done.killed},
        "ends": {run: f"{status}, {attempts[run]}" for run, [(status, _), *_] in ends.items()},
    }


def _resume(ends: dict[int, tuple[str, str]]) -> list[int]:
    resumed = [run for run, (status, _) in ends.items() if status in ("failed", "stopped")]
    for run in resumed:
        again.resume(run)
    return resumed


def _stop_at_once(trial: Trial, stack: Stack, resumed: dict[int, tuple[Path, int]], tally: Tally) -> None:
    """Stop runs, of which each now has this attempt, at their first steps, and resume them again: what the lost attempt said of later steps is
    void by then, and nothing has taken its place yet."""
    for run, (folder, attempt) in resumed.items():
        begun = f'{{"type":"attempt_started","attempt":{attempt},'.encode()
        until(partial(_says, folder / "events.jsonl", begun), WAIT[trial.trainer])
        runs.stop(run)
    ends = _wait(trial, stack)
    for run, (folder, _) in resumed.items():
        _compare(stack, run, folder, tally)
    _resume({run: ends[run] for run in resumed})


def _says(path: Path, words: bytes) -> bool:
    return path.exists() and words in path.read_bytes()


def _config(trial: Trial, draw: Random, number: int, shared: Path) -> RunConfig:
    long = trial.fault == plan.DOWN
    if trial.trainer == REAL:
        steps, every = draw.randint(24, 36), draw.randint(4, 8)
    else:
        steps, every = (draw.randint(500, 1400) if long else draw.randint(70, 130)), draw.randint(15, 25)
    if trial.fault == plan.EVENTS_FULL:
        every = steps = 3 * steps  # a checkpoint would rightly fail
    base, data = shared / "base" / "models" / "addition", shared / "base" / "data" / "addition"
    test = {"kind": "jsonl", "path": str(data / "test.jsonl")}
    return parse(
        {
            "name": f"{trial.trainer}-{number}",
            "seed": number,
            "steps": steps,
            "model": {"path": str(base), "mtp_depths": 1},
            "regime": {"kind": "occ"},
            "data": {"kind": "jsonl", "path": str(data / "train.jsonl")},
            "rollout": {
                "prompts_per_step": 8,
                "samples_per_prompt": 4,
                "max_prompt_tokens": 16,
                "max_response_tokens": 16,
            },
            "update": {"mini_batches": 4},
            "evaluation": {"benchmarks": [{"name": "addition", "data": test, "limit": 5}], "every": 10, "samples": 2},
            "checkpoint": {"every": every},
        }
    )


def _wait(trial: Trial, stack: Stack) -> dict[int, tuple[str, str]]:
    """Status and reason of every run once all have ended, or once that takes too long."""

    def look() -> dict[int, tuple[str, str]]:
        return {
            run: (status, reason) for run, status, reason in stack.ask_patiently("SELECT id, status, reason FROM runs")
        }

    longest = WAIT[trial.trainer] + (2 * OUTAGE if trial.fault == plan.DOWN else 0)
    until(lambda: all(status in ENDED for status, _ in look().values()), longest, 0.3)
    return look()


# --- checks --------------------------------------------------------------------------------------------------------


def _compare(stack: Stack, run: int, folder: Path, tally: Tally) -> None:
    """Compare the run's event file with its rows."""
    difference = evidence.compare(_history(folder), *_stored(stack, run))
    tally.add("lost", number=difference.lost)
    tally.add("doubled", number=difference.doubled)
    tally.said += [f"run {run}: {one}" for one in difference.examples]


def _history(folder: Path) -> evidence.History:
    path = folder / "events.jsonl"
    return evidence.read(path.read_bytes() if path.exists() else b"")


def _ended(stack: Stack, run: int, folder: Path, ends: list[tuple[str, str]], attempts: int, done: Done) -> Ended:
    [[step, total]] = stack.ask("SELECT step, total_steps FROM runs WHERE id = :run", run=run)
    [[torn]] = stack.ask("SELECT coalesce(sum(torn_lines), 0) FROM attempts WHERE run_id = :run", run=run)
    return Ended(run, ends, step, total, attempts, int(torn), _history(folder), done)


def _stored(stack: Stack, run: int) -> tuple[list[tuple[evidence.Key, Any]], Counter[evidence.Key]]:
    """The run's rows in the form of `evidence`."""
    metrics = stack.ask(
        "SELECT n.name, m.step, m.mini_batch, m.attempt, m.value FROM metrics m JOIN metric_names n ON n.id = m.metric_id "
        "WHERE m.run_id = :run",
        run=run,
    )
    completions = stack.ask(
        "SELECT step, prompt_id, sample, attempt, completion FROM completions WHERE run_id = :run", run=run
    )
    items: dict[int, list[tuple[str, str]]] = {}
    for number, item, outcomes in stack.ask(
        "SELECT e.id, i.item_id, i.outcomes FROM evaluations e JOIN evaluation_items i ON i.evaluation_id = e.id WHERE e.run_id = :run",
        run=run,
    ):
        items.setdefault(number, []).append((item, outcomes))
    evaluations = stack.ask("SELECT id, benchmark, step, attempt FROM evaluations WHERE run_id = :run", run=run)
    noted = stack.ask("SELECT type, attempt, step, time FROM run_events WHERE run_id = :run", run=run)
    rows: list[tuple[evidence.Key, Any]] = [
        *((("metric", name, step, place), (attempt, value)) for name, step, place, attempt, value in metrics),
        *((("completion", step, prompt, n), (attempt, text)) for step, prompt, n, attempt, text in completions),
        *((("evaluation", name, step), (attempt, sorted(items.get(e, [])))) for e, name, step, attempt in evaluations),
    ]
    return rows, Counter(tuple(row) for row in noted if row[0] in evidence.NOTED)


def _look_for_phantoms(stack: Stack, tally: Tally) -> None:
    """Runs that are shown active or queued without going on, and leases of those that are over."""
    for run, status, reason in stack.ask("SELECT id, status, reason FROM runs"):
        if status not in ENDED:
            tally.add("phantom", f"run {run} is {status} ({reason}) after the wait")
    for host, device, run, attempt in stack.ask("SELECT host, device, run_id, attempt FROM leases"):
        tally.add("phantom", f"{host} {device} is leased to attempt {attempt} of run {run}")


def _look_for_orphans(stack: Stack, tally: Tally) -> None:
    """Processes of runs after all have ended, and of services after all were ended."""
    until(lambda: not [one for one in stack.found() if one.role != "other"], LEFT, 0.3)
    left = [one for one in stack.found() if one.role != "other"]
    stack.end()
    until(lambda: not stack.found(), 5)
    left += [one for one in stack.found() if one not in left]
    tally.add("orphan", *(f"process {one.pid} ({one.role}) is left: {one.words[:200]}" for one in left))


# --- disks and folders ---------------------------------------------------------------------------------------------


def _needs_tmpfs(trial: Trial) -> bool:
    return trial.fault in (plan.EVENTS_FULL, plan.CHECKPOINT_FULL)


def _mount(folder: Path) -> str:
    """Put a small file system in memory there; why that cannot be done here, else empty."""
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"a small file system cannot be mounted here: {error}"
    return f"a small file system cannot be mounted here: {made.stderr.strip()}" if made.returncode else ""


def _keep(stack: Stack, folder: Path) -> None:
    """Keep what stands in memory, for whoever looks for the cause."""
    (folder / "processes").write_text("\n".join(map(str, stack.found())) + f"\n{socket.gethostname()} {os.getpid()}\n")
    if os.path.ismount(stack.home / "runs"):
        shutil.copytree(stack.home / "runs", folder / "runs", ignore=shutil.ignore_patterns("filler", "checkpoints"))


if __name__ == "__main__":
    main()
