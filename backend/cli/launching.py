"""Commands that queue runs: new ones, and earlier ones again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from backend.cli.common import Overrides, Run, find, read_config, reading, require_store, tell

if TYPE_CHECKING:
    from trainer.config import RunConfig

Seeds = Annotated[str | None, typer.Option(metavar="0,1,2", help="One run per seed.")]
Regimes = Annotated[
    str | None,
    typer.Option(
        metavar="detach,ce,occ-calibrated",
        help="A grid: one run per regime, algorithm and seed, on one budget; `own` is the configuration's own regime.",
    ),
]
Algorithms = Annotated[str | None, typer.Option(metavar="dapo,gspo", help="The algorithms of a grid.")]
LrControls = Annotated[
    str | None,
    typer.Option(metavar="1.5,2", help="In a grid: detach with the learning rate times each of these, too."),
]
SkipRefused = Annotated[
    bool, typer.Option("--skip-refused", help="In a grid: queue the other runs where a combination is refused.")
]


def submit(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG|PRESET", help="A YAML file, or a preset's name.", show_default=False)
    ] = None,
    control_of: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="In the place of a configuration: policy at the mean coefficient of this occ run."
        ),
    ] = None,
    overrides: Overrides = None,
    seeds: Seeds = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="Runs of one experiment stand together.", show_default="default, or that of the --control-of run"
        ),
    ] = None,
    regimes: Regimes = None,
    algorithms: Algorithms = None,
    lr_controls: LrControls = None,
    skip_refused: SkipRefused = False,
) -> None:
    """Queue a run, one per seed, or a grid of regimes and algorithms; what could not work is refused at once."""
    require_store()
    from trainer.errors import ConfigError, Problem

    if (config is None) == (control_of is None):
        raise ConfigError([Problem("", "give either a configuration (a file or a preset) or --control-of RUN")])
    if config is not None:
        (values, preset), usual, origin = read_config(config, overrides), "default", None
    else:
        (values, usual, origin), preset = _control(control_of or "", overrides), None
    about = {"experiment": usual if experiment is None else experiment, "preset": preset, "cloned_from": origin}
    _queue(values, seeds, _Methods(regimes, algorithms, lr_controls, skip_refused), **about)


def clone(
    run: Run,
    overrides: Overrides = None,
    seeds: Seeds = None,
    experiment: Annotated[
        str | None,
        typer.Option(help="Runs of one experiment stand together.", show_default="that of the run"),
    ] = None,
    regimes: Regimes = None,
    algorithms: Algorithms = None,
    lr_controls: LrControls = None,
    skip_refused: SkipRefused = False,
) -> None:
    """Queue a new run with the configuration of another one, and what --set changes in it."""
    from backend.again import clone_of
    from backend.registry import resolved
    from backend.settings import variables
    from trainer.config import resolve

    run_id = find(run)
    with reading() as connection:
        origin = clone_of(connection, run_id)
    values = resolved(resolve(origin.values, overrides or (), variables()))
    usual = origin.experiment if experiment is None else experiment
    about = {"experiment": usual, "preset": origin.preset, "cloned_from": run_id}
    _queue(values, seeds, _Methods(regimes, algorithms, lr_controls, skip_refused), **about)


def resume(
    run: Run,
    steps: Annotated[int | None, typer.Option(min=1, help="Train to this step, further than it was to go.")] = None,
    overrides: Overrides = None,
) -> None:
    """Let a run that has ended go on from its newest checkpoint, as another attempt of the same run."""
    from backend import again
    from backend import runs as service

    run_id = find(run)
    changes = [*(overrides or ()), *([f"steps={steps}"] if steps is not None else [])]
    typer.echo(again.resume(run_id, changes))
    tell(service.notice([run_id]))


class _Methods(NamedTuple):
    """The options that make a grid, as they were given."""

    regimes: str | None
    algorithms: str | None
    lr_controls: str | None
    skip_refused: bool


def _queue(values: dict[str, Any], seeds: str | None, methods: _Methods, **about: Any) -> None:
    """Queue a run, one per seed, or a grid, and say so."""
    from backend import runs as service
    from backend.advice import advice
    from db import reads
    from trainer.config import parse

    if any(methods):
        config, ids = _queue_grid(values, seeds, methods, about)
    else:
        config = parse(values)
        ids = (
            [service.submit(config, **about)] if seeds is None else service.submit_many(values, numbers(seeds), **about)
        )
    with reading() as connection:
        for run_id in ids:
            typer.echo(f"run {run_id} ({reads.get_run(connection, run_id).name}) is queued")
    tell(service.notice(ids))
    for sentence in advice(config):
        tell(sentence)


def _queue_grid(
    values: dict[str, Any], seeds: str | None, methods: _Methods, about: dict[str, Any]
) -> tuple[RunConfig, list[int]]:
    """Queue a grid, and say what is missing in it and what was left out."""
    from backend import grid

    wanted = [int(values.get("seed") or 0)] if seeds is None else numbers(seeds)
    factors = _factors(methods.lr_controls)
    names = [grid.OWN] if methods.regimes is None else _names(methods.regimes)
    asked = grid.plan(values, names, _names(methods.algorithms or ""), wanted, factors)
    ids = grid.submit(asked, skip_refused=methods.skip_refused, **about)
    tell(asked.hint)
    for cell in asked.refused:
        tell(f"left out: {cell.title}: {'; '.join(map(str, cell.problems))}")
    config = asked.good[0].config
    assert config is not None
    return config, ids


def _control(run: str, overrides: list[str] | None) -> tuple[dict[str, Any], str, int]:
    """The values of a run's matched control, overrides applied, the experiment of that run, and the run."""
    from backend.controls import matched_control
    from backend.settings import variables
    from trainer.config import resolve

    run_id = find(run)
    with reading() as connection:
        control = matched_control(connection, run_id)
    typer.echo(control.words)
    return resolve(control.config.model_dump(mode="json"), overrides or (), variables()), control.experiment, run_id


def numbers(text: str) -> list[int]:
    """The seeds that an option names.

    Raises:
        ConfigError: they are no whole numbers.
    """
    parts = [part.strip() for part in text.split(",")]
    # `int` would also take other scripts' digits and 1_0, and fail at thousands of digits.
    if not all(re.fullmatch("[0-9]{1,18}", part) for part in parts):
        from trainer.errors import ConfigError, Problem

        raise ConfigError([Problem("--seeds", f"{text!r} is refused; give whole numbers from 0 on, such as 0,1,2")])
    return [int(part) for part in parts]


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _factors(text: str | None) -> list[float]:
    from trainer.errors import ConfigError, Problem

    try:
        return [float(part) for part in _names(text or "")]
    except ValueError:
        message = f"{text!r} is refused; give factors of the learning rate, such as 1.5,2"
        raise ConfigError([Problem("--lr-controls", message)]) from None
