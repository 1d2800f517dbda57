"""One process of a run in several, started by `trainer.launch.launcher`:

python -P -m trainer.launch.rank CONFIG FOLDER ATTEMPT MEETING_POINT CONNECTION

with RANK, LOCAL_RANK and WORLD_SIZE in its environment. Rank 0 writes events and checkpoints, the others nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path

from trainer.config import EvaluationConfig, RunConfig, load_job
from trainer.events import JsonlSink, NullSink, Sink
from trainer.launch.ending import StopRequest, to_its_end
from trainer.narration import NarratingSink
from trainer.output import never_fail_to_print
from trainer.work import Work, work_of


def main() -> None:
    """Do the run's work as one of several processes, and tell the launcher how it ended."""
    given, folder, attempt, meeting_point, connection = sys.argv[1:]
    launcher = Connection(int(connection))
    threading.Thread(target=_end_with, args=(launcher,), daemon=True).start()
    stop = StopRequest(is_announced=False)
    config = load_job(Path(given))
    work = work_of(config)
    end = to_its_end(lambda: take_part(config, work, Path(folder), int(attempt), meeting_point, stop), work)
    launcher.send((end, time.monotonic()))
    sys.stderr.flush()
    # Not by way of the interpreter's end: the backends' threads may wait there for processes that are gone.
    os._exit(end.exit_code)


def take_part(
    config: RunConfig | EvaluationConfig, work: Work, folder: Path, attempt: int, meeting_point: str, stop: StopRequest
) -> str:
    """This process's part of the work."""
    from trainer.launch.device import check_alike, join  # imports torch: late, so that a stop is heeded from the start

    with _ending_at_once(stop) if meeting_point.startswith("tcp:") else nullcontext():
        join(config, meeting_point)
    check_alike(config, folder)
    sink: Sink = NullSink()
    if os.environ["RANK"] == "0":
        sink = NarratingSink(JsonlSink(folder, attempt))
    try:
        return work.do(folder, sink, lambda: stop.requested)
    finally:
        sink.close()


@contextmanager
def _ending_at_once(stop: StopRequest) -> Iterator[None]:
    """Let SIGTERM end this process: while it waits for a host that may never come, nothing looks at a request to stop."""
    heeding = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if stop.requested:
        os.kill(os.getpid(), signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, heeding)


def _end_with(launcher: Connection) -> None:
    """Wait for the launcher to go, which never says anything, and go with it: nobody would be there to end this process."""
    try:
        launcher.recv()
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    never_fail_to_print()
    main()
