"""The process that runs scorers which may hang, crash or eat memory: `python -m trainer.tasks.worker FD SECONDS`.

FD is an inherited socket of `multiprocessing.connection`. The worker sends "ready", then answers each (scorer, answer)
with (score, None) or (None, what went wrong), until the other side closes. A job that needs more than SECONDS of processor
time ends the process by the kernel's own timer, so that neither a hang in C code nor a dead parent leaves it running.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import signal
import sys
from multiprocessing.connection import Connection

MEMORY_LIMIT = 4 << 30
"""Bytes of address space: 9**9**9 must fail here, not take the machine's memory."""


def main(fd: int, limit_s: float) -> None:
    """Serve jobs until the other side closes the connection."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the trainer's group: the trainer ends first, then this side
    import math_verify  # noqa: F401 - before the first job, whose time is bounded

    logging.disable(logging.CRITICAL)  # the verdict says it all; the libraries would log each odd answer
    with contextlib.suppress(ValueError, OSError):  # not every system can bound it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    connection = Connection(fd)
    connection.send("ready")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            scorer, answer = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, limit_s)
            reply: tuple[float | None, str | None]
            try:
                reply = (float(scorer(answer)), None)
            except (Exception, SystemExit) as error:
                reply = (None, type(error).__name__)
            signal.setitimer(signal.ITIMER_PROF, 0)
            connection.send(reply)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
