"""Completions of a run: at which steps there are some, those of one step, and the same prompt at other steps and in other runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from db.tables import completions, runs
from db.tokens import Tokens, unpack


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """One response to a prompt: the columns of the table `completions`."""

    prompt_id: str
    sample: int
    attempt: int
    problem: str
    answer: str
    completion: str
    reward: float | None
    advantage: float | None
    correct: bool
    extracted: str | None
    reason: str
    tokens: int
    truncated: bool


class SamePrompt(NamedTuple):
    """A run that has logged completions of a prompt."""

    run_id: int
    name: str
    steps: Sequence[int]


def completion_steps(connection: Connection, run_id: int) -> list[int]:
    """The steps that have completions, in order."""
    statement = select(completions.c.step).where(completions.c.run_id == run_id).distinct().order_by(completions.c.step)
    return list(connection.execute(statement).scalars())


def newest_completions(connection: Connection, run_id: int) -> int | None:
    """The last step that has completions; None where none has."""
    return connection.execute(select(func.max(completions.c.step)).where(completions.c.run_id == run_id)).scalar_one()


def completions_at(connection: Connection, run_id: int, step: int) -> list[CompletionRow]:
    """The completions of one step, group by group."""
    statement = (
        select(*(completions.c[name] for name in CompletionRow.__dataclass_fields__))
        .where(completions.c.run_id == run_id, completions.c.step == step)
        .order_by(completions.c.prompt_id, completions.c.sample)
    )
    return [CompletionRow(*row) for row in connection.execute(statement)]


def tokens_at(connection: Connection, run_id: int, step: int, prompt_id: str) -> dict[int, Tokens]:
    """By sample: the completions of one prompt at a step token by token, as far as the trainer said so."""
    statement = select(completions.c.sample, completions.c.by_token).where(
        completions.c.run_id == run_id,
        completions.c.step == step,
        completions.c.prompt_id == prompt_id,
        completions.c.by_token.is_not(None),
    )
    return {sample: unpack(packed) for sample, packed in connection.execute(statement)}


def steps_of_prompts(connection: Connection, run_id: int, prompt_ids: Sequence[str]) -> dict[str, list[int]]:
    """By prompt: the steps at which the run has completions of it, in order."""
    table, found = completions.c, defaultdict[str, list[int]](list)
    statement = (
        select(table.prompt_id, table.step)
        .where(table.run_id == run_id, table.prompt_id.in_(prompt_ids))
        .distinct()
        .order_by(table.step)
    )
    for prompt_id, step in connection.execute(statement):
        found[prompt_id].append(step)
    return dict(found)


def runs_of_prompt(
    connection: Connection, run_id: int, prompt_id: str, problem: str, limit: int = 100
) -> list[SamePrompt]:
    """The newest other runs of the run's experiment that have logged completions of the same problem under the same id."""
    here = select(runs.c.experiment_id).where(runs.c.id == run_id).scalar_subquery()
    there = select(runs.c.id, runs.c.name).where(runs.c.experiment_id == here, runs.c.id != run_id).subquery()
    table = completions.c
    statement = (
        select(there.c.id, there.c.name, table.step)
        .join_from(there, completions, table.run_id == there.c.id)
        .where(table.prompt_id == prompt_id, table.problem == problem)
        .distinct()
        .order_by(there.c.id.desc(), table.step)
    )
    found: dict[tuple[int, str], list[int]] = {}
    for number, name, step in connection.execute(statement):
        if (number, name) not in found and len(found) == limit:
            break
        found.setdefault((number, name), []).append(step)
    return [SamePrompt(number, name, steps) for (number, name), steps in found.items()]
