"""The services of one trial's home: started, known by their processes, and cleared away whatever happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from backend import broker, services, stack
from backend.settings import LOCAL_ADDRESS, ROOT, environment, settings
from benchmarks.faults import servers
from benchmarks.faults.plan import POSTGRESQL, REAL, Trial
from db import engine

SLOTS, STOP_GRACE = 2, 10
TMPFS_BYTES = 48 * 2**20
SECONDS = 60.0
"""Longest time that a service may take to come up."""


class Found(NamedTuple):
    """A process of a home, as /proc shows it."""

    pid: int
    role: str
    """supervisor, trainer, child (of a trainer), or other."""
    run: str
    """The folder of a trainer's run, or the id of a supervisor's."""
    words: str


def until(condition: Callable[[], Any], seconds: float, interval: float = 0.05) -> Any:
    """The condition's first true value, or its last false one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(interval)
    return value


class Stack:
    """A home with its services. The product reads where it is from the environment of this process, which is made for it."""

    def __init__(self, trial: Trial, folder: Path, shared: Path):
        self.trial, self.folder, self.home = trial, folder, folder / "home"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (self.home / "logs").mkdir(parents=True)
        (self.home / "runs").mkdir()
        for name in [name for name in os.environ if name.startswith("MTPRL_")]:
            del os.environ[name]
        os.environ |= {
            "MTPRL_HOME": str(self.home),
            "MTPRL_CPU_SLOTS": str(SLOTS),
            "MTPRL_STOP_GRACE": str(STOP_GRACE),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        self.postgres: servers.Postgres | None = None
        if trial.database == POSTGRESQL:
            folder.chmod(0o755)
            self.postgres = servers.Postgres(servers.template(shared / "postgres"), folder / "postgres")
            self.postgres.start()
            os.environ["MTPRL_DATABASE_URL"] = self.postgres.url
        self.redis_port = services.free_port(20_000 + trial.number * 50)
        os.environ["MTPRL_REDIS_URL"] = f"redis://{LOCAL_ADDRESS}:{self.redis_port}/0"
        self.dashboard_port = 0
        engine.migrate(settings().database_url)
        self._engine = create_engine(settings().database_url, poolclass=NullPool)

    # --- services ------------------------------------------------------------------------------------------------

    def start_redis(self) -> None:
        """A Redis that keeps nothing."""
        options = {"port": self.redis_port, "bind": LOCAL_ADDRESS, "save": "", "appendonly": "no", "dir": self.folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._start("redis", [services.redis_server(), *words])
        assert until(lambda: broker.answers(os.environ["MTPRL_REDIS_URL"]), SECONDS), "Redis does not answer"

    def start_worker(self, wait: bool = True) -> None:
        """`mtprl worker`, or the worker whose supervisors start the stand-in."""
        if self.trial.trainer == REAL:
            command = [str(Path(sys.executable).with_name("mtprl")), "worker"]
        else:
            words = stack.worker_command(stack.worker_name(settings(), "worker"))
            command = ["benchmarks.faults.standin_worker" if word == "backend.celery_app" else word for word in words]
        began = time.time()
        self._start("worker", command)
        heard = "SELECT count(*) FROM workers WHERE heartbeat_at > :began"
        assert not wait or until(lambda: self.ask(heard, began=began)[0][0], SECONDS), "no worker is heard of"

    def start_dashboard(self) -> None:
        """The dashboard, until it says that it is healthy."""
        self.dashboard_port = self.dashboard_port or services.free_port(30_000 + self.trial.number * 50)
        self._start("dashboard", stack.dashboard_command(self.dashboard_port))
        assert until(lambda: stack.is_healthy(self.dashboard_port), SECONDS), "the dashboard does not answer"

    def pids(self, name: str) -> list[int]:
        """The process of a service and all that it started, the first one first."""
        process = self.processes[name]
        with suppress(psutil.NoSuchProcess):
            return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        return []

    def wait(self, name: str) -> None:
        """Read the exit status of a service that was killed."""
        self.processes.pop(name).wait()

    def _start(self, name: str, command: list[str]) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )

    # --- what is there -------------------------------------------------------------------------------------------

    def ask(self, statement: str, **values: Any) -> list[Any]:
        """Rows of the database, by a connection of our own."""
        with self._engine.connect() as connection:
            return list(connection.execute(text(statement), values))

    def ask_patiently(self, statement: str, **values: Any) -> list[Any]:
        """The same, once the database answers."""
        deadline = time.monotonic() + 2 * SECONDS
        while True:
            try:
                return self.ask(statement, **values)
            except SQLAlchemyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else can write to the SQLite database."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield
            connection.rollback()

    def found(self) -> list[Found]:
        """Every living process with this home in its environment, but this one."""
        mine = f"MTPRL_HOME={self.home}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                names = (entry / "environ").read_bytes().split(b"\0")
                words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")[:-1]
                if mine in names and int(entry.name) != os.getpid():
                    marked = any(name.startswith(b"MTPRL_ATTEMPT=") for name in names)
                    found.append(Found(int(entry.name), *_role(words, marked), " ".join(words)))
        return found

    # --- the end -------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End the services as their keeper would: the worker by SIGTERM, and so on."""
        for name in ("worker", "dashboard", "redis"):
            process = self.processes.pop(name, None)
            if process is not None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)

    def clear(self) -> None:
        """Kill whatever is left of this home."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        for one in self.found():
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        if self.postgres is not None:
            self.postgres.stop()
        if os.path.ismount(self.home / "runs"):
            until(lambda: subprocess.run(["umount", str(self.home / "runs")], check=False).returncode == 0, 10, 0.5)


def _role(words: list[str], marked: bool) -> tuple[str, str]:
    for name in ("backend.supervisor", "benchmarks.faults.standin_supervisor"):
        if name in words:
            return "supervisor", words[words.index(name) + 1]
    if "--attempt" in words and "--output" in words:
        return "trainer", words[words.index("--output") + 1]
    return ("child", "") if marked else ("other", "")
