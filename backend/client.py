"""Reads for notebooks and scripts, of the store that MTPRL_HOME or MTPRL_DATABASE_URL names: plain frozen rows, or pandas.

    from backend import client

    client.runs(tags=["baseline"])
    client.metrics([3, 4], ["reward/mean"], max_points=500)

Every call is one read-only transaction, so nothing here can change a run or hold one up. A run is given by its id, or by its name where only
one run has it. Imports neither torch nor Streamlit.

Raises, everywhere: StoreError where the store is not there, is of another version, or has no such run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Unpack

import pandas as pd
from sqlalchemy import Connection

from backend import results as outcomes
from backend import store
from backend.leaderboard import Board, leaderboard
from backend.results import Results
from db import reads
from db.reads import ExportRow, RunDetail, RunFilters, RunRow

Run = int | str
"""A run's id, or its name."""

_METRICS = {"run": "int64", "metric": "str", "step": "int64", "mini_batch": "int64", "value": "float64"}


def runs(*, limit: int = 1000, **filters: Unpack[RunFilters]) -> list[RunRow]:
    """The newest runs first, as the list shows them. Archived ones are among them unless `archived=False` is given.

    Args:
        limit: at most so many.
        filters: experiment, status, regime, kind, evaluates, text, tags, archived, ids: see `db.reads.RunFilters`.
    """
    with _reading() as connection:
        return reads.list_runs(connection, limit=limit, **filters)


def run(of: Run) -> RunDetail:
    """One run with its configuration and its attempts."""
    with _reading() as connection:
        return reads.get_run(connection, _find(connection, of))


def metric_names(of: Run) -> list[str]:
    """The metrics that a run has, in alphabetical order."""
    with _reading() as connection:
        return reads.metric_list(connection, _find(connection, of))


def metrics(
    of: Run | Sequence[Run],
    names: Sequence[str] | None = None,
    *,
    max_points: int | None = None,
    mini_batches: bool = False,
) -> pd.DataFrame:
    """Values of metrics: a row per value, by run, metric, step and mini-batch. Columns: run, metric, step, mini_batch (-1: of the whole step), value.

    Args:
        of: one run, or several.
        names: only these metrics; by default all that a run has.
        max_points: at most so many values of each metric and run, chosen so that no spike and no NaN is lost: of each of equally many
            steps the smallest, the largest and the first that is not finite, and the first and the last of all. By default every value.
        mini_batches: the values of mini-batches in the place of those of whole steps.
    """
    with _reading() as connection:
        ids = _find_all(connection, of)
        if max_points is None:
            return _frame(_values(connection, ids, names, mini_batches))
        wanted = (
            names if names is not None else sorted({name for one in ids for name in reads.metric_list(connection, one)})
        )
        level = "mini_batch" if mini_batches else "step"
        found = reads.series(connection, ids, wanted, max_points=max_points, level=level)  # type: ignore[arg-type]
        return _frame(
            (run_id, name, *point)
            for (run_id, name), line in sorted(found.items())
            for point in zip(line.steps, line.mini_batches, line.values, strict=True)
        )


def completions(of: Run, step: int | None = None) -> pd.DataFrame:
    """Logged completions with their grades, a row per completion, by step, prompt and sample; of one step, or of all that were logged."""
    columns = ["step", *reads.CompletionRow.__dataclass_fields__]
    with _reading() as connection:
        run_id = _find(connection, of)
        steps = reads.completion_steps(connection, run_id) if step is None else [step]
        rows = [{"step": at, **asdict(row)} for at in steps for row in reads.completions_at(connection, run_id, at)]
    return pd.DataFrame(rows, columns=columns)


def evaluations(of: Run | Sequence[Run]) -> pd.DataFrame:
    """Evaluations of trainings, or of evaluations that are runs: a row per run, benchmark and step, by these.

    Columns: run, benchmark, step, trained_steps, problems, samples (the k), accuracy (avg@k, from 0 to 1), temperature, top_p, top_k, stop, engine,
    max_tokens, revision, grader, time, partial (of an evaluation that has not answered all its problems '356 of 1,547 problems', else ""). Intervals: `results`.
    """
    columns = ["run", "benchmark", "step", "trained_steps", "problems", "samples", "accuracy"]
    terms = ["temperature", "top_p", "top_k", "stop", "engine", "max_tokens", "revision", "grader", "time"]
    with _reading() as connection:
        ids = _find_all(connection, of)
        rows = reads.evaluations(connection, ids)
        partial = {
            one: outcomes.partial(reads.get_run(connection, one), [row for row in rows if row.run_id == one])
            for one in ids
        }
    found = [
        {
            **{name: getattr(row, name) for name in ("benchmark", "step", "trained_steps", "samples", *terms)},
            "run": row.run_id,
            "problems": len(row.items),
            "accuracy": _share("".join(row.items.values())),
            "partial": partial[row.run_id],
        }
        for row in rows
    ]
    return pd.DataFrame(found, columns=[*columns, *terms, "partial"]).sort_values(columns[:3], ignore_index=True)


def results(of: Run) -> Results:
    """What a run's last evaluation came to, with 95 % intervals over problems: avg@k, pass@k, maj@k."""
    with _reading() as connection:
        return outcomes.results(connection, _find(connection, of))


def boards(experiment: str | None = None, *, archived: bool = False) -> list[Board]:
    """The leaderboard: one board per protocol, with intervals and differences to detach; archived runs count only with `archived=True`."""
    with _reading() as connection:
        return leaderboard(connection, experiment, archived=archived)


@contextmanager
def _reading() -> Iterator[Connection]:
    store.require()
    with store.reading() as connection:
        yield connection


def _find(connection: Connection, of: Run) -> int:
    return reads.find_run(connection, str(of))


def _find_all(connection: Connection, of: Run | Sequence[Run]) -> list[int]:
    return [_find(connection, one) for one in ([of] if isinstance(of, int | str) else of)]


def _values(
    connection: Connection, ids: Sequence[int], names: Sequence[str] | None, mini_batches: bool
) -> Iterator[tuple[int, str, int, int, float]]:
    for run_id in ids:
        for row in reads.export_rows(connection, run_id, names, whole_steps=not mini_batches):
            if not mini_batches or row.mini_batch >= 0:
                yield _without_time(row)


def _without_time(row: ExportRow) -> tuple[int, str, int, int, float]:
    return row.run, row.metric, row.step, row.mini_batch, row.value


def _frame(rows: Iterator[tuple[int, str, int, int, float]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(_METRICS)).astype(_METRICS)


def _share(outcomes: str) -> float:
    return outcomes.count("1") / len(outcomes) if outcomes else float("nan")
