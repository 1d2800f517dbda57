"""What the pages and the command line read: every look is bounded, and what comes back is plain frozen data.

Every function works in the caller's transaction, opened with `db.engine.reading`.
"""

from db.reads.activity import RunEvent, WorkerRow, run_events, workers
from db.reads.charts import Series, series
from db.reads.evaluations import EvaluationRow, evaluations
from db.reads.metrics import ExportRow, Point, export_rows, latest, metric_list, recent_mean
from db.reads.runs import (
    AttemptRow,
    ExperimentRow,
    RunDetail,
    RunRow,
    experiments,
    find_run,
    get_run,
    list_runs,
    queue_position,
    status_counts,
)
from db.reads.samples import CompletionRow, completion_steps, completions_at

__all__ = [
    "AttemptRow",
    "CompletionRow",
    "EvaluationRow",
    "ExperimentRow",
    "ExportRow",
    "Point",
    "RunDetail",
    "RunEvent",
    "RunRow",
    "Series",
    "WorkerRow",
    "completion_steps",
    "completions_at",
    "evaluations",
    "experiments",
    "export_rows",
    "find_run",
    "get_run",
    "latest",
    "list_runs",
    "metric_list",
    "queue_position",
    "recent_mean",
    "run_events",
    "series",
    "status_counts",
    "workers",
]
