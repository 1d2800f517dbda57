"""Commands about runs."""

from __future__ import annotations

import csv
import json
import re
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from backend.cli.common import Json, Overrides, Run, find, print_json, read_config, reading, require_store

if TYPE_CHECKING:
    from db.reads import ExportRow

_MOST_RUNS = 10_000
"""Runs in one list: SQLite takes no more than some 30 000 values in one statement."""

Experiment = Annotated[str | None, typer.Option(help="Only this experiment.")]


def submit(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG|PRESET", help="A YAML file, or a preset's name.", show_default=False)
    ] = None,
    control_of: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="In the place of a configuration: policy at the mean coefficient of this occ run."
        ),
    ] = None,
    overrides: Overrides = None,
    seeds: Annotated[str | None, typer.Option(metavar="0,1,2", help="One run per seed.")] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="Runs of one experiment stand together.", show_default="default, or that of the --control-of run"
        ),
    ] = None,
) -> None:
    """Queue a run, or one per seed; a run that could not work is refused at once."""
    require_store()
    from backend import runs as service
    from db import reads
    from trainer.config import parse
    from trainer.errors import ConfigError, Problem

    if (config is None) == (control_of is None):
        raise ConfigError([Problem("", "give either a configuration (a file or a preset) or --control-of RUN")])
    if config is not None:
        (values, preset), usual = read_config(config, overrides), "default"
    else:
        (values, usual), preset = _control(control_of or "", overrides), None
    experiment = usual if experiment is None else experiment
    if seeds is None:
        ids = [service.submit(parse(values), experiment=experiment, preset=preset)]
    else:
        ids = service.submit_many(values, _numbers(seeds), experiment=experiment, preset=preset)
    with reading() as connection:
        for run_id in ids:
            typer.echo(f"run {run_id} ({reads.get_run(connection, run_id).name}) is queued")
    notice = service.notice()
    if notice:
        typer.secho(notice, fg="yellow", err=True)


def runs(
    experiment: Experiment = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_RUNS, help="How many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    from backend import show as output
    from db import reads

    with reading() as connection:
        rows = reads.list_runs(connection, experiment=experiment, limit=limit)
    if as_json:
        print_json([output.run_json(row) for row in rows])
    elif rows:
        output.console().print(output.runs_table(rows))
    else:
        typer.echo("there are no runs yet; `mtprl submit demo/occ-calibrated` queues one")


def show(run: Run, as_json: Json = False) -> None:
    """Show one run."""
    from backend import show as output
    from db import reads

    run_id = find(run)
    with reading() as connection:
        detail = reads.get_run(connection, run_id)
    if as_json:
        print_json(output.run_json(detail))
    else:
        output.console().print(output.run_lines(detail))


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


def stop(run: Run) -> None:
    """Ask a run to stop; it may write a checkpoint first."""
    from backend import runs as service

    typer.echo(service.stop(find(run)))


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


def leaderboard(experiment: Experiment = None, as_json: Json = False) -> None:
    """Compare regimes on held-out problems, among runs for which that means something."""
    from backend import leaderboard as service
    from backend import show as output

    with reading() as connection:
        boards = service.leaderboard(connection, experiment)
    if as_json:
        print_json([output.board_json(board) for board in boards])
        return
    console = output.console()
    for board in boards:
        console.print(output.board_table(board))
        if board.caveat:
            console.print(board.caveat, style="yellow")
        console.print()
    if not boards:
        typer.echo("there is no finished run with an evaluation yet")


class Format(StrEnum):
    """Formats of `export`."""

    CSV = "csv"
    JSONL = "jsonl"


def export(
    run: Run,
    format: Annotated[Format, typer.Option(help="csv, or one JSON object per line.")] = Format.CSV,
    output: Annotated[Path | None, typer.Option(help="A file; by default standard output.")] = None,
) -> None:
    """Write every value of a run: run, attempt, metric, step, mini_batch, value, time."""
    from db import reads

    run_id = find(run)
    with reading() as connection:
        rows = reads.export_rows(connection, run_id)
        if output is None:
            _write(rows, format, sys.stdout)
        else:
            with open(output, "w", encoding="utf-8", newline="") as file:
                _write(rows, format, file)


def _control(run: str, overrides: list[str] | None) -> tuple[dict[str, Any], str]:
    """The values of a run's matched control, overrides applied, and the experiment of that run."""
    from backend.controls import matched_control
    from backend.settings import variables
    from trainer.config import resolve

    run_id = find(run)
    with reading() as connection:
        control = matched_control(connection, run_id)
    typer.echo(control.words)
    return resolve(control.config.model_dump(mode="json"), overrides or (), variables()), control.experiment


def _write(rows: Iterator[ExportRow], format: Format, file: TextIO) -> None:
    from db.reads import ExportRow
    from trainer.events import encode_number

    if format == Format.CSV:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ExportRow._fields)
        writer.writerows((*row[:5], encode_number(row.value), row.time) for row in rows)
    else:
        for row in rows:
            file.write(json.dumps({**row._asdict(), "value": encode_number(row.value)}) + "\n")


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    # `int` would also take other scripts' digits and 1_0, and fail at thousands of digits.
    if not all(re.fullmatch("[0-9]{1,18}", part) for part in parts):
        from trainer.errors import ConfigError, Problem

        raise ConfigError([Problem("--seeds", f"{text!r} is refused; give whole numbers from 0 on, such as 0,1,2")])
    return [int(part) for part in parts]


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
