"""Commands that need neither queue nor database."""

from __future__ import annotations

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

    if name is not None:
        if name not in all_presets():
            raise ConfigError([Problem("", f"{name!r} is no preset; choose one of {', '.join(all_presets())}")])
        config = parse(all_presets()[name].values)
        if as_json:
            print_json(config.model_dump(mode="json"))
        else:
            typer.echo(dump(config), nl=False)
        return
    listed = all_presets().values()
    if as_json:
        fields = ("name", "title", "description", "values")
        print_json([{field: getattr(preset, field) for field in fields} for preset in listed])
        return
    for preset in listed:
        typer.echo(f"{typer.style(preset.name, bold=True)}\n    {preset.description}")
