"""The embedded stack on one machine: Redis, a worker and the dashboard, all on 127.0.0.1, each a process of its own.

`up` starts what does not run and records it in MTPRL_HOME/stack.json; `down` ends the runs and what is recorded there, as far as
it still is the same process, and nothing else. Where MTPRL_REDIS_URL names a Redis, that one is used and none is started.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType

from backend import broker, processes, services, store
from backend.processes import Process
from backend.services import Record, Service
from backend.settings import LOCAL_ADDRESS, ROOT, Settings, check_packages, environment, read_stack, settings
from backend.supervisor import supervise
from db import claims, engine, reads
from trainer.errors import StoreError

REDIS_PORT, DASHBOARD_PORT = 6390, 8501
"""Where the search for a free port begins."""

FOREGROUND_INTERVAL = 2.0
PATIENCE = 30.0
"""Seconds that `down`, for which somebody waits, gives a database to take the end of a run."""

Say = Callable[[str], None]


def up(say: Say, port: int | None = None) -> str:
    """Start what does not run yet, and return the dashboard's address.

    Args:
        say: is given a line of progress now and then.
        port: the dashboard's; None: the one in MTPRL_DASHBOARD_PORT, else the last one or the next free one.

    Raises:
        StoreError: the port is in use, or a service does not come up; what was started for this call is ended again, as it
            is where a signal ends this process meanwhile.
    """
    check_packages()
    of = settings()
    with _interruptible(), _lock(of):
        recorded = read_stack(of)
        dashboard_port = _dashboard_port(recorded.get("dashboard"), port or of.dashboard_port)
        engine.migrate(of.database_url)
        running: dict[str, Record] = dict(recorded)
        started: list[str] = []

        def spawned(name: str, record: Record) -> None:
            running[name] = record
            started.append(name)
            _save(of, running)

        try:
            for make in (_redis, _worker, lambda of, _: _dashboard(of, dashboard_port)):
                service = make(of, running)
                if service is None:
                    continue
                service.ensure(recorded.get(service.name), say, partial(spawned, service.name))
        except BaseException:
            for name in reversed(started):
                processes.terminate(services.identity(running.pop(name)), services.TERMINATE)
            _save(of, {name: record for name, record in running.items() if services.lives(record)})
            raise
    if elsewhere := services.worker_elsewhere(of):
        say(elsewhere)
    return dashboard_url(of) or ""


def stay(say: Say) -> None:
    """Keep the stack up until the caller is interrupted, or another process takes it down.

    Raises:
        StoreError: a service ended and could not be started again.
    """
    of = settings()
    while recorded := read_stack(of):
        dead = [name for name, record in recorded.items() if not services.lives(record)]
        if dead:
            say(f"{' and '.join(dead)} ended, see {of.logs}")
            up(say)
        time.sleep(FOREGROUND_INTERVAL)


def down(say: Say) -> None:
    """End this home's runs on this host, then the services that `up` recorded; `say` is told what ended.

    Raises:
        StoreError: a run could not be ended, because the database takes nothing; everything else is down.
    """
    of = settings()
    if not of.home.is_dir():
        say(f"nothing was ever started in {of.home}")
        return
    with _lock(of):
        recorded = read_stack(of)
        # The worker goes first, or it would start the next queued run as soon as one ends.
        _end(recorded, "worker", say)
        try:
            not_ended = end_runs(of, say)
        except store.UNREACHABLE as error:
            not_ended = [
                f"the database does not answer ({store.cause(error)}), so that no run could be ended, and runs that train go "
                "on; bring it back, then run `mtprl down` again"
            ]
        for name in ("dashboard", "redis"):
            _end(recorded, name, say)
        of.stack_file.unlink(missing_ok=True)
    if not_ended:
        raise StoreError("\n".join(not_ended))


def dashboard_url(of: Settings) -> str | None:
    """The dashboard's address, where `up` recorded one that lives."""
    record = read_stack(of).get("dashboard")
    return f"http://{LOCAL_ADDRESS}:{record['facts']['port']}" if record and services.lives(record) else None


