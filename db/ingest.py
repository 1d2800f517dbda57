"""Carries events into the store, each exactly once.

The offset up to which the event file has been read is committed together with the rows, and a stretch of the file is stored
only if it begins where the store has stopped. So a stretch that is handed in again, by a restarted supervisor or by two at
once, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Integer,
    String,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from db import alerts, extremes, upsert
from db.batches import Batch, Ended, Evaluated, Place, Rewind, Row, Value, evaluation_terms, parse
from db.statuses import Status
from db.tables import (
    attempts,
    completions,
    evaluation_items,
    evaluation_samples,
    evaluations,
    latest_metrics,
    metric_names,
    metrics,
    run_events,
    runs,
)
from trainer.errors import StoreError
from trainer.events import STEP_LEVEL

# The statements of every call are built once: to build one takes longer than to run it.
_THIS_ATTEMPT = (attempts.c.run_id == bindparam("run"), attempts.c.number == bindparam("this_attempt"))
# Where rows can be locked (PostgreSQL), the run keeps its owner and the file its position until the rows are committed.
_POSITION = (
    select(runs.c.attempt, attempts.c.offset)
    .join_from(runs, attempts, attempts.c.run_id == runs.c.id)
    .where(*_THIS_ATTEMPT)
    .with_for_update()
)
_ADVANCE = (
    update(attempts)
    .where(*_THIS_ATTEMPT)
    .values(offset=bindparam("end"), torn_lines=attempts.c.torn_lines + bindparam("torn"))
)
_SEEN = cast(bindparam("seen"), Float)
_UPDATE_RUN = (
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        step=func.coalesce(bindparam("last_step", type_=Integer), runs.c.step),
        total_steps=func.coalesce(bindparam("total", type_=Integer), runs.c.total_steps),
        stage=func.coalesce(bindparam("last_stage", type_=String), runs.c.stage),
        status=case(
            ((runs.c.status == Status.STARTING) & _SEEN.is_not(None), Status.RUNNING),
            else_=runs.c.status,
        ),
        started_at=func.coalesce(runs.c.started_at, _SEEN),
    )
)
_METRIC_IDS = select(metric_names.c.name, metric_names.c.id).where(
    metric_names.c.name.in_(bindparam("names", expanding=True))
)


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a stretch of events."""

    applied: bool
    """False: nothing was changed, because the store is elsewhere in the file or the attempt no longer owns the run."""
    offset: int
    """Where the store now is in the file: read on from here."""
    malformed: int = 0
    """Events left out because their types are wrong."""
    superseded: int = 0
    """Rows of earlier attempts that a resume has removed."""
    ended: Ended | None = None
    """How the trainer says that this attempt ended."""


def ingest(
    connection: Connection,
    run_id: int,
    events: Iterable[Mapping[str, Any]],
    *,
    attempt: int,
    start: int,
    offset: int,
    torn_lines: int,
) -> IngestResult:
    """Store what stands in the event file from byte `start` to byte `offset`, in the caller's writing transaction.

    Args:
        events: the file's events in their order, whichever attempt wrote them.
        attempt: the attempt on whose behalf the file is read; it must be the run's last.
        torn_lines: lines between `start` and `offset` that are no events; malformed events are added to them.

    Raises:
        StoreError: there is no such attempt.
    """
    this = {"run": run_id, "this_attempt": attempt}
    position = _known(connection.execute(_POSITION, this).one_or_none(), run_id, attempt)
    if position.attempt != attempt or position.offset != start:
        return IngestResult(applied=False, offset=position.offset)
    parsed = parse(events, attempt)
    connection.execute(_ADVANCE, {**this, "end": offset, "torn": torn_lines + parsed.malformed})
    superseded = 0
    for batch in parsed.batches:
        if batch.rewind is not None:
            superseded += _rewind(connection, run_id, batch.rewind)
        _store(connection, run_id, batch)
    progress = {
        "last_step": parsed.step,
        "total": parsed.total_steps,
        "last_stage": parsed.stage,
        "seen": parsed.first_seen,
    }
    connection.execute(_UPDATE_RUN, {"run": run_id, **progress})
    return IngestResult(True, offset, parsed.malformed, superseded, parsed.ended)


def read_offset(connection: Connection, run_id: int, attempt: int) -> int:
    """Where the store now is in the run's event file, in bytes: what a supervisor begins to read at.

    Raises:
        StoreError: there is no such attempt.
    """
    offset = connection.execute(
        select(attempts.c.offset).where(*_THIS_ATTEMPT), {"run": run_id, "this_attempt": attempt}
    )
    return _known(offset.scalar_one_or_none(), run_id, attempt)


def _known(found: Any, run_id: int, attempt: int) -> Any:
    if found is None:
        raise StoreError(f"run {run_id} has no attempt {attempt}")
    return found


def _rewind(connection: Connection, run_id: int, rewind: Rewind) -> int:
    """Remove what earlier attempts said of steps that are now trained again; returns how many rows that were."""
    last_step = rewind.last_step
    alerts.rewind(connection, run_id, last_step)
    removed = sum(
        connection.execute(delete(table).where(table.c.run_id == run_id, table.c.step > last_step)).rowcount
        for table in (metrics, completions, evaluations)
    )
    of_run = latest_metrics.c.run_id == run_id
    connection.execute(delete(latest_metrics).where(of_run, latest_metrics.c.step > last_step))
    _restore_latest(connection, run_id)
    kept = connection.execute(select(latest_metrics.c.metric_id).where(of_run)).scalars().all()
    extremes.remove(connection, run_id, kept, last_step)
    connection.execute(update(runs).where(runs.c.id == run_id, runs.c.step > last_step).values(step=max(last_step, 0)))
    connection.execute(
        update(attempts)
        .where(attempts.c.run_id == run_id, attempts.c.number == rewind.attempt)
        .values(resumed_from=rewind.resumed_from, superseded_rows=attempts.c.superseded_rows + removed)
    )
    return removed


