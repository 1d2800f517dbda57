"""Evaluations, with what came out for each item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from db import tables
from db.tables import evaluation_items, runs


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One benchmark, evaluated after one step of a run."""

    run_id: int
    benchmark: str
    step: int
    attempt: int
    samples: int
    """Samples per item: the k of avg@k."""
    temperature: float
    top_p: float
    time: float
    items: Mapping[str, str]
    """By item id: one character per sample, "1" right and "0" wrong."""


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
    fields = [name for name in EvaluationRow.__dataclass_fields__ if name != "items"]
    chosen = select(table.c.id, *(table.c[name] for name in fields)).join_from(table, runs)
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
        select(evaluation_items)
        .join_from(evaluation_items, of_chosen, evaluation_items.c.evaluation_id == of_chosen.c.id)
        .order_by(evaluation_items.c.evaluation_id, evaluation_items.c.item_id)
    )
    items: dict[int, dict[str, str]] = defaultdict(dict)
    for evaluation_id, item_id, text in connection.execute(outcomes):
        items[evaluation_id][item_id] = text
    rows = connection.execute(chosen.order_by(table.c.run_id, table.c.benchmark, table.c.step)).mappings()
    return [EvaluationRow(**{name: row[name] for name in fields}, items=items[row["id"]]) for row in rows]