# --- the services ----------------------------------------------------------------------------------------------


def _redis(of: Settings, running: dict[str, Record]) -> Service | None:
    if of.redis_url is not None:
        if not broker.answers(of.redis_url):
            raise StoreError(
                "the Redis that MTPRL_REDIS_URL names does not answer; start it, or unset the variable to use the embedded one"
            )
        return None
    record = running.get("redis")
    port = record["facts"]["port"] if record else REDIS_PORT
    if record is None or not services.lives(record):
        port = services.free_port(port)
    url = f"redis://{LOCAL_ADDRESS}:{port}/0"
    options = {
        "port": port,
        "bind": LOCAL_ADDRESS,
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "dir": of.logs,
    }
    return Service(
        name="redis",
        command=[
            services.redis_server(),
            *(word for key, value in options.items() for word in (f"--{key}", str(value))),
        ],
        environment=os.environ,
        log=of.logs / "redis.log",
        answers=lambda process: broker.server_pid(url) == process.pid,
        seconds=15,
        facts={"port": port, "url": url},
    )


def worker_command(name: str) -> list[str]:
    """The program of a worker."""
    options = ["--pool", "solo", "--without-mingle", "--without-gossip", "--without-heartbeat", "--loglevel", "INFO"]
    return [sys.executable, "-m", "celery", "-A", "backend.celery_app", "worker", *options, "--hostname", name]


def worker_name(of: Settings, prefix: str = "mtprl") -> str:
    """The name of this home's worker on this host."""
    return f"{prefix}-{hashlib.sha256(str(of.home).encode()).hexdigest()[:6]}@{socket.gethostname()}"


def _worker(of: Settings, running: dict[str, Record]) -> Service:
    name = worker_name(of)
    redis_url = of.redis_url or running["redis"]["facts"]["url"]

    def answers(process: Process) -> bool:
        with store.reading() as connection:
            rows = reads.workers(connection)
        fresh = time.time() - services.SECOND_LOOK
        return any(row.name == name and row.pid == process.pid and row.heartbeat_at > fresh for row in rows)

    return Service(
        name="worker",
        command=worker_command(name),
        environment=environment(),
        log=of.logs / "worker.log",
        answers=answers,
        seconds=90,
        facts={"settings": _digest(of.database_url, redis_url, of.cpu_slots, of.stop_grace)},
    )


def dashboard_command(port: int) -> list[str]:
    """The program of the dashboard, which listens on 127.0.0.1 alone."""
    options = {
        "server.address": LOCAL_ADDRESS,
        "server.port": port,
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "server.fileWatcherType": "none",
    }
    return [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py")),
        *(word for key, value in options.items() for word in (f"--{key}", str(value))),
    ]


def _dashboard(of: Settings, port: int) -> Service:
    return Service(
        name="dashboard",
        command=dashboard_command(port),
        environment=environment(),
        log=of.logs / "dashboard.log",
        answers=lambda _: is_healthy(port),
        seconds=90,
        facts={"port": port, "settings": _digest(of.database_url, of.redis_url)},
    )


def _dashboard_port(record: Record | None, wanted: int | None) -> int:
    """The port to use.

    Raises:
        StoreError: the one that was asked for is in use, or the dashboard runs at another one.
    """
    current = record["facts"]["port"] if record else None
    if record is not None and services.lives(record):
        if wanted not in (None, current):
            raise StoreError(f"the dashboard already runs at port {current}; `mtprl down` first, to use port {wanted}")
        return int(record["facts"]["port"])
    if wanted is None:
        return services.free_port(current or DASHBOARD_PORT)
    if not services.port_is_free(wanted):
        raise StoreError(
            f"port {wanted} is in use by another program; give the dashboard another one, or none to take the next free one"
        )
    return wanted


