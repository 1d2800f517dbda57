"""Completions of a run: at which steps there are some, and those of one step."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from db.tables import completions


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


def completion_steps(connection: Connection, run_id: int) -> list[int]:
    """The steps that have completions, in order."""
    statement = select(completions.c.step).where(completions.c.run_id == run_id).distinct().order_by(completions.c.step)
    return list(connection.execute(statement).scalars())


def completions_at(connection: Connection, run_id: int, step: int) -> list[CompletionRow]:
    """The completions of one step, group by group."""
    statement = (
        select(*(completions.c[name] for name in CompletionRow.__dataclass_fields__))
        .where(completions.c.run_id == run_id, completions.c.step == step)
        .order_by(completions.c.prompt_id, completions.c.sample)
    )
    return [CompletionRow(*row) for row in connection.execute(statement)]
