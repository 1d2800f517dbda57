"""Runs: the list, one in detail, and where each stands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from sqlalchemy import ColumnElement, Connection, Select, String, case, cast, func, or_, select

from db import tables
from db.reads.metrics import decode
from db.statuses import ACTIVE, Kind, Status
from db.tables import attempts, latest_metrics, leases, metric_names, metrics, run_tags, runs
from trainer.errors import StoreError
from trainer.events import STEP_LEVEL

HEADLINES = (
    *("reward/mean", "reward/accuracy", "time/step_seconds"),
    *("mtp/held_out_acceptance_greedy", "mtp/held_out_acceptance_sampled", "rollout/draft_acceptance_1"),
)
"""The metrics whose latest values stand in a list of runs, or in what is told of one."""

COEFFICIENT, RECENT_STEPS = "mtp/coefficient", 10
"""Shown as a mean over its last steps: a single step's coefficient is often at its clip."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as lists show it; times in seconds since the epoch."""

    id: int
    kind: Kind
    evaluates: int | None
    """Of an evaluation: the run whose policy it is about; None for a model that no run made."""
    evaluates_step: int | None
    """Of an evaluation: the step after which that policy was saved."""
    name: str
    experiment: str
    regime: str
    algorithm: str
    seed: int
    preset: str | None
    status: Status
    reason: str
    step: int
    total_steps: int
    stage: str
    attempt: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    seconds: float | None
    """Time on its devices over all attempts; None before the first one."""
    attempt_started_at: float | None
    """When the last attempt began; None before the first one."""
    resumed_from: int | None
    """The step that the last attempt went on from; None where it began with the first one, or has not begun yet."""
    heartbeat_at: float | None
    """When the last attempt was last heard of; None before the first one."""
    folder: str
    priority: int
    cloned_from: int | None
    """The run that it was made from."""
    devices: Sequence[str]
    """The devices that the run holds; empty where it holds none."""
    latest: Mapping[str, float]
    """Latest value of each of `HEADLINES` that the run has."""
    coefficient: float | None
    """Mean of `mtp/coefficient` over its last `RECENT_STEPS` steps, as far as it is finite; None where the run has none."""
    host: str | None
    """Where the last attempt is or was; None before the first one."""
    tags: Sequence[str]
    """What users tagged it with, in alphabetical order."""
    note: str
    """What a user noted about it; "" where nobody did."""
    archived_at: float | None
    """Since when it is left out of lists that do not ask for it; None where it is not."""


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt at a run: the columns of the table `attempts`."""

    number: int
    host: str
    devices: Sequence[str] | None
    """None where an older version of the program did not keep it."""
    cause: str | None
    """Why there is this attempt; None for the first one."""
    supervisor_pid: int | None
    supervisor_started: float | None
    trainer_pid: int | None
    trainer_started: float | None
    heartbeat_at: float
    offset: int
    torn_lines: int
    resumed_from: int | None
    superseded_rows: int
    started_at: float
    ended_at: float | None
    exit_code: int | None
    outcome: str | None
    message: str


@dataclass(frozen=True, slots=True)
class RunDetail(RunRow):
    """A run with its configuration and all its attempts, the first one first."""

    config: Mapping[str, Any]
    difference: Sequence[Sequence[Any]] | None
    """[field, there, here] of each setting in which it differs from `cloned_from`; None where it is no clone."""
    attempts: Sequence[AttemptRow]


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment and how many runs it has."""

    id: int
    name: str
    created_at: float
    runs: int


class RunFilters(TypedDict, total=False):
    """Which runs; what is left out, or None, or empty, leaves nobody out."""

    experiment: str | None
    status: Status | None
    regime: str | None
    kind: Kind | None
    evaluates: int | None
    """Evaluations of this run."""
    text: str
    """Has to be part of the name, preset, algorithm, reason or note, or be the run's number; upper and lower case are alike."""
    tags: Sequence[str]
    """All of them."""
    archived: bool | None
    """Only those that are archived, or only those that are not."""
    ids: Sequence[int] | None
    """None but these."""


def list_runs(
    connection: Connection,
    *,
    limit: int = 200,
    offset: int = 0,
    active_first: bool = False,
    **filters: Unpack[RunFilters],
) -> list[RunRow]:
    """The newest runs first, at most `limit` of them after the first `offset`.

    `active_first` puts those that hold devices before those that wait, which stand as they are served, and these before those that have
    ended.
    """
    chosen = select(runs.c.id).where(*_conditions(filters))
    if active_first:
        waits = runs.c.status == Status.QUEUED
        chosen = chosen.order_by(case((runs.c.status.in_(ACTIVE), 0), (waits, 1), else_=2))
        served = [-runs.c.priority, runs.c.queued_at, runs.c.id]  # the order of db.queue
        chosen = chosen.order_by(*(case((waits, key), else_=0) for key in served))
    chosen = chosen.order_by(runs.c.id.desc())
    # Chosen first: a row that is only sorted needs none of its other columns.
    ids = list(connection.execute(chosen.limit(limit).offset(offset)).scalars())
    found = {row.id: row for row in _with_headlines(connection, _rows().where(runs.c.id.in_(ids)))}
    return [found[run_id] for run_id in ids]


