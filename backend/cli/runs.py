"""Commands that look at runs, and stop them."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from backend.cli.common import Experiment, Json, Run, find, print_json, reading

_MOST_RUNS = 10_000
"""Runs in one list: SQLite takes no more than some 30 000 values in one statement."""


def runs(
    experiment: Experiment = None,
    status: Annotated[str | None, typer.Option(help="Only this status, such as queued or failed.")] = None,
    regime: Annotated[str | None, typer.Option(help="Only this regime, such as occ.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only training or evaluation.")] = None,
    text: Annotated[str, typer.Option(help="Only runs with this in name, preset, algorithm, reason or note.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Only runs with this tag; may be repeated.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Only runs that are archived.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_RUNS, help="How many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List runs, the newest first; a queued one says why it waits."""
    from backend import show as output
    from backend import waiting
    from db import reads
    from db.statuses import Kind, Status

    with reading() as connection:
        rows = reads.list_runs(
            connection,
            experiment=experiment,
            status=_one_of(Status, "status", status),
            regime=regime,
            kind=_one_of(Kind, "kind", kind),
            text=text,
            tags=tag or (),
            archived=archived,
            limit=limit,
        )
        reasons = waiting.reasons(connection)
    if as_json:
        print_json([{**output.run_json(row), "waits": reasons.get(row.id)} for row in rows])
    elif rows:
        output.console().print(output.runs_table(rows, reasons))
    elif experiment or status or regime or kind or text or tag or archived:
        typer.echo("no run matches these filters")
    else:
        typer.echo("there are no runs yet; `mtprl submit demo/occ-calibrated` queues one")


def show(run: Run, as_json: Json = False) -> None:
    """Show one run, and what its last evaluation came to."""
    from backend import show as output
    from backend import waiting
    from backend.results import results
    from db import reads

    run_id = find(run)
    with reading() as connection:
        detail = reads.get_run(connection, run_id)
        waits = waiting.reasons(connection).get(run_id)
        found = results(connection, run_id)
    if as_json:
        print_json({**output.run_json(detail), "waits": waits, "results": output.results_json(found)})
        return
    output.console().print(output.run_lines(detail, waits))
    if found.by_benchmark:
        output.console().print(output.results_table(found))


def watch(run: Run) -> None:
    """Follow a run until it ends; Ctrl-C leaves it going. The exit code is 0 only where it finished."""
    from backend import runs as service
    from backend import show as output
    from backend.live import Live
    from db.statuses import Status

    run_id = find(run)
    try:
        with Live() as live:
            [row] = service.wait_for([run_id], live.show)
    except KeyboardInterrupt:
        typer.echo(f"run {run_id} goes on; `mtprl stop {run_id}` stops it", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"run {run_id} {row.status}{f': {output.note(row)}' if output.note(row) else ''}")
    if row.status != Status.FINISHED:
        raise typer.Exit(1)


def stop(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids, or names where only one run has them.", show_default=False),
    ],
) -> None:
    """Ask runs to stop; they may write a checkpoint first."""
    from backend import runs as service

    for run_id in [find(run) for run in runs]:
        typer.echo(service.stop(run_id))


def logs(
    run: Run,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
) -> None:
    """Print what the trainer printed."""
    from backend.trainer_process import LOG_FILE
    from db import reads
    from db.statuses import ENDED

    run_id = find(run)
    with reading() as connection:
        path = Path(reads.get_run(connection, run_id).folder) / LOG_FILE
    position = _copy_from(path, 0)
    while follow:
        with reading() as connection:
            ended = reads.get_run(connection, run_id).status in ENDED
        position = _copy_from(path, position)
        if ended:
            break
        time.sleep(0.5)
    if position == 0:
        typer.echo(f"run {run_id} has printed nothing yet", err=True)


class Format(StrEnum):
    """Formats of `export`."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


def export(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Ids, or names where only one run has them.", show_default=False),
    ],
    format: Annotated[Format, typer.Option(help="csv, one JSON object per line, or parquet.")] = Format.CSV,
    output: Annotated[
        Path | None, typer.Option(help="A file; by default standard output, but for parquet.", show_default=False)
    ] = None,
) -> None:
    """Write every value of runs: run, attempt, metric, step, mini_batch, value, time."""
    from backend import exporting
    from db import reads
    from trainer.errors import StoreError

    run_ids = [find(run) for run in runs]
    if format == Format.PARQUET and output is None:
        raise StoreError("--output: Parquet is nothing to print; name a file, such as --output runs.parquet")
    with reading() as connection:
        rows = (row for run_id in run_ids for row in reads.export_rows(connection, run_id))
        if output is None:
            exporting.write_text(rows, format, sys.stdout)
        elif format == Format.PARQUET:
            exporting.write_parquet(rows, output)
        else:
            with open(output, "w", encoding="utf-8", newline="") as file:
                exporting.write_text(rows, format, file)


E = TypeVar("E", bound=StrEnum)


def _one_of(words: type[E], option: str, text: str | None) -> E | None:
    from trainer.errors import StoreError

    if text is None:
        return None
    if text not in set(words):
        raise StoreError(f"--{option}: {text!r} is no {option}; give one of {', '.join(words)}")
    return words(text)


def _copy_from(path: Path, position: int) -> int:
    """Print the file from a byte on; returns the byte after its end."""
    try:
        with open(path, "rb") as file:
            file.seek(position)
            while chunk := file.read(2**20):
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            return file.tell()
    except FileNotFoundError:
        return position
