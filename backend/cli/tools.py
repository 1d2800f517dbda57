"""Commands that need neither queue nor database."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.common import (
    Config,
    Json,
    Overrides,
    become_trainer,
    is_config,
    print_json,
    read_config,
    read_values,
    tell,
)


def train(
    config: Config,
    output: Annotated[Path, typer.Option(help="Folder for events, log and checkpoints.", show_default=False)],
    overrides: Overrides = None,
) -> None:
    """Train one run by itself: no queue, no database. In a folder with checkpoints of the same run it goes on from them."""
    from backend.settings import check_packages
    from trainer import preflight
    from trainer.config import parse

    check_packages()
    values, _ = read_config(config, overrides)
    run = parse(values)
    preflight.check(run)
    if run.evaluation.afterwards is not None:
        tell("evaluation.afterwards is for runs of the queue; `mtprl evaluate` evaluates a checkpoint's model by hand")
    become_trainer(run, output)


def contamination(
    of: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|DATA",
            help="A YAML file, of which only data and evaluation.benchmarks count, or a preset; or a JSONL or Parquet file, or a registered data set.",
            show_default=False,
        ),
    ],
    suite: Annotated[
        str | None,
        typer.Option(
            help="six, names of benchmarks, or a JSONL file; compared beside the benchmarks of the configuration.",
            show_default="the six where their files are at hand",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Say which problems of the benchmarks are in the training data, word for word or nearly."""
    from backend import show
    from backend.contamination import compared, report
    from backend.registry import resolved, section_of
    from trainer.config import resolve

    if Path(of).suffix in (".jsonl", ".json", ".parquet"):
        values = resolve({"data": section_of(of)}, overrides or ())
    elif is_config(of):
        values, _ = read_values(of, overrides)
    else:
        values = resolve({"data": of}, overrides or ())
    found = report(compared(resolved({name: values[name] for name in ("data", "evaluation") if name in values})), suite)
    for warning in found.warnings:
        typer.secho(warning, fg="yellow", err=True)
    if as_json:
        print_json(found.plain())
        return
    console = show.console()
    console.print(show.contamination_table(found))
    console.print(show.contamination_pairs(found))


def make_base() -> None:
    """Make the demo's base model and its problems, unless they are there already."""
    from backend.demo import make_base as make

    typer.echo(f"the base model is in {make()}")


def presets(
    name: Annotated[
        str | None, typer.Argument(help="Print this one as YAML, with every setting that there is.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the presets, or print one as the configuration file that it stands for."""
    from trainer.config import dump, parse
    from trainer.errors import ConfigError, Problem
    from trainer.presets import presets as all_presets
    from trainer.presets import recipes, regimes

    if name is not None:
        if name not in all_presets():
            parts = f"RECIPE/REGIME with a recipe of {', '.join(recipes())} and a regime of {', '.join(regimes())}"
            raise ConfigError([Problem("", f"{name!r} is no preset; give {parts}")])
        config = parse(all_presets()[name].values)
        if as_json:
            print_json(config.model_dump(mode="json"))
        else:
            typer.echo(dump(config), nl=False)
        return
    if as_json:
        print_json([asdict(preset) for preset in all_presets().values()])
        return
    typer.echo("A preset is RECIPE/REGIME, such as demo/occ; `mtprl presets demo/occ` prints it whole.")
    for title, listed in {"Recipes": recipes(), "Regimes": regimes()}.items():
        typer.secho(f"\n{title}", bold=True)
        width = max(map(len, listed)) + 2
        for part in listed.values():
            typer.echo(f"  {part.name:{width}}{_indented(part.description, width + 2)}")


def _indented(text: str, margin: int) -> str:
    """The text in lines as wide as the terminal, all but the first after a margin."""
    room = max(40, shutil.get_terminal_size((140, 24)).columns - margin)
    return textwrap.fill(text, room).replace("\n", "\n" + " " * margin)
