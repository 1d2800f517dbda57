"""The faults themselves: the moment is waited for, then something is killed, frozen, filled or told, and later mended."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from backend import runs
from benchmarks.faults import plan
from benchmarks.faults.plan import REAL, Trial
from benchmarks.faults.stack import Found, Stack, until
from benchmarks.faults.verdict import Done

PATIENCE = 120.0
"""Longest wait for a moment."""
OUTAGE = 60.0
LEFT_FOR_EVENTS = 600_000
"""Bytes that are left on a disk that is too full for a checkpoint."""
FULL_SECONDS = 4.0
"""So long that no line of a log finds room in a page that was begun before."""

Folders = dict[int, Path]


class Striker:
    """Makes one trial's fault."""

    def __init__(self, trial: Trial, stack: Stack, draw: Random, folders: Folders, totals: dict[int, int]):
        self.trial, self.stack, self.draw = trial, stack, draw
        self.folders, self.totals = folders, totals
        self.target = draw.choice(sorted(folders))
        self.wide = draw.random() < 0.5
        self.done: dict[int, Done] = defaultdict(Done)
        self.moment = ""

    def strike(self) -> None:
        """Wait for the moment, break something, and put back what a keeper of services would."""
        self._reach()
        self.moment = self._now()
        _STRIKES[self.trial.fault](self)

    # --- the moment ----------------------------------------------------------------------------------------------

    def _reach(self) -> None:
        phase, draw, target = self.trial.phase, self.draw, self.target
        total, slow = self.totals[target], self.trial.trainer == REAL
        if phase == plan.QUEUED:
            time.sleep(draw.uniform(0, 0.5))
        elif phase == plan.STARTING and self.trial.fault in (plan.TRAINER, plan.PAIR):
            self._until(self._has_trainer)
            time.sleep(draw.uniform(0, 4 if slow else 0.8))
        elif phase == plan.STARTING:
            self._until(lambda: self._asked("SELECT 1 FROM attempts WHERE run_id = :run"))
            time.sleep(draw.uniform(0, 5 if slow else 1.5))
        elif phase == plan.ENDING:
            self._until(lambda: self._last_step() >= total)
            time.sleep(draw.uniform(0, 1.2))
        else:
            step = draw.randint(2, total // 3 if self.trial.fault == plan.EVENTS_FULL else 3 * total // 4)
            self._until(lambda: self._last_step() >= step)
            if phase == plan.SAVING:
                checkpoints = self.folders[target] / "checkpoints"
                self._until(lambda: any(checkpoints.glob(".step-*.partial")), 0.001)
                time.sleep(draw.uniform(0, 0.03 if slow else 0.2))
            else:
                time.sleep(draw.uniform(0, 0.1))
            if phase == plan.STOPPING:
                runs.stop(target)
                self.done[target].asked_to_stop = True
                time.sleep(draw.uniform(0, 0.5))

    def _until(self, condition: Callable[[], bool], interval: float = 0.01) -> None:
        """Wait for a moment, or until it can no longer come."""
        until(lambda: condition() or self._is_over(), PATIENCE, interval)

    def _is_over(self) -> bool:
        return b'"type":"ended"' in self._tail() or not self.folders[self.target].is_dir()

    def _has_trainer(self) -> bool:
        return any(one.role == "trainer" and self._run_of(one) == self.target for one in self.stack.found())

    def _asked(self, statement: str) -> bool:
        return bool(self.stack.ask(statement, run=self.target))

    def _tail(self) -> bytes:
        with suppress(OSError), open(self.folders[self.target] / "events.jsonl", "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 20_000))
            return file.read()
        return b""

    def _last_event(self) -> dict[str, object]:
        lines = self._tail().split(b"\n")
        with suppress(ValueError, IndexError):
            return dict(json.loads(lines[-2]))
        return {}

    def _last_step(self) -> int:
        return int(str(self._last_event().get("step", -1)))

    def _now(self) -> str:
        rows = self.stack.ask("SELECT id, status FROM runs ORDER BY id")
        event = self._last_event()
        said = f", last event {event['type']} of step {event['step']}" if event else ""
        return f"{', '.join(f'run {run} {status}' for run, status in rows)}; target {self.target}{said}"

    # --- killing -------------------------------------------------------------------------------------------------

    def _kill(self, *roles: str, everywhere: bool = False) -> None:
        """SIGKILL to the processes of these roles, of the target or of all runs; what there is is noted first."""
        found = self.stack.found()
        self._note(found)
        chosen = [one for one in found if one.role in roles]
        if not (self.wide or everywhere):
            chosen = [one for one in chosen if self._run_of(one) == self.target]
        self._send(chosen)

    def _send(self, chosen: list[Found]) -> None:
        self.draw.shuffle(chosen)
        for one in chosen:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
                run = self._run_of(one)
                if run is not None and one.role in ("supervisor", "trainer"):
                    self.done[run].killed.add(one.role)

    def _note(self, found: list[Found]) -> None:
        for one in found:
            run = self._run_of(one)
            if run is not None and one.role == "trainer":
                self.done[run].had_trainer = True

    def _run_of(self, one: Found) -> int | None:
        if one.role == "supervisor":
            return int(one.run)
        return next((run for run, folder in self.folders.items() if str(folder) == one.run), None)

    def _pause(self) -> None:
        time.sleep(self.draw.uniform(0.2, 3.0))

    def _kill_service(self, name: str) -> None:
        for pid in self.stack.pids(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stack.wait(name)

    # --- the kinds -----------------------------------------------------------------------------------------------

    def worker(self) -> None:
        """All of the worker, as when its container is killed; its runs' supervisors are not its children's children."""
        self._note(self.stack.found())
        command = [pid for pid in self.stack.pids("worker") if self._is_worker(pid)]
        for pid in command:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.stack.wait("worker")
        self._pause()
        self.stack.start_worker()

    def _is_worker(self, pid: int) -> bool:
        return next((one.role == "other" for one in self.stack.found() if one.pid == pid), False)

    def parent(self) -> None:
        """Only the first process of the worker, as a keeper of services that knows no other may."""
        self._note(self.stack.found())
        self.stack.processes["worker"].kill()
        self.stack.wait("worker")
        self._pause()
        self.stack.start_worker()

    def restart(self) -> None:
        """The worker in good order, under living trainers."""
        self._note(self.stack.found())
        self.stack.processes["worker"].terminate()
        self.stack.wait("worker")
        self._pause()
        self.stack.start_worker()

    def supervisor(self) -> None:
        """Supervisors; their trainers live on."""
        self._kill("supervisor")

    def trainer(self) -> None:
        """Trainers; their supervisors live on."""
        self._kill("trainer")

    def pair(self) -> None:
        """Both, in whatever order; a trainer's children live on."""
        self._kill("supervisor", "trainer")

    def dashboard(self) -> None:
        """The dashboard."""
        self._note(self.stack.found())
        self._kill_service("dashboard")
        self._pause()
        self.stack.start_dashboard()

    def redis(self) -> None:
        """Redis, which forgets everything."""
        self._note(self.stack.found())
        self._kill_service("redis")
        self._pause()
        self.stack.start_redis()

    def postgres(self) -> None:
        """The postmaster; its children follow."""
        assert self.stack.postgres is not None
        self._note(self.stack.found())
        self.stack.postgres.kill()
        self._pause()
        self.stack.postgres.start()

    def everything(self) -> None:
        """As a machine that loses its power; what was handed to the system is kept."""
        found = self.stack.found()
        self._note(found)
        if self.stack.postgres is not None:
            self.stack.postgres.kill()
        self.stack.processes["redis"].kill()
        self._send(found)
        self._send(self.stack.found())  # what was being started
        for name in list(self.stack.processes):
            self.stack.wait(name)
        self._pause()
        if self.stack.postgres is not None:
            self.stack.postgres.start()
        self.stack.start_redis()
        self.stack.start_worker()
        if self.trial.dashboard:
            self.stack.start_dashboard()

    def down(self) -> None:
        """No database for a minute: PostgreSQL is ended, an SQLite file is locked by somebody else."""
        self._note(self.stack.found())
        if self.stack.postgres is not None:
            self.stack.postgres.stop()
            time.sleep(OUTAGE)
            self.stack.postgres.start()
        else:
            with self.stack.locked():
                time.sleep(OUTAGE)

    def events_full(self) -> None:
        """No byte is left on the disk of the run folders for some seconds."""
        self._note(self.stack.found())
        filler = _fill(self.stack.home / "runs", leave=0)
        time.sleep(FULL_SECONDS)
        filler.unlink()

    def checkpoint_full(self) -> None:
        """There is room for events, but not for a checkpoint; there is again before runs are resumed."""
        self._note(self.stack.found())
        _fill(self.stack.home / "runs", leave=LEFT_FOR_EVENTS)

    def sigterm(self) -> None:
        """SIGTERM from outside to the target's trainer."""
        found = self.stack.found()
        self._note(found)
        for one in found:
            if one.role == "trainer" and self._run_of(one) == self.target:
                with suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGTERM)
                    self.done[self.target].told = True


def _fill(folder: Path, leave: int) -> Path:
    """Fill the file system of `folder` with a file until `leave` bytes are left."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while (room := _room(folder) - leave) > 0 or leave == 0:
                file.write(bytes(max(1, min(room, 65536))))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return filler


def _room(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


_STRIKES: dict[str, Callable[[Striker], None]] = {
    plan.WORKER: Striker.worker,
    plan.PARENT: Striker.parent,
    plan.RESTARTED: Striker.restart,
    plan.SUPERVISOR: Striker.supervisor,
    plan.TRAINER: Striker.trainer,
    plan.PAIR: Striker.pair,
    plan.DASHBOARD: Striker.dashboard,
    plan.REDIS: Striker.redis,
    plan.POSTGRES: Striker.postgres,
    plan.EVERYTHING: Striker.everything,
    plan.DOWN: Striker.down,
    plan.EVENTS_FULL: Striker.events_full,
    plan.CHECKPOINT_FULL: Striker.checkpoint_full,
    plan.SIGTERM_SAVING: Striker.sigterm,
}
