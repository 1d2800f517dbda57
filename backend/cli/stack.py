"""Commands that start, stop and examine the embedded stack."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer

from backend.cli.common import Json, print_json

Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="The dashboard's port; by default 8501 or the next free one.")
]


def up(
    foreground: Annotated[bool, typer.Option(help="Stay attached, and take everything down on Ctrl-C.")] = False,
    port: Port = None,
) -> None:
    """Start what does not run yet: Redis, a worker and the dashboard, on this machine only."""
    from backend import stack

    if foreground:
        signal.signal(signal.SIGTERM, _interrupt)
    address = stack.up(typer.echo, port)
    typer.secho(f"Dashboard: {address}", bold=True)
    if not foreground:
        return
    typer.echo("Ctrl-C takes everything down.")
    try:
        stack.stay(typer.echo)
    except KeyboardInterrupt:
        typer.echo("")
    finally:
        stack.down(typer.echo)


def down() -> None:
    """Stop the runs on this machine and everything that `up` started, and nothing else."""
    from backend import stack

    stack.down(typer.echo)


def demo(again: Annotated[bool, typer.Option(help="Run everything anew, as another experiment.")] = False) -> None:
    """Compare detach, ce, policy and occ on a small task: a few minutes on two cores. A second call reuses what is there."""
    from backend.demo import demo as run_demo

    sys.exit(run_demo(again=again))


def doctor(as_json: Json = False) -> None:
    """Check everything that runs need, and say how to mend what is not right."""
    from backend import show
    from backend.doctor import Verdict, examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            colour = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}[finding.verdict]
            typer.echo(f"{typer.style(f'{finding.verdict:4}', fg=colour)}  {finding.subject:10} {finding.words}")
    if as_json:
        print_json([show.plain(finding._asdict()) for finding in findings])
    if any(finding.verdict == Verdict.FAIL for finding in findings):
        raise typer.Exit(1)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
