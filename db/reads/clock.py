"""When runs made their steps, by the time on their devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from db.tables import attempts, metric_names, metrics, runs
from trainer.events import STEP_LEVEL

ANCHOR = "time/step_seconds"
"""Every step of a training has one."""


class Reached(NamedTuple):
    """When a run had made a step: seconds on its devices over all attempts until then, without the pauses between them."""

    step: int
    seconds: float


def device_seconds(
    connection: Connection, run_ids: Sequence[int], *, max_points: int = 400
) -> dict[int, list[Reached]]:
    """By run, in the order of steps. Of a run with more than `max_points` steps every k-th, and those where its attempts began.

    The time of steps that were lost, and made again by a later attempt, counts: the devices were held. Runs without a step are left out.
    """
    found = {}
    for run_id in run_ids:
        lasted = func.coalesce(attempts.c.ended_at, attempts.c.heartbeat_at) - attempts.c.started_at
        rows = connection.execute(
            select(attempts.c.number, attempts.c.started_at, lasted, attempts.c.resumed_from)
            .where(attempts.c.run_id == run_id)
            .order_by(attempts.c.number)
        ).all()
        last = connection.execute(select(runs.c.step).where(runs.c.id == run_id)).scalar_one_or_none() or 0
        every = max(-(-last // max_points), 1)
        edges = [edge for *_, resumed in rows if resumed is not None for edge in (resumed, resumed + 1)]
        steps = sorted({1, last, *range(every, last + 1, every), *edges})
        begun, before = {}, 0.0
        for number, started_at, seconds, _ in rows:
            begun[number] = before - started_at
            before += max(seconds, 0.0)
        statement = (
            select(metrics.c.step, metrics.c.attempt, metrics.c.time)
            .join_from(metrics, metric_names, metrics.c.metric_id == metric_names.c.id)
            .where(metrics.c.run_id == run_id, metric_names.c.name == ANCHOR)
            .where(metrics.c.step.in_(steps), metrics.c.mini_batch == STEP_LEVEL)
            .order_by(metrics.c.step)
        )
        reached = [
            Reached(step, max(begun[attempt] + time, 0.0))
            for step, attempt, time in connection.execute(statement)
            if attempt in begun
        ]
        if reached:
            found[run_id] = reached
    return found