def count_runs(connection: Connection, **filters: Unpack[RunFilters]) -> int:
    """How many runs match."""
    statement = select(func.count()).select_from(runs).where(*_conditions(filters))
    return connection.execute(statement).scalar_one()


def matching_runs(
    connection: Connection, *, limit: int, **filters: Unpack[RunFilters]
) -> list[tuple[int, str, Status]]:
    """Id, name and status of the newest runs that match, for a choice among them."""
    statement = select(runs.c.id, runs.c.name, runs.c.status).where(*_conditions(filters))
    rows = connection.execute(statement.order_by(runs.c.id.desc()).limit(limit))
    return [(run_id, name, Status(status)) for run_id, name, status in rows]


def tags(connection: Connection) -> dict[str, int]:
    """Every tag and how many runs have it, in alphabetical order."""
    statement = select(run_tags.c.tag, func.count()).group_by(run_tags.c.tag).order_by(run_tags.c.tag)
    return dict(connection.execute(statement).tuples().all())


def _conditions(filters: RunFilters) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    for column, wanted in (
        (runs.c.status, filters.get("status")),
        (runs.c.regime, filters.get("regime")),
        (runs.c.kind, filters.get("kind")),
        (runs.c.evaluates, filters.get("evaluates")),
    ):
        if wanted is not None:
            found.append(column == wanted)
    if (ids := filters.get("ids")) is not None:
        found.append(runs.c.id.in_(ids))
    if (experiment := filters.get("experiment")) is not None:
        named = select(tables.experiments.c.id).where(tables.experiments.c.name == experiment)
        found.append(runs.c.experiment_id.in_(named))
    if text := filters.get("text"):
        # As text, not as a number: it may have more digits than a number of the store.
        parts = [cast(runs.c.id, String) == text]
        for column in (runs.c.name, runs.c.preset, runs.c.algorithm, runs.c.reason, runs.c.note):
            parts.append(column.icontains(text, autoescape=True))
        found.append(or_(*parts))
    for tag in filters.get("tags") or ():
        found.append(runs.c.id.in_(select(run_tags.c.run_id).where(run_tags.c.tag == tag)))
    if (archived := filters.get("archived")) is not None:
        found.append(runs.c.archived_at.is_not(None) if archived else runs.c.archived_at.is_(None))
    return found


def get_run(connection: Connection, run_id: int) -> RunDetail:
    """One run in detail.

    Raises:
        StoreError: there is no such run.
    """
    found = _with_headlines(connection, _rows().where(runs.c.id == run_id))
    if not found:
        raise StoreError(_missing(str(run_id)))
    config, difference = connection.execute(select(runs.c.config, runs.c.difference).where(runs.c.id == run_id)).one()
    names = [attempts.c[name] for name in AttemptRow.__dataclass_fields__]
    rows = connection.execute(select(*names).where(attempts.c.run_id == run_id).order_by(attempts.c.number))
    shown = {name: getattr(found[0], name) for name in RunRow.__dataclass_fields__}
    return RunDetail(**shown, config=config, difference=difference, attempts=tuple(AttemptRow(*row) for row in rows))


def find_run(connection: Connection, text: str) -> int:
    """The id of the run that a user means by its id or by its name.

    Raises:
        StoreError: no run has this id or name, or several have the name.
    """
    number = int(text) if text.isdecimal() and len(text) < 10 else 0  # more digits than the column can hold
    if connection.execute(select(runs.c.id).where(runs.c.id == number)).scalar_one_or_none():
        return number
    found = connection.execute(select(runs.c.id).where(runs.c.name == text).order_by(runs.c.id)).scalars().all()
    if not found:
        raise StoreError(_missing(text))
    if len(found) > 1:
        raise StoreError(f"{len(found)} runs are named {text!r}; name one by its id: {', '.join(map(str, found))}")
    return found[0]


def status_counts(connection: Connection) -> dict[Status, int]:
    """How many runs there are of each status, 0 included."""
    counts = dict.fromkeys(Status, 0)
    for status, count in connection.execute(select(runs.c.status, func.count()).group_by(runs.c.status)):
        counts[Status(status)] = count
    return counts


def finished_mark(connection: Connection) -> tuple[int, float, int, float]:
    """How many runs have finished, and when the last one did; of these how many are archived, and since when the last one is.

    The same as before as long as no run finished, was taken up again, archived or brought back.
    """
    numbers = (func.count(), func.max(runs.c.ended_at), func.count(runs.c.archived_at), func.max(runs.c.archived_at))
    count, last, archived, put_away = connection.execute(select(*numbers).where(runs.c.status == Status.FINISHED)).one()
    return count, last or 0.0, archived, put_away or 0.0


