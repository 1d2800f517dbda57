"""The leaderboard: regimes side by side on held-out problems, compared only where comparing means something.

A board holds the finished runs that share a protocol: base model, data, budget, rewards, benchmark and decoding. On it, a row
is a method: regime, algorithm, optimiser and everything else that is not the protocol, pooled over seeds. A run counts with its last
evaluation, a seed with its newest run. Differences are to `detach` trained in the same way, paired by problem.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection

from db import reads
from db.reads import EvaluationRow, RunDetail, Series
from db.statuses import Status
from trainer.config import RunConfig, parse
from trainer.errors import ConfigError
from trainer.evaluation.statistics import SEEDS_FOR_METHODS, Estimate, Outcomes, avg_at_k, compare

MOST_RUNS = 500
"""The newest finished runs that are looked at."""

ACCEPTANCE, STEP_SECONDS = "mtp/acceptance_greedy", "time/step_seconds"
_LAST_STEPS = 10
_BASELINE = "detach"


@dataclass(frozen=True, slots=True)
class Row:
    """One method on a board."""

    regime: str
    algorithm: str
    variant: str
    """The preset, where its name says more than the regime's, and the settings that tell the row from others of its regime and
    algorithm, such as `occ-calibrated optimizer.lr=0.0006`."""
    run_ids: tuple[int, ...]
    seeds: tuple[int, ...]
    score: Estimate
    """avg@k, from 0 to 1."""
    difference: Estimate | None
    """avg@k minus that of detach; None for detach itself, and where there is no detach trained in the same way."""
    step_seconds: float
    """Median seconds per step; NaN where none was logged."""
    acceptance: float
    """Greedy draft acceptance, mean of the last ten values of each run; NaN for a regime without heads."""


@dataclass(frozen=True, slots=True)
class Board:
    """Methods that share a protocol, the best first."""

    benchmark: str
    samples: int
    """The k of avg@k."""
    temperature: float
    top_p: float
    model: str
    data: str
    """The training data: a file, or the name of a task."""
    steps: int
    prompts_per_step: int
    samples_per_prompt: int
    experiments: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def caveat(self) -> str:
        """What these numbers cannot say, in words; empty where every row has enough seeds."""
        few = [row for row in self.rows if len(row.seeds) < SEEDS_FOR_METHODS]
        if not few:
            return ""
        most = max(len(row.seeds) for row in few)
        count = "One seed ranks" if most == 1 else f"{most} seeds rank"
        which = "" if len(few) == len(self.rows) else f" for {', '.join(sorted({row.regime for row in few}))}"
        return (
            f"{count} nothing: the intervals{which} speak of these checkpoints and other problems, not of the methods. "
            f"Use at least {SEEDS_FOR_METHODS} seeds, such as --seeds 0,1,2."
        )


@dataclass(frozen=True, slots=True)
class _Entry:
    """A run with the last evaluation of one benchmark."""

    run: RunDetail
    config: RunConfig
    evaluation: EvaluationRow

    @property
    def protocol(self) -> str:
        """What must be equal for two runs to stand on one board, the problems themselves included."""
        config = self.config
        benchmark = next(item for item in config.evaluation.benchmarks if item.name == self.evaluation.benchmark)
        shared = (config.model, config.data, config.rollout, config.reward, benchmark)
        decoding = (self.evaluation.samples, self.evaluation.temperature, self.evaluation.top_p)
        parts = [section.model_dump(mode="json") for section in shared]
        return json.dumps([*parts, config.steps, self.evaluation.step, decoding, sorted(self.evaluation.items)])

    @property
    def method(self) -> str:
        """What must be equal for two runs to differ in their seed only."""
        parts = {"regime", "algorithm", "mtp", "update", "optimizer"}
        return json.dumps(self.config.model_dump(mode="json", include=parts))

    @property
    def training(self) -> str:
        """What a method must have in common with the detach that it is compared with."""
        return json.dumps(self.config.model_dump(mode="json", include={"algorithm", "update", "optimizer"}))

    @property
    def outcomes(self) -> Outcomes:
        """By benchmark and problem: 0 or 1 per sample."""
        items = {item: [int(letter) for letter in text] for item, text in self.evaluation.items.items()}
        return {self.evaluation.benchmark: items}


def leaderboard(connection: Connection, experiment: str | None = None) -> list[Board]:
    """The boards of one experiment, or of all finished runs; the one with the newest run first."""
    finished = reads.list_runs(connection, experiment=experiment, status=Status.FINISHED, limit=MOST_RUNS)
    runs = {row.id: reads.get_run(connection, row.id) for row in finished}
    series = reads.series(connection, list(runs), [ACCEPTANCE, STEP_SECONDS])
    protocols: dict[str, list[_Entry]] = defaultdict(list)
    for evaluation in reads.evaluations(connection, list(runs), last_only=True):
        run = runs[evaluation.run_id]
        try:
            entry = _Entry(run, parse(run.config), evaluation)
        except ConfigError:
            continue  # a run of an older version, whose settings do not mean the same any more
        protocols[entry.protocol].append(entry)
    boards = [_board(entries, series) for entries in protocols.values()]
    return sorted(boards, key=lambda board: max(max(row.run_ids) for row in board.rows), reverse=True)


def _board(entries: Sequence[_Entry], series: Mapping[tuple[int, str], Series]) -> Board:
    methods: dict[str, dict[int, _Entry]] = defaultdict(dict)
    for entry in sorted(entries, key=lambda entry: entry.run.id):
        methods[entry.method][entry.run.seed] = entry
    pools = [list(by_seed.values()) for by_seed in methods.values()]
    baselines = {pool[0].training: pool for pool in pools if pool[0].run.regime == _BASELINE}
    rows = [_row(pool, baselines.get(pool[0].training), _variant(pool[0], pools), series) for pool in pools]
    config, evaluation = entries[0].config, entries[0].evaluation
    return Board(
        benchmark=evaluation.benchmark,
        samples=evaluation.samples,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        model=config.model.path,
        data=config.data.source,
        steps=config.steps,
        prompts_per_step=config.rollout.prompts_per_step,
        samples_per_prompt=config.rollout.samples_per_prompt,
        experiments=tuple(sorted({entry.run.experiment for entry in entries})),
        rows=tuple(sorted(rows, key=lambda row: row.score.value, reverse=True)),
    )


def _row(
    pool: Sequence[_Entry],
    baseline: Sequence[_Entry] | None,
    variant: str,
    series: Mapping[tuple[int, str], Series],
) -> Row:
    outcomes = [entry.outcomes for entry in pool]
    is_baseline = baseline is None or pool[0].run.regime == _BASELINE
    seconds = [value for entry in pool for value in _values(series, entry.run.id, STEP_SECONDS)]
    acceptance = [value for entry in pool for value in _values(series, entry.run.id, ACCEPTANCE)[-_LAST_STEPS:]]
    return Row(
        regime=pool[0].run.regime,
        algorithm=pool[0].run.algorithm,
        variant=variant,
        run_ids=tuple(entry.run.id for entry in pool),
        seeds=tuple(entry.run.seed for entry in pool),
        score=avg_at_k(outcomes),
        difference=None if is_baseline else compare(outcomes, [entry.outcomes for entry in baseline or []]),
        step_seconds=median(seconds) if seconds else math.nan,
        acceptance=sum(acceptance) / len(acceptance) if acceptance else math.nan,
    )


def _values(series: Mapping[tuple[int, str], Series], run_id: int, name: str) -> list[float]:
    found = series.get((run_id, name))
    return [value for value in found.values if math.isfinite(value)] if found else []


def _variant(entry: _Entry, pools: Sequence[Sequence[_Entry]]) -> str:
    """The settings of the method that differ among the board's rows of this regime and algorithm."""
    siblings = [
        _flat(json.loads(pool[0].method))
        for pool in pools
        if (pool[0].run.regime, pool[0].run.algorithm) == (entry.run.regime, entry.run.algorithm)
    ]
    own = _flat(json.loads(entry.method))
    differing = [key for key in own if any(other.get(key) != own[key] for other in siblings)]
    preset = (entry.run.preset or "").rpartition("/")[2]
    named = [preset] if preset not in ("", entry.run.regime) else []
    return " ".join([*named, *(f"{key}={own[key]}" for key in differing)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
