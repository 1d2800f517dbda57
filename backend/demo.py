"""The demo: detach, ce, policy and occ on the same small task, from nothing to a leaderboard.

What an earlier call made is used again: the base model, the services, and every run that finished or still goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from backend import runs, show, stack, store
from backend.leaderboard import leaderboard
from backend.live import Live
from backend.settings import settings, variables
from db import reads
from db.reads import RunRow
from db.statuses import Kind, Status
from trainer.config import RunConfig, parse, resolve
from trainer.presets import presets

PRESETS = ("demo/detach", "demo/ce", "demo/policy", "demo/occ-calibrated")
EXPERIMENT = "demo"

INTERRUPTED = 130

_USUAL_BASE_STEPS = 500
"""Steps after which the base model usually is good enough; the trainer gives up only at several times as many."""


def demo(*, again: bool = False) -> int:
    """Run the demo to its end and return the exit code: 0 when all four runs finished.

    Args:
        again: run everything anew, as another experiment.
    """
    try:
        address = stack.up(typer.echo)
        typer.secho(f"Dashboard: {address}", bold=True)
        make_base()
        ids = _queue(again)
        with Live() as live:
            rows = runs.wait_for(ids, live.show)
    except KeyboardInterrupt:
        typer.echo(
            "\nThe runs and the dashboard go on without this command; `mtprl demo` looks again, `mtprl down` ends them."
        )
        return INTERRUPTED
    return _conclude(rows)


def make_base() -> Path:
    """Make the demo's base model and its problems, with progress, unless they are there; returns the model's folder."""
    typer.echo("loading torch ...")
    from trainer.models import demo_base

    home = settings().home
    if demo_base.is_made(home):
        typer.echo("the base model is there already")
        return demo_base.make_base(home)
    console = show.console()
    if not console.is_terminal:
        return demo_base.make_base(home, progress=_base_lines())
    columns = (TextColumn("base model"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=_USUAL_BASE_STEPS)
        started = time.monotonic()

        def moved(step: int, most: int, values: dict[str, float]) -> None:
            bar.update(task, completed=step, description=_base_line(step, values, started))

        return demo_base.make_base(home, progress=moved)


def _base_lines() -> Callable[[int, int, dict[str, float]], None]:
    """Progress as plain lines, one every five seconds."""
    started = said = time.monotonic()

    def moved(step: int, most: int, values: dict[str, float]) -> None:
        nonlocal said
        if time.monotonic() - said > 5:
            said = time.monotonic()
            typer.echo(f"base model: {_base_line(step, values, started)}")

    return moved


def _base_line(step: int, values: dict[str, float], started: float) -> str:
    left = (time.monotonic() - started) / step * (_USUAL_BASE_STEPS - step)
    estimate = f"about {show.duration(left)} left" if left > 0 else "done soon"
    return f"step {step} of about {_USUAL_BASE_STEPS}, accuracy {values['accuracy']:.2f} (wanted: 0.4), {estimate}"


def _queue(again: bool) -> list[int]:
    """The ids of the demo's runs, in the order of PRESETS; those that are not there yet are submitted."""
    configs = {name: parse(resolve(presets()[name].values, variables=variables())) for name in PRESETS}
    with store.reading() as connection:
        used = [row.name for row in reads.experiments(connection)]
    experiment = _experiment(used, again)
    usable = _usable(experiment, configs)
    if usable is None:  # the experiment holds runs of other presets, with which new ones could not be compared
        experiment = _experiment(used, again=True)
        usable = {}
    for name, config in configs.items():
        if name not in usable:
            usable[name] = runs.submit(config, experiment=experiment, preset=name)
    return [usable[name] for name in PRESETS]


def _experiment(used: list[str], again: bool) -> str:
    """The newest experiment of the demo, or a name for the next one."""
    numbers = [1 if name == EXPERIMENT else int(name.removeprefix(f"{EXPERIMENT}-")) for name in used if _is_demo(name)]
    number = max(numbers, default=0) + (1 if again or not numbers else 0)
    return EXPERIMENT if number == 1 else f"{EXPERIMENT}-{number}"


def _is_demo(name: str) -> bool:
    return name == EXPERIMENT or name.removeprefix(f"{EXPERIMENT}-").isdecimal()


def _usable(experiment: str, configs: dict[str, RunConfig]) -> dict[str, int] | None:
    """The newest run of each preset that finished or still may; None where a run's configuration is not the preset's."""
    found: dict[str, int] = {}
    with store.reading() as connection:
        for row in reads.list_runs(connection, experiment=experiment, kind=Kind.TRAINING):
            if row.preset not in configs or row.status in (Status.FAILED, Status.STOPPED, Status.STOPPING):
                continue
            if _values(configs[row.preset]) != reads.get_run(connection, row.id).config:
                return None
            found.setdefault(row.preset, row.id)
    return found


def _values(config: RunConfig) -> dict[str, Any]:
    return config.model_dump(mode="json")


def _conclude(rows: list[RunRow]) -> int:
    console = show.console()
    console.print(show.runs_table(rows))
    console.print()
    with store.reading() as connection:
        boards = leaderboard(connection, rows[0].experiment)
    show.print_boards(console, boards)
    unfinished = [row for row in rows if row.status != Status.FINISHED]
    for row in unfinished:
        typer.secho(f"run {row.id} ({row.name}) {row.status}: {row.reason}", fg="red", err=True)
    typer.echo(f"The dashboard stays up: {stack.dashboard_url(settings())} (`mtprl down` ends it)")
    return 1 if unfinished else 0