def _rank(mini_batch: Any) -> Any:
    """SQL: place of a value among those of its step. A step's own value comes last, because it sums up its mini-batches."""
    return case((mini_batch == STEP_LEVEL, 2**15), else_=mini_batch)


def _restore_latest(connection: Connection, run_id: int) -> None:
    """Give every metric of the run that lacks a latest value its newest row."""
    known = select(latest_metrics.c.metric_id).where(latest_metrics.c.run_id == run_id)
    newest_first = func.row_number().over(
        partition_by=metrics.c.metric_id, order_by=(metrics.c.step.desc(), _rank(metrics.c.mini_batch).desc())
    )
    place = newest_first.label("place")
    rows = select(*metrics.c, place).where(metrics.c.run_id == run_id, metrics.c.metric_id.not_in(known)).subquery()
    columns = [column.name for column in latest_metrics.c]
    newest = select(*(rows.c[name] for name in columns)).where(rows.c.place == 1)
    connection.execute(insert(latest_metrics).from_select(columns, newest))


def _store(connection: Connection, run_id: int, batch: Batch) -> None:
    ids = _store_metrics(connection, run_id, batch.metrics) if batch.metrics else {}
    if batch.completions:
        rows = [{"run_id": run_id, **batch.completions[key]} for key in sorted(batch.completions)]
        connection.execute(upsert.replace(connection, completions), rows)
    for key in sorted(batch.evaluations):
        _store_evaluation(connection, run_id, batch.evaluations[key])
    if batch.history:
        connection.execute(insert(run_events), [{"run_id": run_id, **row} for row in batch.history])
    # After the history, which may say that an attempt began: what is said of an alert then stands behind that.
    if ids:
        alerts.observe(connection, run_id, batch.metrics, ids)


def _store_metrics(connection: Connection, run_id: int, series: Mapping[str, Mapping[Place, Value]]) -> dict[str, int]:
    """Store values; returns the ids of their metrics."""
    by_name = metric_ids(connection, series.keys())
    rows: list[tuple[Any, ...]] = []
    newest: list[Row] = []
    steps: set[int] = set()
    for metric_id, name in sorted((metric_id, name) for name, metric_id in by_name.items()):
        values = series[name]
        places = sorted(values)
        rows += [(run_id, metric_id, *place, *values[place]) for place in places]
        newest.append({"run_id": run_id, "metric_id": metric_id, **_newest(values, last=places[-1])})
        steps |= {places[0][0], places[-1][0]}
    upsert.replace_many(connection, metrics, rows)
    connection.execute(upsert.replace(connection, latest_metrics, where=_is_newer), newest)
    extremes.refresh(connection, run_id, list(by_name.values()), min(steps), max(steps))
    return by_name


def _newest(values: Mapping[Place, Value], last: Place) -> Row:
    """The newest of some values: that of the last place, or of its whole step."""
    whole = (last[0], STEP_LEVEL)
    place = whole if whole in values else last
    return dict(zip(("step", "mini_batch", "attempt", "value", "code", "time"), (*place, *values[place]), strict=True))


def _is_newer(new: Any) -> ColumnElement[bool]:
    old = latest_metrics.c
    return tuple_(new.step, _rank(new.mini_batch)) >= tuple_(old.step, _rank(old.mini_batch))


def metric_ids(connection: Connection, names: Set[str]) -> dict[str, int]:
    """The id of each name; new names get one."""
    wanted = {"names": sorted(names)}
    ids = {row.name: row.id for row in connection.execute(_METRIC_IDS, wanted)}
    if missing := sorted(names - ids.keys()):
        connection.execute(
            upsert.insert(connection, metric_names).on_conflict_do_nothing(), [{"name": name} for name in missing]
        )
        ids = {row.name: row.id for row in connection.execute(_METRIC_IDS, wanted)}
    return ids


def _store_evaluation(connection: Connection, run_id: int, said: Evaluated) -> None:
    row = {"run_id": run_id, **said.row}
    key = [evaluations.c[name] for name in ("run_id", "benchmark", "step")]
    stored = connection.execute(select(evaluations).where(*(column == row[column.name] for column in key))).mappings()
    before = next(map(dict, stored), None)
    statement = upsert.insert(connection, evaluations)
    values = {name: statement.excluded[name] for name in row if name not in ("run_id", "benchmark", "step")}
    statement = statement.on_conflict_do_update(index_elements=key, set_=values)
    number = connection.execute(statement.returning(evaluations.c.id), row).scalar_one()
    if before is not None and not (said.adds and evaluation_terms(before) == evaluation_terms(row)):
        for table in (evaluation_items, evaluation_samples):
            connection.execute(delete(table).where(table.c.evaluation_id == number))
    items = [{"evaluation_id": number, "item_id": item, **said.items[item]} for item in sorted(said.items)]
    samples = [
        {"evaluation_id": number, "item_id": item, "sample": sample, **said.samples[item, sample]}
        for item, sample in sorted(said.samples)
    ]
    for table, rows in ((evaluation_items, items), (evaluation_samples, samples)):
        if rows:
            connection.execute(upsert.replace(connection, table), rows)
