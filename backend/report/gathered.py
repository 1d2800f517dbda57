"""Everything that a report says, read from the store and the run folders in one go. Bounded: see the limits below."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from backend import audits as auditing
from backend.audits import ANCHOR, Audits
from backend.leaderboard import Board, leaderboard
from backend.report.curves import Means
from backend.report.methods import Method, has_begun, methods_of
from backend.report.origins import Attempt, Build, build_of, first_attempt
from db import reads
from db.reads import AlarmRow, EvaluationRow, Point, RunDetail, Series
from db.statuses import Kind
from trainer.errors import StoreError

MOST_RUNS = 500
"""Trainings, and as many evaluations, the newest."""
MOST_STRETCHES = 120
"""Points of a mean by step; of longer runs a point is the mean over several steps."""
MOST_POINTS = 150
"""Points of a single run's line; of longer ones the extremes of every stretch."""
MOST_AUDITS = 400
"""Audits of a run: of more, every so many-th."""

METRICS = (
    *("reward/mean", "reward/accuracy", "policy/entropy", "mtp/acceptance_greedy"),
    *("mtp/coefficient", "mtp/c_hat", "mtp/v2_hat", "time/step_seconds"),
)
PARTS = ("rollout", "grading", "log_probs", "acceptance", "update")
"""Of a step's time."""

Tell = Callable[[str], None]
"""Says what is being done."""


@dataclass(frozen=True)
class Gathered:
    """What is known of an experiment at one time."""

    experiment: str
    at: float
    groups: Sequence[Method]
    """All trainings by method, also those of which none has begun."""
    jobs: Sequence[RunDetail]
    """Evaluations that are runs of their own."""
    boards: Sequence[Board]
    evaluations: Sequence[EvaluationRow]
    """The last one of each run and benchmark."""
    width: int
    """Steps that a point of a mean is over."""
    means: Means
    evaluation_width: int
    evaluation_means: Means
    """Of `eval/` metrics."""
    lines: Mapping[tuple[int, str], Series]
    latest: Mapping[int, Mapping[str, Point]]
    """By run and metric."""
    alarms: Mapping[int, Sequence[AlarmRow]]
    alarms_on: Mapping[int, Sequence[AlarmRow]]
    audits: Mapping[tuple[int, int], Audits]
    """By run and depth."""
    audits_made: Mapping[int, int]
    attempts: Mapping[int, Attempt | None]
    """By run, what its first attempt said of itself; None where the run folder or its event file is gone."""
    build: Build
    left_out: int
    """Runs of the experiment beyond `MOST_RUNS`."""
    archived: int
    """Archived runs of the experiment that do not count."""

    @property
    def methods(self) -> list[Method]:
        """Those of which a run has begun."""
        return [group for group in self.groups if any(map(has_begun, group.runs))]

    @property
    def runs(self) -> list[RunDetail]:
        """All trainings, method by method."""
        return [run for group in self.groups for run in group.runs]

    @property
    def averaged(self) -> set[int]:
        """Those that means are over."""
        return {run.id for method in self.methods for run in method.averaged}

    @property
    def metrics(self) -> set[str]:
        """Names of the metrics that any training has."""
        return {name for values in self.latest.values() for name in values}


def gather(connection: Connection, experiment: str, now: float, tell: Tell, *, archived: bool = False) -> Gathered:
    """Read everything; of archived runs only with `archived`.

    Raises:
        StoreError: there is no such experiment.
    """
    known = {row.name: row for row in reads.experiments(connection)}
    if experiment not in known:
        others = ", ".join(list(known)[:10]) or "there is none yet"
        raise StoreError(f"experiment {experiment!r} does not exist; those that do: {others}")
    tell("runs")
    put_away = 0 if archived else reads.count_runs(connection, experiment=experiment, archived=True)
    which = None if archived else False
    rows = [
        row
        for kind in (Kind.TRAINING, Kind.EVALUATION)
        for row in reads.list_runs(connection, experiment=experiment, kind=kind, archived=which, limit=MOST_RUNS)
    ]
    details = [reads.get_run(connection, row.id) for row in rows]
    trainings = [run for run in details if run.kind == Kind.TRAINING]
    ids = [run.id for run in trainings]
    latest = {run_id: reads.latest(connection, run_id) for run_id in ids}
    names = {name for values in latest.values() for name in values}
    evaluated = sorted(name for name in names if name.startswith("eval/"))
    wanted = [*METRICS, *_deeper(names), *(f"time/{part}_seconds" for part in PARTS)]
    width, evaluation_width = _widths(trainings)
    tell(f"metrics of {len(ids)} runs")
    means = reads.stretch_means(connection, ids, wanted, width=width)
    evaluation_means = reads.stretch_means(connection, ids, evaluated, width=evaluation_width)
    lines = reads.series(connection, ids, [*METRICS, *evaluated], max_points=MOST_POINTS)
    tell("leaderboard")
    boards = leaderboard(connection, experiment, archived=archived)
    tell("alarms and audits")
    audits, made = _audits(connection, latest)
    return Gathered(
        experiment=experiment,
        at=now,
        groups=methods_of(trainings),
        jobs=sorted((run for run in details if run.kind == Kind.EVALUATION), key=lambda run: run.id),
        boards=boards,
        evaluations=reads.evaluations(connection, [row.id for row in rows], last_only=True),
        width=width,
        means=means,
        evaluation_width=evaluation_width,
        evaluation_means=evaluation_means,
        lines=lines,
        latest=latest,
        alarms=reads.alarms_raised(connection, ids),
        alarms_on=reads.alarms_on(connection, ids, at_end=True),
        audits=audits,
        audits_made=made,
        attempts={run.id: first_attempt(run.folder) for run in trainings if run.attempts},
        build=build_of(),
        left_out=max(known[experiment].runs - put_away - len(rows), 0),
        archived=put_away,
    )


def depths(names: set[str]) -> list[int]:
    """The MTP depths that metrics tell of: 1, and those of `mtp/depth_k/`."""
    return [1, *sorted({int(name.split("/")[1].removeprefix("depth_")) for name in names if "mtp/depth_" in name})]


def at_depth(metric: str, depth: int) -> str:
    """The name of a metric of `mtp/` at a depth."""
    return metric if depth == 1 else metric.replace("mtp/", f"mtp/depth_{depth}/")


def _deeper(names: set[str]) -> list[str]:
    return [at_depth(name, depth) for depth in depths(names)[1:] for name in METRICS if name.startswith("mtp/")]


def _widths(runs: Sequence[RunDetail]) -> tuple[int, int]:
    """Steps that a point is over: of metrics of every step, and of evaluations."""
    last = max((run.step for run in runs), default=0)
    every = Counter(run.config.get("evaluation", {}).get("every", 1) for run in runs)
    usual = every.most_common(1)[0][0] if every else 1
    return max(-(-last // MOST_STRETCHES), 1), usual * max(-(-last // (usual * MOST_STRETCHES)), 1)


def _audits(
    connection: Connection, latest: Mapping[int, Mapping[str, Point]]
) -> tuple[dict[tuple[int, int], Audits], dict[int, int]]:
    found, made = {}, {}
    for run_id, metrics in latest.items():
        names = auditing.metrics_of(metrics)
        if ANCHOR not in names:
            continue
        aligned = reads.aligned(connection, run_id, names, anchor=ANCHOR, max_places=MOST_AUDITS)
        made[run_id] = aligned.total
        for depth in auditing.depths(names):
            found[run_id, depth] = auditing.of_depth(aligned, depth)
    return found, made
