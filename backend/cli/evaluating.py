"""The command that evaluates a model or a run's checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.common import Overrides, become_trainer, find, reading, require_store, tell

if TYPE_CHECKING:
    from backend.evaluations import Evaluable, Prepared

Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="MODEL|RUN...",
        help="Runs by id or name, and models by folder, hub name or registered name; several at once.",
        show_default=False,
    ),
]


def evaluate(
    targets: Targets = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model by folder, hub name or registered name, also where a run has the same name."),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            help="six (the six competition benchmarks), demo, one of the six such as aime24, several with commas, or a JSONL file."
        ),
    ] = "six",
    samples: Annotated[int | None, typer.Option(min=1, help="Responses per problem; 32 by default.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Only so many problems of each benchmark, the first; all by default.", show_default=False
        ),
    ] = None,
    step: Annotated[
        int | None, typer.Option(min=1, help="Of each run: the checkpoint of this step, else the newest.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="Of each run: the best checkpoint by its own evaluations.")
    ] = False,
    temperature: Annotated[
        float | None, typer.Option(help="Sampling temperature; by default that of the run's evaluations, else 1.0.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Nucleus sampling; by default that of the run's evaluations, else 0.7.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Draw from so many most likely tokens, 0: from all; by default that of the run's evaluations, else 0.",
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="builtin|vllm",
            help="What samples; by default what the run samples with, with its settings, else builtin. `--set rollout.vllm...` has vLLM's.",
        ),
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
    """Sample k answers to every problem of a suite and grade them: runs of the queue, which may be stopped and resumed."""
    from backend import evaluations
    from backend import runs as service
    from trainer.errors import ConfigError, Problem

    if step is not None and best:
        raise ConfigError([Problem("--step", f"{step} and --best name two checkpoints; give one of them")])
    found = [
        *(evaluable(target, step, best) for target in targets or ()),
        *(_model(name, step, best) for name in model or ()),
    ]
    if not found:
        raise ConfigError([Problem("", "give what to evaluate: runs by id or name, or models")])
    if output is not None and len(found) > 1:
        raise ConfigError(
            [Problem("--output", f"holds one evaluation, and {len(found)} are asked for; give one of them")]
        )
    settings = {
        "samples": samples,
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "engine": engine,
        "max_response_tokens": max_tokens,
    }
    asked = []
    for of in found:
        prompted = of if chat is None else replace(of, prompts={**(of.prompts or {}), "chat": chat})
        asked.append(evaluations.prepare(prompted, suite, settings, overrides or (), limit))
    for warning in asked[0].warnings:
        tell(warning)
    if output is not None:
        become_trainer(asked[0].config, output)
        return
    require_store()
    ids = evaluations.queue_all(asked, experiment=experiment)
    for run_id, prepared in zip(ids, asked, strict=True):
        typer.echo(_said(run_id, prepared, several=len(ids) > 1))
    tell(service.notice(ids))


def _said(run_id: int, prepared: Prepared, several: bool) -> str:
    from backend import words

    config = prepared.config
    of = f", of {prepared.of.called}" if several else ""
    how = "by the chat template" if config.benchmarks[0].data.chat else "in plain"
    sampled = words.decoding(
        engine=config.rollout.engine,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        stop=config.stop,
    )
    return (
        f"run {run_id} is queued{of}: {prepared.problems:,} problems, {config.samples} samples each, {prepared.problems * config.samples:,} "
        f"answers; {sampled}, up to {config.max_response_tokens:,} tokens, asked {how}; "
        f"`mtprl watch {run_id}` follows it"
    )


def evaluable(target: str, step: int | None, best: bool) -> Evaluable:
    """What the user means: a folder that exists is a model; else a run, where there is one of this id or name; else a registered model; else a name on the hub."""
    from backend import evaluations, store
    from db import reads
    from trainer.errors import ConfigError, StoreError

    if target.isdecimal():
        require_store()
    if not Path(target).is_dir() and store.is_ready():
        try:
            run_id = find(target)
        except StoreError as error:
            if target.isdecimal():
                raise
            try:
                return _model(target, step, best)
            except ConfigError as refused:
                raise StoreError(f"{error}; as a model: {refused}") from None
        with reading() as connection:
            run = reads.get_run(connection, run_id)
        return evaluations.checkpoint(run, evaluations.best_step(run) if best else step)
    return _model(target, step, best)


def _model(name: str, step: int | None, best: bool) -> Evaluable:
    from backend import evaluations, registry
    from trainer.errors import ConfigError, Problem

    path = registry.model_path(name, "model")
    if step is not None or best:
        option = "--best" if best else "--step"
        raise ConfigError([Problem(option, f"is for a run's checkpoints, and {name} is a model; leave it out")])
    return evaluations.model(path)
