"""What a run's last evaluations came to: one line per benchmark, and their mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from backend import words
from db import reads
from db.reads import EvaluationRow, RunRow
from db.statuses import Kind
from trainer.evaluation.statistics import Answer, Estimate, Outcomes, avg_at_k, maj_at_k, pass_at_k


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark of a run. Shares from 0 to 1; the intervals speak of other problems put to the same checkpoint."""

    evaluation: EvaluationRow
    average: Estimate
    """avg@k."""
    passed: Estimate | None
    """pass@k, with all k samples; None with one sample per problem."""
    majority: Estimate | None
    """maj@k; None with one sample per problem, and where the samples' answers were not kept."""


@dataclass(frozen=True, slots=True)
class Results:
    """All benchmarks of a run's last evaluation."""

    by_benchmark: tuple[Result, ...]
    mean: Estimate | None
    """avg@k, mean over the benchmarks, each of the same weight; None where there is but one, or they have different k."""
    partial: str = ""
    """How many of its problems an evaluation that is not complete has answered, such as '356 of 1,547 problems'; "" where all are."""


def results(connection: Connection, run_id: int, *, votes: bool = True) -> Results:
    """The last evaluations of a run, as far as they have come; without maj@k, which reads every answer, where `votes` is false."""
    rows = [row for row in reads.evaluations(connection, [run_id], last_only=True) if row.items]
    found = tuple(_result(connection, row, votes) for row in rows)
    several = len(rows) > 1 and len({row.samples for row in rows}) == 1
    mean = avg_at_k([_outcomes(rows)]) if several else None
    return Results(found, mean, partial(reads.get_run(connection, run_id), rows))


def partial(run: RunRow, rows: Sequence[EvaluationRow]) -> str:
    """How many of its problems an evaluation that is not complete has answered; "" for a training, whose evaluations are whole."""
    answered = sum(len(row.items) for row in rows)
    if run.kind != Kind.EVALUATION or answered >= run.total_steps:
        return ""
    return f"{answered:,} of {run.total_steps:,} problems"


def averages(connection: Connection, run_ids: Sequence[int]) -> dict[int, Estimate]:
    """By run: avg@k over all benchmarks of its last evaluations, as far as they have come; without runs that have different k."""
    rows: dict[int, list[EvaluationRow]] = defaultdict(list)
    for row in reads.evaluations(connection, run_ids, last_only=True):
        if row.items:
            rows[row.run_id].append(row)
    return {run: avg_at_k([_outcomes(own)]) for run, own in rows.items() if len({row.samples for row in own}) == 1}


def decoding_of(row: EvaluationRow) -> str:
    """How its answers were sampled, in words."""
    return words.decoding(
        engine=row.engine, temperature=row.temperature, top_p=row.top_p, top_k=row.top_k, stop=row.stop
    )


def answers(connection: Connection, row: EvaluationRow) -> dict[str, list[Answer]] | None:
    """By item id: what was answered; None where the answers to an item were not kept."""
    texts = reads.extracted_answers(connection, row.id)
    if any(len(texts.get(item, ())) != len(marks) for item, marks in row.items.items()):
        return None
    return {
        item: [Answer(text, mark == "1") for text, mark in zip(texts[item], marks, strict=True)]
        for item, marks in row.items.items()
    }


def _result(connection: Connection, row: EvaluationRow, votes: bool) -> Result:
    outcomes = _outcomes([row])
    if row.samples < 2:
        return Result(row, avg_at_k([outcomes]), None, None)
    answered = answers(connection, row) if votes else None
    voted = maj_at_k([{row.benchmark: answered}]) if answered else None
    return Result(row, avg_at_k([outcomes]), pass_at_k([outcomes], row.samples), voted)


def _outcomes(rows: Sequence[EvaluationRow]) -> Outcomes:
    return {row.benchmark: row.outcomes for row in rows}
