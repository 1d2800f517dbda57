"""The command that evaluates a model or a run's checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.common import Overrides, become_trainer, find, reading, require_store, tell

if TYPE_CHECKING:
    from backend.evaluations import Evaluable

Target = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RUN", help="A model's folder or hub name, or a run's id or name.", show_default=False
    ),
]


def evaluate(
    target: Target,
    suite: Annotated[
        str,
        typer.Option(
            help="six (the six competition benchmarks), demo, one of the six such as aime24, several with commas, or a JSONL file."
        ),
    ] = "six",
    samples: Annotated[int | None, typer.Option(min=1, help="Responses per problem; 32 by default.")] = None,
    step: Annotated[
        int | None, typer.Option(min=1, help="Of a run: the checkpoint of this step, else the newest.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature; by default that of the run's evaluations, else 1.0.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus sampling; by default that of the run's evaluations, else 0.7.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest response; by default the run's, else 8192.")
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--plain",
            help="Ask by the model's chat template, or not; by default as the run was trained, and a model by its template if it has one.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    experiment: Annotated[
        str | None, typer.Option(help="It stands with these runs.", show_default="that of the run, else evaluations")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Evaluate here and now into this folder: no queue, no database. The same command goes on."),
    ] = None,
) -> None:
    """Sample k answers to every problem of a suite and grade them: a run of the queue, which may be stopped and resumed."""
    from backend import evaluations
    from backend import runs as service

    of = _evaluable(target, step)
    if chat is not None:
        of = replace(of, prompts={**(of.prompts or {}), "chat": chat})
    settings = {"samples": samples, "temperature": temperature, "top_p": top_p, "max_response_tokens": max_tokens}
    prepared = evaluations.prepare(of, suite, settings, overrides or ())
    for warning in prepared.warnings:
        tell(warning)
    if output is not None:
        become_trainer(prepared.config, output)
        return
    require_store()
    run_id = evaluations.queue(prepared, experiment=experiment)
    answers = prepared.problems * prepared.config.samples
    config, answers = prepared.config, prepared.problems * prepared.config.samples
    typer.echo(
        f"run {run_id} is queued: {prepared.problems:,} problems, {config.samples} samples each, {answers:,} answers; temperature "
        f"{config.temperature:g}, top-p {config.top_p:g}, up to {config.max_response_tokens:,} tokens, asked "
        f"{'by the chat template' if config.benchmarks[0].data.chat else 'in plain'}; `mtprl watch {run_id}` follows it"
    )
    tell(service.notice([run_id]))


def _evaluable(target: str, step: int | None) -> Evaluable:
    """What the user means: a folder that exists is a model; else a run, where there is one of this id or name; else a name on the hub."""
    from backend import evaluations, store
    from db import reads
    from trainer.errors import ConfigError, Problem, StoreError

    if target.isdecimal():
        require_store()
    if not Path(target).is_dir() and store.is_ready():
        try:
            run_id = find(target)
        except StoreError:
            if target.isdecimal() or ("/" not in target and not Path(target).exists()):
                raise
        else:
            with reading() as connection:
                run = reads.get_run(connection, run_id)
            return evaluations.checkpoint(run, step)
    if step is not None:
        raise ConfigError(
            [Problem("--step", f"{step} is for a run's checkpoints, and {target} is a model; leave it out")]
        )
    return evaluations.model(target)
