"""Commands about alerts: rules on metrics, told on the pages of the runs and in their list."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from backend.cli.common import Json, print_json, reading, require_store

Name = Annotated[str, typer.Argument(help="The alert's name.", show_default=False)]

alerts = typer.Typer(name="alerts", help="Rules on any metric, shown on the run and in the list; alone: list them.")

_NAMED = 5


@alerts.callback(invoke_without_command=True)
def list_alerts(context: typer.Context, as_json: Json = False) -> None:
    """List the alerts: their conditions, and the runs where they are on."""
    from db import alerts as rules

    if context.invoked_subcommand is not None:
        return
    with reading() as connection:
        found, (counts, spoken) = rules.listed(connection), rules.spoken(connection, _NAMED)
    if as_json:
        print_json([{**asdict(rule), "runs": [asdict(one) for one in spoken.get(rule.id, ())]} for rule in found])
        return
    for rule in found:
        state = "" if rule.active else " (switched off)"
        typer.echo(f"{rule.name}{state}: {rule.condition}, of {rule.scope}")
        for one in spoken.get(rule.id, ()):
            typer.echo(f"    on in run {one.run_id} ({one.run}) since step {one.said_at}: {one.metric}")
        if counts.get(rule.id, 0) > _NAMED:
            typer.echo(f"    {counts[rule.id]} runs in all")
    if not found:
        typer.echo(
            "there are no alerts yet; `mtprl alerts add 'entropy low' policy/entropy below 0.05 --steps 3` makes one, and `mtprl alerts add stalled '*' silent 10` another"
        )


# Else a threshold such as -1 would be an unknown option.
@alerts.command(context_settings={"ignore_unknown_options": True})
def add(
    name: Name,
    metric: Annotated[str, typer.Argument(help="A metric's name, or a pattern such as 'mtp/*'.")],
    comparison: Annotated[str, typer.Argument(help="above, at-least, below, at-most, not-finite or silent.")],
    threshold: Annotated[
        float | None,
        typer.Argument(
            help="What it is compared with; of silent the minutes without a new value; none for not-finite."
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="For how many values in a row.")] = 1,
    experiment: Annotated[str | None, typer.Option(help="Only runs of this experiment.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only runs with this tag.")] = None,
) -> None:
    """Make an alert; it looks at the values of whole steps that come from now on."""
    from backend import alerts as service
    from db.rules import Rule

    require_store()
    typer.echo(service.add(Rule(name, metric, comparison, threshold, steps, experiment, tag)))


@alerts.command()
def on(name: Name) -> None:
    """Switch an alert on again."""
    from backend import alerts as service

    require_store()
    typer.echo(service.switch(name, True))


@alerts.command()
def off(name: Name) -> None:
    """Switch an alert off: it is over where it was on."""
    from backend import alerts as service

    require_store()
    typer.echo(service.switch(name, False))


@alerts.command()
def rm(name: Name) -> None:
    """Remove an alert."""
    from backend import alerts as service

    require_store()
    typer.echo(service.remove(name))
