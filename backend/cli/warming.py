"""Heads alone, before a training: new ones, or those that a model carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.common import Overrides, become_trainer, reading, require_store, tell
from backend.cli.launching import Seeds, numbers
from backend.warming import EXPERIMENT, warming_values


def warm_heads(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered name, a folder or a name on the hub.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="Prompts: a JSONL or Parquet file, a registered name or a name on the hub; or --set data={kind: ...}.",
            show_default=False,
        ),
    ] = None,
    depths: Annotated[
        int | None,
        typer.Option(min=1, help="MTP depths; a model without heads gets so many new ones.", show_default="all, or 1"),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="distillation (the main head's whole distribution) or ce (the sampled tokens).")
    ] = "distillation",
    steps: Annotated[int, typer.Option(min=1, help="Steps; each samples prompts and makes its updates.")] = 100,
    overrides: Overrides = None,
    seeds: Seeds = None,
    experiment: Annotated[str, typer.Option(help="Runs of one experiment stand together.")] = EXPERIMENT,
    output: Annotated[
        Path | None,
        typer.Option(help="Train here and now into this folder: no queue, no database. The same command goes on."),
    ] = None,
) -> None:
    """Train the MTP heads alone on what the model itself says: a run of regime warm, whose newest checkpoint is a model to train from."""
    from backend import registry
    from backend.settings import check_packages, variables
    from trainer import preflight
    from trainer.config import parse, resolve
    from trainer.errors import ConfigError, Problem

    if output is not None and seeds is not None:
        raise ConfigError([Problem("--seeds", "is for the queue; with --output give --set seed=N")])
    values = warming_values(registry.model_path(model, "MODEL"), depths=depths, loss=loss, steps=steps)
    if data is not None:
        values["data"] = _section(data)
    values = registry.resolved(resolve(values, overrides or (), variables()))
    if output is not None:
        run = parse(values)
        check_packages()
        preflight.check(run)
        typer.echo(_afterwards(output / "checkpoints" / f"step-{run.steps:06d}" / "model"))
        become_trainer(run, output)
        return
    require_store()
    from backend import runs as service
    from db import reads

    ids = (
        [service.submit(parse(values), experiment=experiment)]
        if seeds is None
        else service.submit_many(values, numbers(seeds), experiment=experiment)
    )
    with reading() as connection:
        queued = [reads.get_run(connection, run_id) for run_id in ids]
    for run_id, one in zip(ids, queued, strict=True):
        typer.echo(f"run {run_id} ({one.name}) is queued; `mtprl watch {run_id}` follows it")
        typer.echo(_afterwards(Path(one.folder) / "checkpoints" / f"step-{one.total_steps:06d}" / "model"))
    tell(service.notice(ids))


def _section(data: str) -> dict[str, Any] | str:
    """A registered name as it stands, and what a file or a name of the hub stands for."""
    from backend.registry import section_of

    is_name = "/" not in data and not Path(data).suffix and not Path(data).exists()
    return data if is_name else section_of(data)


def _afterwards(folder: Path) -> str:
    return (
        f"when it has finished, train from it with `--set model.path={folder}`; `mtprl models export {folder} FOLDER` writes it in the "
        "layout and dtypes that the model came in"
    )
