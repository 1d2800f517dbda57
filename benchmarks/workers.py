"""Jobs in worker processes, and the file that their results are appended to.

A worker is spawned once and makes one run after another. It ends by itself when the process that started it is gone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.plan import Job

Rows = dict[str, dict[str, Any]]
"""Results by the key of their job."""
Finished = Callable[[Job, dict[str, Any], int], None]
"""(job, its result, jobs still to do)"""


class Results:
    """A JSONL file of results, one line per finished job; each that is added gets the values of `stamp`, too."""

    def __init__(self, path: Path, stamp: Mapping[str, Any] | None = None):
        self.path = path
        self.rows: Rows = {}
        self._stamp = stamp or {}
        if path.is_file():
            for line in path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except ValueError:  # the line that a killed process was writing
                    continue
                self.rows[row["key"]] = row

    def add(self, row: dict[str, Any]) -> None:
        """Append a result and keep it."""
        row = {**row, **self._stamp}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.is_file() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
        with self.path.open("ab", buffering=0) as file:
            file.write((b"\n" if torn else b"") + json.dumps(row).encode() + b"\n")
        self.rows[row["key"]] = row


def run_all(
    jobs: Sequence[Job], out: Path, results: Results, workers: int, deadline: float, finished: Finished
) -> None:
    """Make every job that has no result yet, in order; a job waits for the run that it takes its coefficient from.

    Args:
        jobs: what to do.
        out: folder of the bases.
        results: where results go.
        workers: runs at a time.
        deadline: of `time.monotonic()`; no run is started after it.
        finished: told of every result.

    Raises:
        RuntimeError: a worker process died.
    """
    pending = [job for job in jobs if job.key not in results.rows]
    running: dict[Connection, Job] = {}
    idle = []
    processes: list[BaseProcess] = []
    try:
        for _ in range(min(workers, len(pending))):
            process, connection = _spawn(out)
            processes.append(process)
            idle.append(connection)
        while True:
            while idle and time.monotonic() < deadline:
                job = next((job for job in pending if job.leader is None or job.leader in results.rows), None)
                if job is None:
                    break
                pending.remove(job)
                coefficient = results.rows[job.leader].get("coefficient_mean") if job.leader else None
                if job.leader and coefficient is None:
                    continue  # the run that it follows broke off
                connection = idle.pop()
                connection.send((job, coefficient))
                running[connection] = job
            if not running:
                return
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                job = running.pop(ready)
                try:
                    row = ready.recv()
                except EOFError:
                    raise RuntimeError(f"the worker process that ran {job.key} died") from None
                if isinstance(row, BaseException):
                    raise RuntimeError(f"{job.key} failed") from row
                results.add(row)
                finished(job, row, len(pending) + len(running))
                idle.append(ready)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _spawn(out: Path) -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    # One thread each: on tensors this small a second one only waits, and sums of floats stay the same everywhere.
    os.environ["OMP_NUM_THREADS"] = "1"
    process = context.Process(target=_work, args=(there, out), daemon=True)
    process.start()
    there.close()  # so that the end of the worker is seen here
    return process, here


def _work(connection: Connection, out: Path) -> None:
    """Make one run after another until there is nobody to make them for."""
    import torch

    from benchmarks.single import run_job
    from trainer.tasks import Grader

    os.nice(5)
    torch.set_num_threads(1)
    with Grader() as grader:
        while True:
            try:
                job, coefficient = connection.recv()
            except EOFError:
                return
            try:
                result: Any = run_job(job, out, coefficient, grader)
            except Exception as error:  # goes to the parent, which stops and says so
                result = error
            try:
                connection.send(result)
            except BrokenPipeError:
                return
