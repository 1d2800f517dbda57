"""Processes by identity, and process groups.

A process id is used again, so a process is known by its id and its start time. Only a process that is still the same is
ever sent a signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from backend.settings import ROOT

_TICKS = os.sysconf("SC_CLK_TCK")


class Process(NamedTuple):
    """A process that was seen alive: its id, and a start time that tells it from later ones with the same id."""

    pid: int
    started: float


def identify(pid: int) -> Process | None:
    """The living process with this id; None where there is none, or only its unread exit status (a zombie).

    On Linux the start time counts from boot, which a clock that is set right later does not change.
    """
    if not sys.platform.startswith("linux"):
        try:
            process = psutil.Process(pid)
            return None if process.status() == psutil.STATUS_ZOMBIE else Process(pid, process.create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        # The name in parentheses may itself hold spaces and parentheses; the numbered fields follow the last one.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    # Of a process with threads, the first one may be gone while others still hold its files, ports and memory.
    gone = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return None if gone else Process(pid, int(fields[19]) / _TICKS)


def this_process() -> Process:
    """The calling process."""
    process = identify(os.getpid())
    assert process is not None
    return process


def alive(pid: int | None, started: float | None) -> bool:
    """Whether that very process lives; False where it was never recorded."""
    return pid is not None and started is not None and identify(pid) == Process(pid, started)


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a program in a session and process group of its own, with its output appended to `log`.

    It outlives the caller, its terminal and a Ctrl-C there. It runs in the folder of our packages.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=dict(environment),
            start_new_session=True,
        )


def ask_to_end(process: Process) -> bool:
    """SIGTERM; False where it is no longer the same process, and nothing was sent."""
    if not alive(*process):
        return False
    _send(os.kill, process.pid, signal.SIGTERM)
    return True


def terminate(process: Process, grace: float) -> bool:
    """SIGTERM, and SIGKILL where the process still lives `grace` seconds later.

    Returns:
        False where it is no longer the same process, and nothing was sent.
    """
    if not ask_to_end(process):
        return False
    if not wait(process, grace):
        _send(os.kill, process.pid, signal.SIGKILL)
        wait(process, grace=10)
    return True


def wait(process: Process, grace: float) -> bool:
    """Wait up to `grace` seconds for the process to end; whether it did."""
    deadline = time.monotonic() + grace
    while alive(*process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def group_members(group: int) -> list[int]:
    """Ids of the living processes of a group, those that a dead leader left behind included; zombies do not count."""
    members = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == group and identify(pid) is not None:
                members.append(pid)
    return members


def signal_group(group: int, number: signal.Signals) -> None:
    """Send a signal to every process of the group; no error where none is left."""
    _send(os.killpg, group, number)


def marked(name: str) -> dict[Process, str]:
    """The living processes whose environment holds this variable, with its value: those of other users are not seen."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            value = process.environ().get(name)
            identity = identify(process.pid) if value is not None else None
            if value is not None and identity is not None:
                found[identity] = value
    return found


def parent(process: Process) -> int | None:
    """The id of its parent; None where it has ended."""
    try:
        return psutil.Process(process.pid).ppid()
    except psutil.Error:
        return None


def kill(process: Process) -> None:
    """SIGKILL, where it still is the same process."""
    if alive(*process):
        _send(os.kill, process.pid, signal.SIGKILL)


def _send(send: Callable[[int, int], None], target: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        send(target, number)
