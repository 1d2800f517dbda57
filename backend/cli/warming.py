"""Heads alone, before a training: new ones, or those that a model carries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.common import Overrides, become_trainer, reading, require_store, tell

DEFAULTS: dict[str, Any] = {
    "steps": 100,
    "rollout": {"prompts_per_step": 64, "samples_per_prompt": 4, "max_response_tokens": 1024},
    "update": {"mini_batches": 4},
    "optimizer": {"lr": 3e-4, "weight_decay": 0.0},
    "checkpoint": {"every": 50, "keep": 1},
}
"""What differs from a training's defaults; --set changes it like everything else."""


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
    experiment: Annotated[str, typer.Option(help="Runs of one experiment stand together.")] = "warm-heads",
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

    path = registry.model_path(model, "MODEL")
    values = {**DEFAULTS, "steps": steps, "regime": {"kind": "warm", "loss": loss}}
    values["model"] = {"path": path, "mtp_depths": _depths(path) if depths is None else depths}
    if data is not None:
        values["data"] = _section(data)
    run = parse(registry.resolved(resolve(values, overrides or (), variables())))
    if output is not None:
        check_packages()
        preflight.check(run)
        typer.echo(_afterwards(output / "checkpoints" / f"step-{run.steps:06d}" / "model"))
        become_trainer(run, output)
        return
    require_store()
    from backend import runs as service
    from db import reads

    named = run if run.name else run.model_copy(update={"name": f"warm-{_short(path)}"})
    run_id = service.submit(named, experiment=experiment)
    with reading() as connection:
        queued = reads.get_run(connection, run_id)
    typer.echo(f"run {run_id} ({queued.name}) is queued; `mtprl watch {run_id}` follows it")
    typer.echo(_afterwards(Path(queued.folder) / "checkpoints" / f"step-{run.steps:06d}" / "model"))
    tell(service.notice([run_id]))


def _depths(path: str) -> int:
    """All that the model carries, as far as its files here show; else 1."""
    from backend.inspection.models import inspect_model

    heads = inspect_model(path).heads
    return heads.depths if heads else 1


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


def _short(path: str) -> str:
    """A name for a run, from a folder or a name on the hub."""
    return re.sub(r"[^\w.+-]+", "-", Path(path).name)[:60] or "heads"