def is_healthy(port: int) -> bool:
    """Whether the dashboard at this port of 127.0.0.1 answers."""
    connection = http.client.HTTPConnection(LOCAL_ADDRESS, port, timeout=2)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# --- ending ----------------------------------------------------------------------------------------------------


def _end(recorded: dict[str, Record], name: str, say: Say) -> None:
    record = recorded.get(name)
    if record is not None and processes.terminate(services.identity(record), services.TERMINATE):
        say(f"{name} is stopped")


def end_runs(of: Settings, say: Say) -> list[str]:
    """End the runs of this home that this host has, through their supervisors, or in the place of a dead one.

    Returns:
        A sentence for each run that could not be ended.
    """
    if not store.is_ready():
        return []
    attempts = active_attempts(of)
    if attempts:
        say(f"stopping {len(attempts)} {'run' if len(attempts) == 1 else 'runs'}, up to {of.stop_grace:g} s ...")
    supervisors = [
        Process(attempt.supervisor_pid, attempt.supervisor_started)
        for attempt in attempts
        if attempt.supervisor_pid is not None and attempt.supervisor_started is not None
    ]
    for supervisor in supervisors:
        processes.ask_to_end(supervisor)
    for supervisor in supervisors:
        processes.wait(supervisor, of.stop_grace + services.TERMINATE)
    causes: dict[int, str] = {}
    for attempt in active_attempts(of):
        try:
            supervise(attempt.run_id, attempt.attempt, shut_down=True, patience=PATIENCE)
        except store.UNREACHABLE as error:
            causes[attempt.run_id] = store.cause(error)
    left = {attempt.run_id for attempt in active_attempts(of)}
    not_ended = []
    with store.reading() as connection:
        for attempt in attempts:
            run = reads.get_run(connection, attempt.run_id)
            if run.id in left:
                not_ended.append(_not_ended(run, causes.get(run.id)))
            else:
                say(f"run {run.id} ({run.name}) {run.status} at step {run.step} of {run.total_steps}")
    return not_ended


def _not_ended(run: reads.RunDetail, cause: str | None) -> str:
    attempt = run.attempts[-1]
    trains = processes.alive(attempt.trainer_pid, attempt.trainer_started)
    # Where a supervisor lives, only its log holds what the database said to it.
    why = f"the database takes nothing ({cause})" if cause else f"see the end of {run.folder}/supervisor.log"
    return (
        f"run {run.id} ({run.name}) could not be ended in the database: {why}; "
        f"its trainer {f'still runs as process {attempt.trainer_pid}' if trains else 'is gone'}; "
        "make room on the database's disk or bring it back, then run `mtprl down` again"
    )


def active_attempts(of: Settings) -> list[claims.OwnerRow]:
    """The attempts of this home that this host has."""
    with store.reading() as connection:
        attempts = claims.owners(connection, host=socket.gethostname())
    return [attempt for attempt in attempts if Path(attempt.folder).is_relative_to(of.runs)]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that whoever is ended by one can clean up as after any other error.

    A handler of the caller's stays, and so does being deaf to SIGHUP under nohup. Only the first signal counts: a second one
    would break off the cleaning up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone, and Python refuses to set handlers elsewhere
        return
    received: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise SystemExit(128 + number)

    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


# --- stack.json ------------------------------------------------------------------------------------------------


@contextmanager
def _lock(of: Settings) -> Iterator[None]:
    """One `up` or `down` of a home at a time; a second one waits."""
    of.logs.mkdir(parents=True, exist_ok=True)
    with open(of.home / "stack.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _save(of: Settings, running: dict[str, Record]) -> None:
    """Write stack.json in one step, so that nobody ever reads half of it."""
    new = of.stack_file.with_suffix(".new")
    new.write_text(json.dumps({"services": running}, indent=2) + "\n", encoding="utf-8")
    new.replace(of.stack_file)


def _digest(*values: object) -> str:
    """Tells settings apart without writing down what they hold: addresses may carry passwords."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]
