"""A grid of runs: several regimes x several algorithms x several seeds on one budget, queued together or not at all.

A cell is a method, one regime with one algorithm; it has a run per seed. What stands in a configuration beside `regime`, `mtp` and
`algorithm` is the budget that all cells share. Settings of the algorithm that the configuration has count for that algorithm; others get
their usual ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from backend import runs
from backend.runs import Planned
from trainer.config import Algorithm, RunConfig, parse
from trainer.errors import ConfigError, Problem
from trainer.presets import presets, regimes

OWN = "own"
"""In the place of a regime's name: the configuration's own `regime` and `mtp`."""
ALGORITHMS: tuple[str, ...] = tuple(kind.model_fields["kind"].default for kind in get_args(get_args(Algorithm)[0]))
"""The algorithms that there are."""
BASELINE = "detach"
"""Differences are to this regime."""
LR_CONTROLS = (1.5, 2.0)
"""Usual factors of the learning rate for controls of the baseline."""
MOST_RUNS = 500
"""Runs of one grid."""
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Cell:
    """One method of a grid."""

    regime: str
    """Name of a regime's preset, or `own`."""
    algorithm: str
    lr_factor: float
    """What the learning rate is multiplied by: 1, or that of a learning-rate control."""
    values: Mapping[str, Any]
    """Its configuration, resolved but not validated, of whatever seed."""
    config: RunConfig | None
    """The same, validated, of the first seed; None where it is refused."""
    problems: tuple[Problem, ...] = ()
    """Why it is refused."""

    @property
    def title(self) -> str:
        """What it is called in lists and refusals."""
        return f"{self.method} x {self.algorithm}"

    @property
    def method(self) -> str:
        """The regime, and the factor of the learning rate where it is another one."""
        return self.regime if self.lr_factor == 1 else f"{self.regime}-lr{self.lr_factor:g}x"


@dataclass(frozen=True, slots=True)
class Grid:
    """All that was asked for."""

    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]

    @property
    def good(self) -> tuple[Cell, ...]:
        """The cells that can be queued."""
        return tuple(cell for cell in self.cells if cell.config is not None)

    @property
    def refused(self) -> tuple[Cell, ...]:
        """The others."""
        return tuple(cell for cell in self.cells if cell.config is None)

    @property
    def hint(self) -> str:
        """What is missing for the comparison to mean something, or ""."""
        if any(cell.regime == BASELINE and cell.lr_factor == 1 for cell in self.cells):
            return ""
        return f"{BASELINE} is not in the grid: differences are to {BASELINE} trained on the same budget, so these runs would have nothing to be compared with"


def plan(
    values: Mapping[str, Any],
    regime_names: Sequence[str],
    algorithm_names: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    lr_controls: Sequence[float] = (),
) -> Grid:
    """Lay out a grid; what a cell is refused for stands in the cell.

    Args:
        values: a configuration, resolved but not yet validated: the budget, and the method where `own` is asked for.
        regime_names: names of regimes' presets, or `own`.
        algorithm_names: of algorithms; none: the configuration's own.
        seeds: one run each per cell.
        lr_controls: for each of these a detach whose learning rate is that many times the configuration's.

    Raises:
        ConfigError: a name is unknown or given twice, a factor is none, or there are too many runs.
    """
    own = (values.get("algorithm") or {}).get("kind", ALGORITHMS[0])
    names = tuple(algorithm_names) or (own,)
    _check("regimes", regime_names, (OWN, *regimes()))
    _check("algorithms", names, ALGORITHMS)
    _check_seeds(seeds)
    _check_factors(lr_controls)
    cells = tuple(_cells(values, regime_names, names, seeds[0], lr_controls))
    if len(cells) * len(seeds) > MOST_RUNS:
        count = f"{len(cells)} methods x {len(seeds)} seeds are {len(cells) * len(seeds)} runs"
        raise ConfigError([Problem("seeds", f"{count}; a grid has at most {MOST_RUNS}, so leave some out")])
    return Grid(cells, tuple(seeds))


