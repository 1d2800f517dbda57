"""The services one by one, each in the foreground: for containers, systemd and SLURM, where something else keeps them running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from types import FrameType
from typing import Annotated

import typer


def migrate() -> None:
    """Bring the database to this version: makes its tables, or changes those of an older version."""
    from backend.settings import settings
    from db import engine

    engine.migrate(settings().database_url)
    typer.echo("the database is at the newest version")


def worker(
    name: Annotated[
        str | None,
        typer.Option(help="Its name, where several work on one host for one MTPRL_HOME.", show_default=False),
    ] = None,
    end_runs: Annotated[
        bool,
        typer.Option(
            help="When it ends, stop its runs with a checkpoint and queue them again: where nothing may stay behind, as in a container."
        ),
    ] = False,
    check: Annotated[
        bool, typer.Option(help="Only say whether this host's worker is alive; exit code 1 if not.")
    ] = False,
) -> None:
    """Take runs from the queue and look after those of this host, until Ctrl-C or SIGTERM; runs go on without it."""
    from backend import stack
    from backend.cli.common import require_store
    from backend.settings import check_packages, environment, settings
    from backend.worker import STARTER

    check_packages()
    require_store()
    name = f"{name}@{socket.gethostname()}" if name else stack.worker_name(settings(), "worker")
    if check:
        _check(name)
        return
    child = subprocess.Popen(stack.worker_command(name), env={**environment(), STARTER: str(os.getpid())})
    ended: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended.append(number)
        child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    code = child.wait()
    if end_runs:
        _end_runs()
    if not ended:
        typer.secho(f"the worker ended by itself with exit code {code}; see above", fg="red", err=True)
        raise typer.Exit(1)


def dashboard(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="By default MTPRL_DASHBOARD_PORT, else 8501.")
    ] = None,
) -> None:
    """Serve the dashboard at 127.0.0.1 until Ctrl-C or SIGTERM."""
    from backend import stack
    from backend.cli.common import require_store
    from backend.settings import check_packages, environment, settings

    check_packages()
    require_store()
    command = stack.dashboard_command(port or settings().dashboard_port or stack.DASHBOARD_PORT)
    # This process becomes the dashboard, so that signals and the exit code are its own.
    os.execve(command[0], command, environment())


def _end_runs() -> None:
    from backend import again, stack, store
    from backend.settings import settings
    from backend.supervisor import BY_SHUTDOWN
    from db import reads
    from db.statuses import Status

    attempts = stack.active_attempts(settings())
    for not_ended in stack.end_runs(settings(), typer.echo):
        typer.secho(not_ended, fg="red", err=True)
    with store.reading() as connection:
        ended = [reads.get_run(connection, attempt.run_id) for attempt in attempts]
    for run in ended:
        if run.status == Status.STOPPED and run.reason.startswith(BY_SHUTDOWN):
            typer.echo(again.resume(run.id, cause="its worker was shut down"))


def _check(name: str) -> None:
    from backend import fleet, store
    from db import reads

    with store.reading() as connection:
        heard = {row.name: row.heartbeat_at for row in reads.workers(connection)}
        is_alive = name in {row.name for row in fleet.alive(connection)}
    last = f"was last heard of {time.time() - heard[name]:.0f} s ago" if name in heard else "was never heard of"
    if not is_alive:
        typer.secho(f"worker {name} is not alive; it {last}", fg="red", err=True)
        raise typer.Exit(1)
    typer.echo(f"worker {name} {last}")
