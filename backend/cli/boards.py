"""The leaderboard from the shell."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from backend.cli.common import Archived, Experiment, Json, print_json, reading, tell


class Format(StrEnum):
    """Formats of `leaderboard`."""

    CSV = "csv"
    MARKDOWN = "markdown"


def leaderboard(
    experiment: Experiment = None,
    archived: Archived = False,
    as_json: Json = False,
    format: Annotated[Format | None, typer.Option(help="csv or markdown in the place of a table.")] = None,
    freeze: Annotated[
        str | None, typer.Option(metavar="TITLE", help="Keep these boards for good, under this title.")
    ] = None,
    snapshot: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The boards of a snapshot, not those of now.")
    ] = None,
    snapshots: Annotated[bool, typer.Option("--snapshots", help="List what was frozen.")] = False,
) -> None:
    """Compare regimes on held-out problems, among runs for which that means something."""
    from backend import leaderboard as service
    from backend import show as output
    from backend import store, words
    from backend.leaderboard import export
    from backend.leaderboard import snapshots as frozen

    if snapshots and any(value is not None for value in (experiment, format, freeze, snapshot)):
        raise typer.BadParameter("--snapshots lists what was frozen: give only --json with it")
    if as_json and format is not None:
        raise typer.BadParameter(f"--json and --format {format}: give one of them")
    if snapshots:
        _list_snapshots(as_json)
        return
    if snapshot is not None and (experiment is not None or freeze is not None or archived):
        raise typer.BadParameter("a snapshot is what it is: give neither --experiment, --archived nor --freeze with it")
    with reading() as connection:
        if snapshot is None:
            boards = service.leaderboard(connection, experiment, archived=archived)
            if not archived and (said := words.archived_left_out(service.left_out(connection, experiment))):
                tell(f"{said}; --archived counts them")
        else:
            boards = frozen.thaw(connection, snapshot).boards
    if freeze is not None:
        with store.writing() as connection:
            kept = frozen.freeze(connection, freeze, boards, experiment)
        typer.echo(f"snapshot {kept.token}: the page leaderboard?snapshot={kept.token} shows it", err=True)
    if as_json:
        print_json(output.boards_json(boards))
    elif format is not None:
        write = export.to_csv if format == Format.CSV else export.to_markdown
        sys.stdout.write(write(boards))
    elif boards:
        output.print_boards(output.console(), boards)
    else:
        typer.echo("there is no finished run with an evaluation after its last step yet")


def _list_snapshots(as_json: bool) -> None:
    from backend.leaderboard import snapshots

    with reading() as connection:
        rows = snapshots.listed(connection)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        typer.echo(f"{row.token}  {datetime.fromtimestamp(row.created_at):%Y-%m-%d %H:%M}  {row.title}")
    if not rows:
        typer.echo("nothing was frozen yet; `mtprl leaderboard --freeze TITLE` does")
