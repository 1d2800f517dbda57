"""Evaluations, with what came out for each item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from db import tables
from db.statuses import Kind
from db.tables import evaluation_items, evaluation_samples, runs


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One benchmark, evaluated after one step of a training, by the training itself or by a run of its own."""

    id: int
    run_id: int
    """The run that evaluated."""
    kind: Kind
    """What that run is: a training that evaluated itself, or an evaluation."""
    subject: int | None
    """The training whose policy was evaluated; None for a model that no run made."""
    trained_steps: int | None
    """Steps that policy had been trained; None for a model that no run made."""
    benchmark: str
    step: int
    """Of the run that evaluated: of an evaluation always 0."""
    attempt: int
    samples: int
    """Samples per item: the k of avg@k."""
    temperature: float
    top_p: float
    max_tokens: int | None
    """Longest response in tokens; None where an older version did not say."""
    revision: str | None
    """Content hash of the problems; None where an older version did not say."""
    grader: str | None
    """Version of the grader; None where an older version did not say."""
    engine: str
    """What sampled: builtin or vllm."""
    top_k: int
    """Of how many most likely tokens was drawn; 0: of all."""
    stop: list[str]
    """Texts that ended a response."""
    time: float
    items: Mapping[str, str]
    """By item id: one character per sample, "1" right and "0" wrong."""

    @property
    def outcomes(self) -> dict[str, list[int]]:
        """By item id: 0 or 1 per sample."""
        return {item: [int(mark) for mark in marks] for item, marks in self.items.items()}


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One response in an evaluation: the columns of the table `evaluation_samples`."""

    sample: int
    completion: str
    tokens: int
    truncated: bool
    correct: bool
    extracted: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class EvaluatedItem:
    """One problem of an evaluation and what was answered."""

    problem: str
    answer: str
    samples: Sequence[SampleRow]


_COMPUTED = {
    "kind": runs.c.kind,
    "subject": case((runs.c.kind == Kind.TRAINING, runs.c.id), else_=runs.c.evaluates),
    "trained_steps": case((runs.c.kind == Kind.TRAINING, tables.evaluations.c.step), else_=runs.c.evaluates_step),
}
_FIELDS = [name for name in EvaluationRow.__dataclass_fields__ if name != "items"]


def evaluations(
    connection: Connection,
    run_ids: Sequence[int] | None = None,
    *,
    experiment: str | None = None,
    benchmark: str | None = None,
    last_only: bool = False,
) -> list[EvaluationRow]:
    """Evaluations by run, benchmark and step; of these runs, this experiment and this benchmark where they are given.

    With `last_only`, only the last one of each run and benchmark.
    """
    table = tables.evaluations
    columns = {**table.c, **_COMPUTED}
    chosen = select(*(columns[name].label(name) for name in _FIELDS)).join_from(table, runs)
    if run_ids is not None:
        chosen = chosen.where(table.c.run_id.in_(run_ids))
    if experiment is not None:
        chosen = chosen.join(tables.experiments).where(tables.experiments.c.name == experiment)
    if benchmark is not None:
        chosen = chosen.where(table.c.benchmark == benchmark)
    if last_only:
        other = table.alias()
        same = (other.c.run_id == table.c.run_id, other.c.benchmark == table.c.benchmark)
        chosen = chosen.where(table.c.step == select(func.max(other.c.step)).where(*same).scalar_subquery())
    of_chosen = chosen.subquery()
    outcomes = (
        select(evaluation_items.c.evaluation_id, evaluation_items.c.item_id, evaluation_items.c.outcomes)
        .join_from(evaluation_items, of_chosen, evaluation_items.c.evaluation_id == of_chosen.c.id)
        .order_by(evaluation_items.c.evaluation_id, evaluation_items.c.item_id)
    )
    items: dict[int, dict[str, str]] = defaultdict(dict)
    for evaluation_id, item_id, text in connection.execute(outcomes):
        items[evaluation_id][item_id] = text
    rows = connection.execute(chosen.order_by(table.c.run_id, table.c.benchmark, table.c.step)).mappings()
    return [
        EvaluationRow(**{**{name: row[name] for name in _FIELDS}, "kind": Kind(row["kind"])}, items=items[row["id"]])
        for row in rows
    ]


def evaluated_item(connection: Connection, evaluation_id: int, item_id: str) -> EvaluatedItem | None:
    """What was answered to one problem, in the order in which it was drawn; None where the texts were not kept."""
    item = evaluation_items.c
    key = (item.evaluation_id == evaluation_id, item.item_id == item_id)
    found = connection.execute(select(item.problem, item.answer).where(*key)).one_or_none()
    if found is None or found.problem is None:
        return None
    sample = evaluation_samples.c
    rows = connection.execute(
        select(*(sample[name] for name in SampleRow.__dataclass_fields__))
        .where(sample.evaluation_id == evaluation_id, sample.item_id == item_id)
        .order_by(sample.sample)
    )
    return EvaluatedItem(found.problem, found.answer, [SampleRow(*row) for row in rows])


def extracted_answers(connection: Connection, evaluation_id: int) -> dict[str, list[str | None]]:
    """By item id: the final answer of every sample, None where there was none; empty where the texts were not kept."""
    sample = evaluation_samples.c
    rows = connection.execute(
        select(sample.item_id, sample.extracted)
        .where(sample.evaluation_id == evaluation_id)
        .order_by(sample.item_id, sample.sample)
    )
    found: dict[str, list[str | None]] = defaultdict(list)
    for item_id, extracted in rows:
        found[item_id].append(extracted)
    return dict(found)
