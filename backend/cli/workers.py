"""Commands about the workers of all hosts that share the queue."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.common import Json, print_json, reading, require_store

Worker = Annotated[
    str | None,
    typer.Argument(metavar="[WORKER]", help="A worker's name; by default all of this host.", show_default=False),
]


def workers(as_json: Json = False) -> None:
    """List the workers that are alive: their devices, and whether they are drained."""
    from backend import fleet
    from backend import show as output
    from db import queue

    with reading() as connection:
        rows, taken = fleet.alive(connection), queue.taken(connection)
    if as_json:
        print_json([output.worker_json(row, taken) for row in rows])
    elif rows:
        output.console().print(output.workers_table(rows, taken))
    else:
        typer.echo("no worker is alive; `mtprl up` starts one")


def drain(worker: Worker = None) -> None:
    """Let a worker take no new run; those that it has go on to their end."""
    _set(worker, draining=True)


def undrain(worker: Worker = None) -> None:
    """Let a worker take runs again."""
    _set(worker, draining=False)


def _set(worker: str | None, *, draining: bool) -> None:
    from backend import fleet

    require_store()
    for name in fleet.drain(worker, draining):
        typer.echo(f"{name} takes no new run; those that it has go on" if draining else f"{name} takes runs again")
