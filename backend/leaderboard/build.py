"""From the store to boards."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from sqlalchemy import Connection

from backend.leaderboard.board import Board, Difference, Row, RowRun
from backend.leaderboard.protocol import Entry, flat, key_of, nearest, variant
from backend.results import answers
from db import reads
from db.reads import EvaluationRow, RunDetail, RunFilters, Series
from db.statuses import Kind, Status
from trainer.config import parse
from trainer.errors import ConfigError
from trainer.evaluation.statistics import (
    SEEDS_FOR_METHODS,
    Answer,
    Answers,
    Estimate,
    Permutation,
    avg_at_k,
    compare,
    holm,
    maj_at_k,
    pass_at_k,
    permutation_test,
    rank_intervals,
)

MOST_RUNS = 500
"""The newest finished trainings that are looked at, and as many of the newest finished evaluations."""

ACCEPTANCE, STEP_SECONDS = "mtp/acceptance_greedy", "time/step_seconds"
_LAST_STEPS = 10
_BASELINE = "detach"

Pool = Sequence[Entry]
"""The trainings of one method, one per seed."""


def leaderboard(connection: Connection, experiment: str | None = None, *, archived: bool = False) -> list[Board]:
    """The boards of one experiment, or of all finished trainings; first those that compare methods, of these that with the newest training.

    Archived trainings and evaluations count with `archived` alone; `left_out` says how many there are.
    """
    entries = _entries(connection, experiment, archived)
    series = reads.series(connection, list({entry.run.id for entry in entries}), [ACCEPTANCE, STEP_SECONDS])
    by_protocol: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_protocol[key_of(entry.protocol)].append(entry)
    ordered = sorted(by_protocol.values(), key=_weight, reverse=True)
    boards = [_board(connection, group, series) for group in ordered]
    return [
        board if near is None else replace(board, nearest=boards[near[0]].key, differs=near[1])
        for board, near in zip(boards, nearest([board.protocol for board in boards]), strict=True)
    ]


def left_out(connection: Connection, experiment: str | None = None) -> int:
    """How many finished trainings and evaluations are archived, and so do not count."""
    return reads.count_runs(connection, experiment=experiment, status=Status.FINISHED, archived=True)


def _weight(entries: Sequence[Entry]) -> tuple[bool, int, int]:
    """What puts a board before others: several methods of enough seeds, then a newer training, then a newer evaluation.

    A job is newer than what it evaluates: of boards of the same trainings, those of jobs come first.
    """
    able = [pool for pool in _pools(entries).values() if len(pool) >= SEEDS_FOR_METHODS]
    return len(able) > 1, max(entry.run.id for entry in entries), max(entry.evaluator.id for entry in entries)


def _entries(connection: Connection, experiment: str | None, archived: bool) -> list[Entry]:
    """Every evaluation of what a finished training ended with, the newest last."""
    of: RunFilters = {"status": Status.FINISHED, "archived": None if archived else False}
    training: RunFilters = {**of, "experiment": experiment, "kind": Kind.TRAINING}
    trainings = {row.id for row in reads.list_runs(connection, limit=MOST_RUNS, **training)}
    job: RunFilters = {**of, "kind": Kind.EVALUATION}
    jobs = reads.list_runs(connection, limit=MOST_RUNS, **job)
    evaluators = [*trainings, *(row.id for row in jobs if row.evaluates in trainings)]
    by_evaluator: dict[int, dict[str, EvaluationRow]] = defaultdict(dict)
    for row in reads.evaluations(connection, evaluators, last_only=True):
        by_evaluator[row.run_id][row.benchmark] = row
    runs = {run_id: reads.get_run(connection, run_id) for run_id in {*by_evaluator, *trainings}}
    found = []
    for evaluator, rows in sorted(by_evaluator.items()):
        subject = runs.get(next(iter(rows.values())).subject or 0)
        at_end = {name: row for name, row in rows.items() if subject and row.trained_steps == subject.total_steps}
        if subject is None or not at_end:
            continue
        try:
            found.append(Entry(subject, parse(subject.config), runs[evaluator], at_end))
        except ConfigError:
            continue  # a run of an older version, whose settings do not mean the same any more
    return found


def _board(connection: Connection, entries: Sequence[Entry], series: Mapping[tuple[int, str], Series]) -> Board:
    pools = _pools(entries)
    ranks = rank_intervals({key: [entry.outcomes for entry in pool] for key, pool in pools.items()})
    baselines = {key: _baseline(pool, pools) for key, pool in pools.items()}
    rows = [
        Row(
            key=key,
            regime=pool[0].run.regime,
            algorithm=pool[0].run.algorithm,
            variant=_variant(pool[0], list(pools.values())),
            runs=tuple(
                RowRun(
                    entry.run.id,
                    entry.run.seed,
                    entry.evaluator.id,
                    {name: row.id for name, row in entry.evaluations.items()},
                )
                for entry in pool
            ),
            mean=avg_at_k([entry.outcomes for entry in pool]),
            benchmarks=_by_benchmark(pool),
            difference=_difference(pool, baselines[key], pools),
            rank=ranks.get(key),
            pass_at_k=_pass_at_k(pool),
            maj_at_k=_maj_at_k(connection, pool),
            step_seconds=_median([value for entry in pool for value in _values(series, entry, STEP_SECONDS)]),
            acceptance=_mean([x for entry in pool for x in _values(series, entry, ACCEPTANCE)[-_LAST_STEPS:]]),
        )
        for key, pool in pools.items()
    ]
    config, evaluations, protocol = entries[0].config, entries[0].evaluations, entries[0].protocol
    evaluation = next(iter(evaluations.values()))
    return Board(
        key=key_of(protocol),
        problems={name: len(row.items) for name, row in evaluations.items()},
        samples=evaluation.samples,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        max_tokens=protocol["evaluation.max_response_tokens"],
        evaluated=protocol["evaluation.by"],
        model=config.model.path,
        data=config.data.source,
        steps=config.steps,
        prompts_per_step=config.rollout.prompts_per_step,
        samples_per_prompt=config.rollout.samples_per_prompt,
        experiments=tuple(sorted({entry.run.experiment for entry in entries})),
        protocol=protocol,
        nearest=None,
        differs=(),
        rows=_corrected(sorted(rows, key=lambda row: row.mean.value, reverse=True)),
    )


def _pools(entries: Sequence[Entry]) -> dict[str, Pool]:
    """By key of the method: of each seed the newest training, and of that the newest evaluation."""
    methods: dict[str, dict[int, Entry]] = defaultdict(dict)
    for entry in sorted(entries, key=lambda entry: (entry.run.id, entry.evaluator.id)):
        methods[key_of(entry.method)][entry.run.seed] = entry
    return {key: list(by_seed.values()) for key, by_seed in methods.items()}


def _baseline(pool: Pool, pools: Mapping[str, Pool]) -> str | None:
    """Key of the detach that was trained in the same way; of several the one whose heads learned alike, else the newest."""
    if pool[0].run.regime == _BASELINE:
        return None
    alike = [
        (other[0].config.mtp == pool[0].config.mtp, other[-1].run.id, key)
        for key, other in pools.items()
        if other[0].run.regime == _BASELINE and other[0].training == pool[0].training
    ]
    return max(alike)[2] if alike else None


def _difference(pool: Pool, baseline: str | None, pools: Mapping[str, Pool]) -> Difference | None:
    if baseline is None:
        return None
    own, other = ([entry.outcomes for entry in side] for side in (pool, pools[baseline]))
    found: Permutation | None = None
    if min(len(own), len(other)) >= SEEDS_FOR_METHODS:
        found = permutation_test(own, other)
    return Difference(
        to=baseline,
        mean=compare(own, other),
        benchmarks={
            name: compare([{name: run[name]} for run in own], [{name: run[name]} for run in other]) for name in own[0]
        },
        p=None if found is None else found.p,
        adjusted_p=None,
        smallest_p=None if found is None else found.smallest,
    )


def _corrected(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The same rows, whose p-values know of one another."""
    found = {row.key: row.difference.p for row in rows if row.difference is not None and row.difference.p is not None}
    adjusted = holm(found)
    return tuple(
        replace(row, difference=replace(row.difference, adjusted_p=adjusted[row.key]))
        if row.difference is not None and row.key in adjusted
        else row
        for row in rows
    )


