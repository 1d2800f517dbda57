"""What several commands share: the configuration that an argument names, and the store, checked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from trainer.config import EvaluationConfig, RunConfig

Config = Annotated[
    str, typer.Argument(metavar="CONFIG|PRESET", help="A YAML file, or a preset's name.", show_default=False)
]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change a value; may be repeated.")]
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, or its name where only one has it.", show_default=False)
]
Experiment = Annotated[str | None, typer.Option(help="Only this experiment.")]
Archived = Annotated[bool, typer.Option("--archived", help="Count archived runs, too.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@contextmanager
def reading() -> Iterator[Connection]:
    """A look at the store, once it is sure that its tables are there.

    Raises:
        StoreError: they are not, or are of another version.
    """
    require_store()
    from backend import store

    with store.reading() as connection:
        yield connection


def require_store() -> None:
    """Make sure that the store is there and of this version.

    Raises:
        StoreError: it is not.
    """
    from backend import store

    store.require()


def find(text: str) -> int:
    """The id of the run that the user means.

    Raises:
        StoreError: no run has this id or name, or several have the name.
    """
    from db import reads
    from trainer.errors import StoreError

    if text.isdecimal() and not text.isascii():
        raise StoreError(f"run {text!r} is refused; write its id with the digits 0 to 9, or give its name")
    with reading() as connection:
        return reads.find_run(connection, text)


def read_config(name: str, overrides: Sequence[str] | None) -> tuple[dict[str, Any], str | None]:
    """The values that a file or a preset holds, with overrides applied and variables filled in; and the preset's name.

    Raises:
        ConfigError: it is neither, or cannot be read.
    """
    from backend.registry import resolved

    values, preset = read_values(name, overrides)
    return resolved(values), preset


def is_config(name: str) -> bool:
    """Whether it names a preset, or a file that may be a configuration."""
    from trainer.presets import presets

    return name in presets() or Path(name).suffix in (".yaml", ".yml") or Path(name).exists()


def read_values(name: str, overrides: Sequence[str] | None) -> tuple[dict[str, Any], str | None]:
    """The same with registered names as they stand there.

    Raises:
        ConfigError: it is neither, or cannot be read.
    """
    from backend.settings import variables
    from trainer.config import read_yaml, resolve
    from trainer.errors import ConfigError, Problem
    from trainer.presets import presets

    preset = presets().get(name)
    if preset is not None:
        values = preset.values
    elif is_config(name):
        values = read_yaml(name)
    else:
        raise ConfigError([Problem("", f"{name!r} is neither a file nor a preset; `mtprl presets` lists the presets")])
    return resolve(values, overrides or (), variables()), preset.name if preset else None


def become_trainer(config: RunConfig | EvaluationConfig, folder: Path) -> None:
    """Do a run, or this host's share of it, in this process, which becomes the trainer, so that Ctrl-C and the exit code are the trainer's own.

    Raises:
        MtprlError: the folder holds another run, or is held by another trainer; the environment tells of a job that cannot make the run.
        OSError: it cannot be written.
    """
    from backend.settings import environment
    from backend.trainer_process import TRAINER
    from trainer.config import dump
    from trainer.folder import CONFIG_FILE, keep_config, only_writer
    from trainer.launch.hosts import share_of

    if share_of(config.launch.num_processes).is_main:
        folder.mkdir(parents=True, exist_ok=True)
        with only_writer(folder):
            keep_config(config, folder)
        given = str(folder / CONFIG_FILE)
    else:  # the folder is the first host's to write to
        with NamedTemporaryFile("w", prefix="mtprl-", suffix=".yaml", encoding="utf-8", delete=False) as file:
            file.write(dump(config))
        given = file.name
    sys.stdout.flush()
    os.execve(sys.executable, [*TRAINER, given, "--output", str(folder)], environment())


def tell(notice: str) -> None:
    """Say what the user should know beside the result, if there is something."""
    if notice:
        typer.secho(notice, fg="yellow", err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
