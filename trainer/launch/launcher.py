"""Starts the processes of a run, and sees to it that they end together and leave a true reason behind.

    launcher (holds the run folder)  --- a connection each --->  rank 0 (writes events and checkpoints), rank 1, ...

The processes stay in the launcher's process group, so that a signal to the group reaches them all. A connection has two uses: a process sends
over it how it ended, and learns by its closing that the launcher is gone. torchrun puts every process into a session of its own, which
a signal to the group does not reach, and has no exit code for a run that was stopped (docs/decisions/processes.md).

Of a run on several hosts each has its launcher (trainer.launch.hosts). They do not talk to each other: their processes do, and stop or fail together.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path

from trainer.errors import TrainingError
from trainer.events import EVENTS_FILE, parse_lines
from trainer.launch.child import python_path
from trainer.launch.ending import INTERRUPTED, End, StopRequest
from trainer.launch.hosts import Share

GRACE = 5.0
"""Seconds that the other processes have to end by themselves once one has failed."""
_TAIL = 4 * 2**20
"""Bytes of the event file that the last step is looked for in."""
_LOOK = 0.2
"""Seconds between two looks at whether the run is asked to stop."""


def launch(config: Path, folder: Path, attempt: int, share: Share, stop: StopRequest) -> End:
    """Do the run in this launcher's share of its processes, and wait until all of them have ended.

    Raises:
        TrainingError: a process cannot be started.
    """
    with ExitStack() as stack:
        meeting_point = f"tcp://{share.address}"
        if share.address is None:
            # In the run folder, which the launcher holds: what a killed one leaves there, the next one removes.
            file = folder.absolute() / ".processes"
            file.unlink(missing_ok=True)
            stack.callback(file.unlink, missing_ok=True)
            meeting_point = f"file://{file}"
        else:
            last = share.first + share.processes
            print(
                f"Processes {share.first + 1} to {last} of {share.total}; they wait for the others at {share.address}.",
                file=sys.stderr,
                flush=True,
            )
        arguments = [str(config), str(folder), str(attempt), meeting_point]
        ranks: list[_Rank] = []
        try:
            for place in range(share.processes):
                ranks.append(stack.enter_context(_started(arguments, share, place)))
            _watch(ranks, stop)
        except KeyboardInterrupt:
            return End("stopped", INTERRUPTED)
        except OSError as error:
            raise TrainingError(
                f"process {share.first + len(ranks) + 1} of {share.total} cannot be started ({error.strerror}); free memory or processes"
            ) from None
        return verdict(ranks, share, stop.requested)


def last_step(folder: Path) -> int:
    """The step of the last event that stands in the run folder; 0 where there is none."""
    with open(folder / EVENTS_FILE, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        steps = [event["step"] for event, _ in parse_lines(file.read()) if event is not None]
    return steps[-1] if steps else 0


class _Rank:
    """One process as the launcher sees it."""

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection):
        self.process = process
        self.connection = connection
        self.end: End | None = None
        """What it said; None: nothing (yet)."""
        self.ended_at = float("inf")
        """On the clock that all processes share: when it said so, else when it was seen dead."""
        self.was_killed = False

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self.ended_at < float("inf") and (self.end is None or self.end.outcome == "failed")

    def listen(self) -> bool:
        """Take in what it has to say; False once it has ended."""
        try:
            self.end, self.ended_at = self.connection.recv()
        except (EOFError, OSError):
            self.process.wait()
            self.ended_at = min(self.ended_at, time.monotonic())
            return False
        return True

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.poll() is None:
            self.was_killed = True
            self.process.kill()

    def last_words(self) -> str:
        """Why it ended; of a process that said nothing, what its exit code says."""
        if self.end is not None:
            return self.end.message
        code = self.process.returncode
        if code < 0:
            hint = "; the machine may have run out of memory" if code == -signal.SIGKILL else ""
            return f"was killed by signal {-code} ({signal.Signals(-code).name}){hint}"
        return f"ended with exit code {code} and said nothing; its output above may hold more"


@contextmanager
def _started(arguments: list[str], share: Share, place: int) -> Iterator[_Rank]:
    ours, theirs = multiprocessing.Pipe()
    assert isinstance(ours, Connection)
    assert isinstance(theirs, Connection)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trainer.launch.rank", *arguments, str(theirs.fileno())],
                env=environment(share, place),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        started = _Rank(process, ours)
        try:
            yield started
        finally:
            started.kill()
            process.wait()


def environment(share: Share, place: int) -> dict[str, str]:
    """By what the process at a place of the share knows which one it is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # gloo would otherwise listen where the host's name leads, which need not be this machine.
    is_local = share.address is None and sys.platform.startswith("linux")
    return {
        "OMP_NUM_THREADS": str(max(1, cores // share.here)),
        **({"GLOO_SOCKET_IFNAME": "lo"} if is_local else {}),
        **os.environ,
        "PYTHONPATH": python_path(),
        "RANK": str(share.first + place),
        "LOCAL_RANK": str(share.first_here + place),
        "WORLD_SIZE": str(share.total),
        "LOCAL_WORLD_SIZE": str(share.here),
    }


def _watch(ranks: Sequence[_Rank], stop: StopRequest) -> None:
    """Until all have ended: pass on that the run is to stop, and end the others where one has failed."""
    living = list(ranks)
    deadline = float("inf")
    was_told = False
    while living:
        ready = wait([rank.connection for rank in living], _LOOK)
        living = [rank for rank in living if rank.connection not in ready or rank.listen()]
        if stop.requested and not was_told:
            was_told = True
            for rank in living:
                with contextlib.suppress(ProcessLookupError):
                    rank.process.terminate()
        if any(rank.failed for rank in ranks):
            deadline = min(deadline, time.monotonic() + GRACE)
        if time.monotonic() > deadline:
            for rank in living:
                rank.kill()


def verdict(ranks: Sequence[_Rank], share: Share, was_asked_to_stop: bool) -> End:
    """How the run ended for these processes: where one failed, the reason of the one that failed first."""
    failed = sorted((rank for rank in ranks if rank.failed and not rank.was_killed), key=lambda rank: rank.ended_at)
    if not failed:
        ends = [rank.end for rank in ranks if rank.end is not None]
        return next((end for end in ends if end.outcome == "stopped"), ends[0])
    # What dies does not speak, so that those who miss it may speak before its death is seen.
    causes = [rank for rank in failed if rank.end is None or not rank.end.is_consequence] or failed
    if was_asked_to_stop and causes[0].end is None and causes[0].process.returncode == -signal.SIGTERM:
        return End("stopped", "asked to stop before the training had begun")
    words = causes[0].last_words()
    is_shared = all(rank.end is not None and rank.end.message == words for rank in ranks)
    return End(
        "failed",
        words if is_shared else f"process {share.first + ranks.index(causes[0]) + 1} of {share.total}: {words}",
    )