def experiments(connection: Connection) -> list[ExperimentRow]:
    """All experiments, the newest first."""
    table = tables.experiments
    statement = (
        select(table.c.id, table.c.name, table.c.created_at, func.count(runs.c.id))
        .join_from(table, runs, runs.c.experiment_id == table.c.id, isouter=True)
        .group_by(table.c.id, table.c.name, table.c.created_at)
        .order_by(table.c.id.desc())
    )
    return [ExperimentRow(*row) for row in connection.execute(statement)]


def _rows() -> Select:
    """SELECT of the fields of RunRow by their names, without what metrics say."""
    each = attempts.alias()
    lasted = func.sum(func.coalesce(each.c.ended_at, each.c.heartbeat_at) - each.c.started_at)
    seconds = select(lasted).where(each.c.run_id == runs.c.id).scalar_subquery()
    columns = {
        **runs.c,
        "experiment": tables.experiments.c.name,
        "seconds": seconds,
        "attempt_started_at": attempts.c.started_at,
        "resumed_from": attempts.c.resumed_from,
        "heartbeat_at": attempts.c.heartbeat_at,
        "host": attempts.c.host,
    }
    read_apart = ("latest", "coefficient", "devices", "tags")
    names = [name for name in RunRow.__dataclass_fields__ if name not in read_apart]
    last_attempt = (attempts.c.run_id == runs.c.id) & (attempts.c.number == runs.c.attempt)
    return (
        select(*(columns[name].label(name) for name in names))
        .join_from(runs, tables.experiments)
        .join(attempts, last_attempt, isouter=True)
    )


def _with_headlines(connection: Connection, statement: Select) -> list[RunRow]:
    rows = [dict(row) for row in connection.execute(statement).mappings()]
    values: dict[int, dict[str, float]] = defaultdict(dict)
    run_ids = [row["id"] for row in rows]
    wanted = (
        select(latest_metrics.c.run_id, metric_names.c.name, latest_metrics.c.value, latest_metrics.c.code)
        .join_from(latest_metrics, metric_names)
        .where(latest_metrics.c.run_id.in_(run_ids), metric_names.c.name.in_(HEADLINES))
    )
    for run_id, name, value, code in connection.execute(wanted):
        values[run_id][name] = decode(value, code)
    coefficients, devices = _recent_coefficients(connection, run_ids), _devices(connection, run_ids)
    tagged = _tags(connection, run_ids)
    for row in rows:
        row["tags"] = tagged.get(row["id"], ())
        row["devices"] = devices.get(row["id"], ())
        row["coefficient"] = coefficients.get(row["id"])
        row["status"], row["kind"] = Status(row["status"]), Kind(row["kind"])
        row["latest"] = {name: values[row["id"]][name] for name in HEADLINES if name in values[row["id"]]}
    return [RunRow(**row) for row in rows]


def _recent_coefficients(connection: Connection, run_ids: Sequence[int]) -> dict[int, float | None]:
    """By run: `RunRow.coefficient` of those that have one."""
    last = latest_metrics.c
    recent = (
        (metrics.c.run_id == last.run_id)
        & (metrics.c.metric_id == last.metric_id)
        & (metrics.c.step > last.step - RECENT_STEPS)
        & (metrics.c.step <= last.step)
        & (metrics.c.mini_batch == STEP_LEVEL)
    )
    statement = (
        select(last.run_id, func.avg(metrics.c.value))
        .join_from(latest_metrics, metric_names)
        .join(metrics, recent)
        .where(last.run_id.in_(run_ids), metric_names.c.name == COEFFICIENT)
        .group_by(last.run_id)
    )
    return dict(connection.execute(statement).tuples().all())


def _devices(connection: Connection, run_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """By run: the devices that it holds."""
    held: dict[int, list[str]] = defaultdict(list)
    statement = select(leases.c.run_id, leases.c.device).where(leases.c.run_id.in_(run_ids))
    for run_id, device in connection.execute(statement):
        held[run_id].append(device)
    return {run_id: tuple(sorted(devices, key=lambda name: (len(name), name))) for run_id, devices in held.items()}


def _tags(connection: Connection, run_ids: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """By run: its tags."""
    found: dict[int, list[str]] = defaultdict(list)
    statement = select(run_tags.c.run_id, run_tags.c.tag).where(run_tags.c.run_id.in_(run_ids))
    for run_id, tag in connection.execute(statement.order_by(run_tags.c.run_id, run_tags.c.tag)):
        found[run_id].append(tag)
    return {run_id: tuple(tags) for run_id, tags in found.items()}


def _missing(text: str) -> str:
    return f"run {text!r} does not exist; `mtprl runs` lists those that do"
