"""Whether a model's heads do what heads do."""

from __future__ import annotations

from typing import Annotated

import typer

from backend.cli.common import Json, print_json


def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered name, a folder or a name on the hub.")],
    prompt: Annotated[
        list[str] | None, typer.Option(help="What it continues; may be repeated.", show_default="six of the program's")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:1.", show_default="a GPU where there is one")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load a model, have it write, and measure its heads. Exit code 1 on random heads, exchanged halves, missing tensors or NaN."""
    from rich.markup import escape

    from backend import registry, show, verified
    from backend.cli.registering import table
    from backend.inspection.models import local_folder
    from trainer.config import EvaluatedModel
    from trainer.errors import ConfigError, ModelError
    from trainer.preflight import model_problems
    from trainer.verify import PROMPTS, usual_device
    from trainer.verify import verify as measure

    path = registry.model_path(model, "MODEL")
    if problems := model_problems(EvaluatedModel(path=path)):
        raise ConfigError(problems)
    try:
        verdict = measure(path, prompt or PROMPTS, device=device or usual_device())
    except ModelError as error:
        if (folder := local_folder(path)) is not None:
            verified.keep(folder, {"alarms": [str(error)]})
        raise
    values = {**verdict._asdict(), "depths": [depth._asdict() for depth in verdict.depths]}
    if (folder := local_folder(path)) is not None:
        verified.keep(folder, values)
    if as_json:
        print_json(values)
    else:
        rows = table("", "loss", "halves exchanged", "greedy drafts taken", "sampled drafts taken")
        rows.add_row("a guess", f"{verdict.chance:.3f}", "", "", "")
        rows.add_row("main head", f"{verdict.loss:.3f}", "", "", "")
        for number, depth in enumerate(verdict.depths, 1):
            name = f"depth {number}" + (", new" if verdict.new else "")
            shares = (f"{share:.1%}" for share in (depth.greedy, depth.sampled))
            rows.add_row(name, f"{depth.loss:.3f}", f"{depth.exchanged_loss:.3f}", *shares)
        show.console().print(rows)
        if verdict.new:
            typer.echo("the model has no MTP heads; those measured are new ones, started from its last block")
        for alarm in verdict.alarms:
            show.console().print(f"[red]{escape(alarm)}[/]")
        if not verdict.alarms:
            typer.secho(f"nothing is wrong, on {verdict.tokens:,} tokens that it wrote", fg="green")
    if verdict.alarms:
        raise typer.Exit(1)
