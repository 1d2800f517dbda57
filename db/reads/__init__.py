"""What the pages and the command line read: every look is bounded, and what comes back is plain frozen data.

Every function works in the caller's transaction, opened with `db.engine.reading`.
"""

from db.reads.activity import HostRun, LeaseRow, RunEvent, WorkerRow, last_on_hosts, leases, run_events, workers
from db.reads.alarms import AlarmRow, alarms_on, alarms_raised
from db.reads.charts import Aligned, Series, aligned, series
from db.reads.clock import Reached, device_seconds
from db.reads.evaluations import (
    EvaluatedItem,
    EvaluationRow,
    SampleRow,
    evaluated_item,
    evaluations,
    extracted_answers,
)
from db.reads.means import StretchMean, long_means, stretch_means
from db.reads.metrics import Average, ExportRow, Point, export_rows, latest, metric_list, mini_batch_mean
from db.reads.paces import Earlier, earlier_trainings, newest_values
from db.reads.runs import (
    RECENT_STEPS,
    AttemptRow,
    ExperimentRow,
    RunDetail,
    RunFilters,
    RunRow,
    count_runs,
    experiments,
    find_run,
    finished_mark,
    get_run,
    list_runs,
    matching_runs,
    status_counts,
    tags,
)
from db.reads.samples import (
    CompletionRow,
    SamePrompt,
    completion_steps,
    completions_at,
    runs_of_prompt,
    steps_of_prompts,
    tokens_at,
)

__all__ = [
    "RECENT_STEPS",
    "AlarmRow",
    "Aligned",
    "AttemptRow",
    "Average",
    "CompletionRow",
    "Earlier",
    "EvaluatedItem",
    "EvaluationRow",
    "ExperimentRow",
    "ExportRow",
    "HostRun",
    "LeaseRow",
    "Point",
    "Reached",
    "RunDetail",
    "RunEvent",
    "RunFilters",
    "RunRow",
    "SamePrompt",
    "SampleRow",
    "Series",
    "StretchMean",
    "WorkerRow",
    "alarms_on",
    "alarms_raised",
    "aligned",
    "completion_steps",
    "completions_at",
    "count_runs",
    "device_seconds",
    "earlier_trainings",
    "evaluated_item",
    "evaluations",
    "experiments",
    "export_rows",
    "extracted_answers",
    "find_run",
    "finished_mark",
    "get_run",
    "last_on_hosts",
    "latest",
    "leases",
    "list_runs",
    "long_means",
    "matching_runs",
    "metric_list",
    "mini_batch_mean",
    "newest_values",
    "run_events",
    "runs_of_prompt",
    "series",
    "status_counts",
    "steps_of_prompts",
    "stretch_means",
    "tags",
    "tokens_at",
    "workers",
]
