"""Live copies of the metrics for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backend.cli.common import Experiment, require_store

mirror = typer.Typer(name="mirror", help="A live copy of the metrics for another tool.", no_args_is_help=True)


@mirror.callback()
def _group() -> None:
    """A live copy of the metrics for another tool; a process of its own, which neither training nor its supervisor knows of."""


@mirror.command()
def tensorboard(
    logdir: Annotated[Path, typer.Option(help="The folder that `tensorboard --logdir` is given.")],
    experiment: Experiment = None,
    every: Annotated[float, typer.Option(min=0.5, help="Seconds between two looks at the store.")] = 5.0,
    once: Annotated[bool, typer.Option("--once", help="Copy what there is, and end.")] = False,
) -> None:
    """Write event files that TensorBoard reads, until Ctrl-C; called again, it goes on where it stopped."""
    from backend.mirror import tensorboard as writer
    from backend.mirror.loop import mirror as follow

    require_store()
    writer.require()
    try:
        follow(logdir, experiment, every, typer.echo, once=once)
    except KeyboardInterrupt:
        typer.echo(f"{logdir}: the same command goes on from here", err=True)