def submit(
    grid: Grid,
    *,
    experiment: str = "default",
    preset: str | None = None,
    cloned_from: int | None = None,
    skip_refused: bool = False,
) -> list[int]:
    """Queue every run of the grid in one transaction, and return their ids; in the order of cells, then of seeds.

    Args:
        grid: from `plan`.
        experiment: as for `backend.runs.submit`.
        preset: what the budget was taken from; its recipe names the runs' presets.
        cloned_from: as for `backend.runs.submit`.
        skip_refused: leave refused cells out; otherwise one of them refuses all.

    Raises:
        ConfigError: a cell is refused, a run could not work, or nothing is left; nothing was made.
    """
    if grid.refused and not (skip_refused and grid.good):
        raise ConfigError([_named(cell, problem) for cell in grid.refused for problem in cell.problems])
    planned = [Planned(_of_seed(cell, seed), _preset(cell, preset)) for cell in grid.good for seed in grid.seeds]
    return runs.submit_all(planned, experiment=experiment, cloned_from=cloned_from)


def common_problems(grid: Grid) -> list[Problem]:
    """What every cell is refused for: it lies in the budget, not in a method."""
    if grid.good or not grid.cells:
        return []
    first, *others = (cell.problems for cell in grid.cells)
    return [problem for problem in first if all(problem in problems for problems in others)]


def _cells(
    values: Mapping[str, Any],
    regime_names: Sequence[str],
    algorithm_names: Sequence[str],
    seed: int,
    lr_controls: Sequence[float],
) -> Iterator[Cell]:
    for algorithm in algorithm_names:
        for regime in regime_names:
            yield _cell(values, regime, algorithm, seed)
        for factor in lr_controls:
            yield _cell(values, BASELINE, algorithm, seed, factor)


def _cell(values: Mapping[str, Any], regime: str, algorithm: str, seed: int, factor: float = 1.0) -> Cell:
    made = dict(values)
    if regime != OWN:
        made.pop("mtp", None)
        made |= regimes()[regime].values
    if (made.get("algorithm") or {}).get("kind", ALGORITHMS[0]) != algorithm:
        made["algorithm"] = {"kind": algorithm}
    if factor != 1:
        made["optimizer"] = _faster(made.get("optimizer") or {}, factor)
    cell = Cell(regime, algorithm, factor, made, None)
    try:
        return Cell(regime, algorithm, factor, made, _of_seed(cell, seed))
    except ConfigError as error:
        return Cell(regime, algorithm, factor, made, None, error.problems)


def _faster(optimizer: Mapping[str, Any], factor: float) -> dict[str, Any]:
    lr = optimizer.get("lr", RunConfig.model_fields["optimizer"].default.lr)
    # What is no number is refused with the cell, in the schema's words.
    return {**optimizer, "lr": float(f"{lr * factor:.6g}") if isinstance(lr, int | float) else lr}


def _of_seed(cell: Cell, seed: int) -> RunConfig:
    return parse({**cell.values, "seed": seed, "name": _name(cell, seed)})


def _name(cell: Cell, seed: int) -> str:
    """A name that was given tells methods and seeds apart; without one, a run is called by its regime's kind anyway, so that only others are named."""
    given = str(cell.values.get("name") or "")
    kind = (cell.values.get("regime") or {}).get("kind")
    if not given and (cell.method == kind or cell.regime == OWN):
        return ""
    rest = "-".join([cell.method, cell.algorithm, f"seed{seed}"])
    return f"{given[: _LONGEST_NAME - len(rest) - 1]}-{rest}" if given else rest


def _preset(cell: Cell, preset: str | None) -> str | None:
    if preset is None or cell.regime == OWN:
        return preset
    name = f"{preset.rpartition('/')[0]}/{cell.regime}"
    return name if name in presets() else None


def _named(cell: Cell, problem: Problem) -> Problem:
    return Problem(problem.field, f"{problem.message} (in {cell.title})")


def _check(field: str, given: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [name for name in given if name not in known]:
        raise ConfigError([Problem(field, f"{unknown[0]!r} is unknown; choose among {', '.join(known)}")])
    if not given or len(set(given)) < len(given):
        raise ConfigError([Problem(field, f"{', '.join(given) or 'none'}: give each once, and at least one")])


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) < len(seeds):
        given = ", ".join(map(str, seeds)) or "none"
        raise ConfigError([Problem("seeds", f"{given}: give each seed once, and at least one, such as 0,1,2")])


def _check_factors(factors: Sequence[float]) -> None:
    wrong = [factor for factor in factors if not 0 < factor < float("inf") or factor == 1]
    if wrong or len(set(factors)) < len(factors):
        given = ", ".join(f"{factor:g}" for factor in factors)
        raise ConfigError([Problem("lr_controls", f"{given}: give each factor once, above 0 and not 1, such as 1.5,2")])