def _by_benchmark(pool: Pool) -> dict[str, Estimate]:
    runs = [entry.outcomes for entry in pool]
    return {name: avg_at_k([{name: run[name]} for run in runs]) for name in runs[0]}


def _pass_at_k(pool: Pool) -> Estimate | None:
    samples = next(iter(pool[0].evaluations.values())).samples
    return pass_at_k([entry.outcomes for entry in pool], samples) if samples > 1 else None


def _maj_at_k(connection: Connection, pool: Pool) -> Estimate | None:
    if next(iter(pool[0].evaluations.values())).samples < 2:
        return None
    runs = [_answers(connection, entry) for entry in pool]
    return maj_at_k([run for run in runs if run]) if all(runs) else None


def _answers(connection: Connection, entry: Entry) -> Answers | None:
    """What was answered; None where a problem's answers were not kept."""
    found: dict[str, dict[str, list[Answer]]] = {}
    for name, row in entry.evaluations.items():
        kept = answers(connection, row)
        if kept is None:
            return None
        found[name] = kept
    return found


def _values(series: Mapping[tuple[int, str], Series], entry: Entry, name: str) -> list[float]:
    found = series.get((entry.run.id, name))
    return [value for value in found.values if math.isfinite(value)] if found else []


def _median(values: Sequence[float]) -> float:
    return median(values) if values else math.nan


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _variant(entry: Entry, pools: Sequence[Pool]) -> str:
    siblings = [flat(pool[0].method) for pool in pools if _called(pool[0].run) == _called(entry.run)]
    return variant(entry.run.preset, entry.run.regime, flat(entry.method), siblings)


def _called(run: RunDetail) -> tuple[str, str]:
    return run.regime, run.algorithm
