"""The trainer as its supervisor sees it: a process group that is started or found, stopped in steps, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backend import processes
from backend.outcome import heading
from backend.processes import Process
from trainer.folder import CONFIG_FILE

TRAINER = (sys.executable, "-P", "-m", "trainer")
"""The command that trains: it takes CONFIG --output FOLDER --attempt N and writes `trainer.events` to FOLDER. With -P, a folder
named `trainer` where the user happens to be is not taken for ours."""

LOG_FILE = "trainer.log"
MARK = "MTPRL_ATTEMPT"
"""Variable of the trainer and of all that it starts, in whatever process group: the attempt that they belong to (`mark`)."""

OF_A_JOB = frozenset({"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})
"""Variables that a distributed job gives what it starts, such as a worker. The worker's runs are no part of it: each is on its host alone."""

LEFTOVERS = 5.0
"""Seconds that a trainer's children have to end after it."""


class TrainerProcess:
    """A trainer, of which this process may or may not be the parent. Make it with `start`, `recorded` or `find`."""

    def __init__(self, identity: Process | None, mark: str, child: subprocess.Popen[bytes] | None = None):
        self.identity = identity
        """None where it ended before it could be looked at."""
        self._mark = mark
        self._child = child
        self._stopping_since: float | None = None
        self._ended_at: float | None = None
        self._killed = False
        self._looks_without = 0

    @classmethod
    def start(
        cls, program: Sequence[str], folder: Path, attempt: int, environment: Mapping[str, str]
    ) -> TrainerProcess:
        """Start a trainer on the run folder's configuration.

        Raises:
            OSError: it cannot be started.
        """
        command = [*program, str(folder / CONFIG_FILE), "--output", str(folder), "--attempt", str(attempt)]
        alone = {name: value for name, value in environment.items() if name not in OF_A_JOB}
        marked = {**alone, MARK: mark(folder, attempt)}
        with open(folder / LOG_FILE, "a", encoding="utf-8") as log:
            log.write(heading(attempt))
        child = processes.start(command, folder / LOG_FILE, marked)
        return cls(processes.identify(child.pid), marked[MARK], child)

    @classmethod
    def recorded(cls, pid: int, started: float, folder: Path, attempt: int) -> TrainerProcess:
        """The trainer that an earlier supervisor started and recorded, dead or alive."""
        return cls(Process(pid, started), mark(folder, attempt))

    @classmethod
    def find(cls, folder: Path, attempt: int) -> TrainerProcess | None:
        """The trainer of a supervisor that died before it could record it; None where none lives."""
        wanted = mark(folder, attempt)
        found = [process for process, value in processes.marked(MARK).items() if value == wanted]
        pids = {process.pid for process in found}
        first = next((process for process in found if processes.parent(process) not in pids), None)
        return cls(first, wanted) if first else None

    def lives(self) -> bool:
        """Whether the trainer itself, the leader of its group, is still there."""
        if self._child is not None:
            return self._child.poll() is None
        return self.identity is not None and processes.alive(*self.identity)

    @property
    def exit_code(self) -> int | None:
        """How it ended, negative for a signal; None while it lives, and where this process is not its parent."""
        return self._child.returncode if self._child else None

    @property
    def killed(self) -> bool:
        """Whether it had to be killed, because it did not stop by itself."""
        return self._killed

    def stop(self, grace: float) -> None:
        """Ask it to stop, and kill it once it has been asked for more than `grace` seconds; to be called again and again."""
        if not self.lives():
            return
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            processes.signal_group(self._group, signal.SIGTERM)
        elif not self._killed and time.monotonic() - self._stopping_since > grace:
            self._killed = True
            processes.signal_group(self._group, signal.SIGKILL)

    def all_gone(self) -> bool:
        """Whether the ended trainer has left no process behind, so that its devices are free; to be called again and again.

        What it started has some seconds to end by itself and is then killed, in whatever process group it is.
        """
        left = self._left()
        self._ended_at = self._ended_at or time.monotonic()
        if self._killed or time.monotonic() - self._ended_at > LEFTOVERS:
            for process in left:
                processes.kill(process)
        # Twice, because a process that was started this very moment does not show its environment yet.
        self._looks_without = 0 if left else self._looks_without + 1
        return self._looks_without > 1

    def _left(self) -> set[Process]:
        left = {process for process, value in processes.marked(MARK).items() if value == self._mark}
        # Where the id belongs to another process by now, which it cannot while the group lives, the group is gone.
        if self._group and processes.identify(self._group) is None:
            left.update(filter(None, map(processes.identify, processes.group_members(self._group))))
        return left

    @property
    def _group(self) -> int:
        if self._child is not None:
            return self._child.pid
        return self.identity.pid if self.identity else 0


def mark(folder: Path | str, attempt: int) -> str:
    """What tells the processes of this attempt from all others."""
    return f"{attempt}:{folder}"


def unmark(mark: str) -> tuple[int, str]:
    """The attempt's number and its run's folder; number 0 where it is no mark."""
    number, _, folder = mark.partition(":")
    return (int(number) if number.isdecimal() else 0), folder
