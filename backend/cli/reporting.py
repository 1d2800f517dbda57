"""The command that writes a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.common import Archived, reading, tell


def report(
    experiment: Annotated[str, typer.Argument(metavar="EXPERIMENT", help="Its name.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER|FILE",
            help="A folder, in which the files are called report-EXPERIMENT; or a file, whose ending .html or .md says the format.",
            show_default="the current folder",
        ),
    ] = Path("."),
    formats: Annotated[
        str | None,
        typer.Option(
            "--format", help="html, markdown, or both.", show_default="html,markdown, or what the file's ending says"
        ),
    ] = None,
    archived: Archived = False,
) -> None:
    """Write a report on an experiment: answer, protocol, curves, coefficient, every run, configurations, and the commands to repeat it.

    The HTML file needs nothing else, no network either.
    """
    from backend import report as service
    from backend import show, words
    from db import reads

    files = _files(experiment, output, formats)
    console = show.console(stderr=True)
    with console.status("reading") as status, reading() as connection:
        made = service.make(
            connection,
            experiment,
            now=time.time(),
            tell=lambda what: status.update(f"reading: {what}"),
            archived=archived,
        )
        put_away = 0 if archived else reads.count_runs(connection, experiment=experiment, archived=True)
    for format, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(service.written(made, format), encoding="utf-8")
        typer.echo(path)
    if said := words.archived_left_out(put_away):
        tell(f"{said}; --archived counts them")


def _files(experiment: str, output: Path, formats: str | None) -> dict[str, Path]:
    """By format, the file to write.

    Raises:
        ConfigError: a format is not known, or does not fit the file.
    """
    from backend.report import ENDINGS, file_name
    from trainer.errors import ConfigError, Problem

    ending = next((name for name, suffix in ENDINGS.items() if output.suffix == suffix and not output.is_dir()), None)
    wanted = (
        [part.strip() for part in formats.split(",")] if formats is not None else [ending] if ending else [*ENDINGS]
    )
    for name in wanted:
        if name not in ENDINGS:
            raise ConfigError([Problem("--format", f"{name!r} is not known; give html, markdown, or html,markdown")])
    if ending is None:
        if output.suffix and not output.is_dir():
            raise ConfigError(
                [
                    Problem(
                        "--output",
                        f"{str(output)!r} ends in neither .html nor .md; give such a file, or a folder that exists",
                    )
                ]
            )
        return {name: output / file_name(experiment, name) for name in wanted}
    if wanted != [ending]:
        message = f"{formats} does not fit the file {output.name}; give a folder, or leave --format out"
        raise ConfigError([Problem("--format", message)])
    return {ending: output}
