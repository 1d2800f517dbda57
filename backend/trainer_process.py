"""The trainer as its supervisor sees it: a process group that is started or found, stopped in steps, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from backend import processes
from backend.processes import Process

TRAINER = (sys.executable, "-P", "-m", "trainer")
"""The command that trains: it takes CONFIG --output FOLDER --attempt N and writes `trainer.events` to FOLDER. With -P, a folder
named `trainer` where the user happens to be is not taken for ours."""

CONFIG_FILE = "config.yaml"
LOG_FILE = "trainer.log"

LEFTOVERS = 5.0
"""Seconds that a trainer's children have to end after it."""


class TrainerProcess:
    """A trainer, of which this process may or may not be the parent. Make it with `start`, `recorded` or `find`."""

    def __init__(self, identity: Process | None, child: subprocess.Popen[bytes] | None = None):
        self.identity = identity
        """None where it ended before it could be looked at."""
        self._child = child
        self._stopping_since: float | None = None
        self._killed = False

    @classmethod
    def start(
        cls, program: Sequence[str], folder: Path, attempt: int, environment: Mapping[str, str]
    ) -> TrainerProcess:
        """Start a trainer on the run folder's configuration.

        Raises:
            OSError: it cannot be started.
        """
        command = [*program, str(folder / CONFIG_FILE), *_arguments(folder, attempt)]
        child = processes.start(command, folder / LOG_FILE, environment)
        return cls(processes.identify(child.pid), child)

    @classmethod
    def recorded(cls, pid: int, started: float) -> TrainerProcess:
        """The trainer that an earlier supervisor started and recorded, dead or alive."""
        return cls(Process(pid, started))

    @classmethod
    def find(cls, folder: Path, attempt: int) -> TrainerProcess | None:
        """The trainer of a supervisor that died before it could record it; None where none lives."""
        identity = processes.find(*_arguments(folder, attempt))
        return cls(identity) if identity else None

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

    def end_leftovers(self) -> None:
        """Make sure that no process of the ended trainer's group is left: its children may end by themselves, else are killed."""
        if self._group == 0 or processes.identify(self._group) is not None:
            return  # never seen, or the id belongs to another process by now, which it cannot while the group lives
        deadline = time.monotonic() + LEFTOVERS
        while processes.group_members(self._group):
            if time.monotonic() > deadline:
                processes.signal_group(self._group, signal.SIGKILL)
            time.sleep(0.05)

    @property
    def _group(self) -> int:
        if self._child is not None:
            return self._child.pid
        return self.identity.pid if self.identity else 0


def _arguments(folder: Path, attempt: int) -> list[str]:
    return ["--output", str(folder), "--attempt", str(attempt)]
