"""The tables. One definition for SQLite and PostgreSQL; times are seconds since the epoch (UTC) as floats.

Metric values that are not finite are stored as NULL with a code beside them, because SQLite turns a bound NaN into NULL:
0 finite, 1 NaN, 2 Infinity, 3 -Infinity. Metric names are interned, because a row of the metrics table is written for every
value of every step: its key is (run, metric, step, mini_batch), mini_batch -1 for values of a whole step.

`metrics` and `metric_extremes`, the tables with a row per value, have no foreign keys: a database checks them row by row, which halves
what it can take in. Only `db.ingest` writes there, for a run that it has looked up and metrics that it has named; whoever deletes a
run deletes there, too.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _run_id() -> Column:
    return Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


experiments = Table(
    "experiments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(120), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment_id", Integer, ForeignKey("experiments.id"), nullable=False, index=True),
    # training, or evaluation: an evaluation's steps are the problems that it has answered.
    Column("kind", String(20), nullable=False, server_default="training"),
    # Of an evaluation: the run whose policy it evaluates and after which step; none for a model that no run made.
    Column("evaluates", Integer, index=True),
    Column("evaluates_step", Integer),
    Column("name", String(120), nullable=False),
    Column("config", JSON, nullable=False),
    # Copied out of the configuration, so that lists and boards need not open it.
    Column("regime", String(40), nullable=False),
    Column("algorithm", String(40), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("total_steps", Integer, nullable=False),
    Column("preset", String(80)),
    Column("folder", Text, nullable=False),
    # queued, starting, running, stopping, finished, failed, stopped; `reason` says why in words.
    Column("status", String(20), nullable=False, index=True),
    Column("reason", Text, nullable=False, default=""),
    Column("stop_requested", Boolean, nullable=False, default=False),
    # What it asks of the queue: devices, its rank (higher first, then the older `queued_at`), and how often it may be queued
    # again by itself; `retried` counts how often it was, since the user queued it last.
    Column("devices", Integer, nullable=False, server_default="1"),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("queued_at", Float, nullable=False, server_default="0"),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("retried", Integer, nullable=False, server_default="0"),
    # The run that it was made from, and in which settings it differs: [[field, there, here], ...].
    Column("cloned_from", Integer),
    Column("difference", JSON(none_as_null=True)),
    # The last attempt, the last step whose values are complete, and what the trainer is doing now.
    Column("attempt", Integer, nullable=False, default=0),
    Column("step", Integer, nullable=False, default=0),
    Column("stage", String(40), nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    # What users say about it, and since when it is left out of lists that do not ask for it.
    Column("note", Text, nullable=False, server_default=text("''")),
    Column("archived_at", Float, index=True),
    sqlite_autoincrement=True,  # the id of a deleted run is not given away again; folders and messages carry it
)

run_tags = Table(
    "run_tags",
    metadata,
    _run_id(),
    Column("tag", String(40), primary_key=True, index=True),
)

attempts = Table(
    "attempts",
    metadata,
    _run_id(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    # A process is known by host, id and start time: ids are used again.
    Column("host", String(200), nullable=False),
    Column("devices", JSON),
    # Why there is this attempt, in words; none for the first one.
    Column("cause", Text),
    Column("supervisor_pid", Integer),
    Column("supervisor_started", Float),
    Column("trainer_pid", Integer),
    Column("trainer_started", Float),
    Column("heartbeat_at", Float, nullable=False),
    # Bytes of events.jsonl that are in the store, committed together with their rows; and lines that could not be read.
    Column("offset", BigInteger, nullable=False, default=0),
    Column("torn_lines", Integer, nullable=False, default=0),
    Column("resumed_from", Integer),
    Column("superseded_rows", Integer, nullable=False, default=0),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("exit_code", Integer),
    # finished, failed, stopped, or lost: ended by an accident that was not the run's own.
    Column("outcome", String(20)),
    Column("message", Text, nullable=False, default=""),
    Index(None, "host", "started_at"),
)

metric_names = Table(
    "metric_names",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
)


def _value_columns() -> list[Column]:
    return [
        Column("attempt", SmallInteger, nullable=False),
        Column("value", Float),
        Column("code", SmallInteger, nullable=False, default=0),
        Column("time", Float, nullable=False),
    ]


def _of_metric() -> list[Column]:
    return [Column(name, Integer, primary_key=True, autoincrement=False) for name in ("run_id", "metric_id")]


metrics = Table(
    "metrics",
    metadata,
    *_of_metric(),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("mini_batch", SmallInteger, primary_key=True, autoincrement=False),
    *_value_columns(),
    sqlite_with_rowid=False,
)

# What a chart of a long series is made of: see db.extremes.
metric_extremes = Table(
    "metric_extremes",
    metadata,
    *_of_metric(),
    # 1 for the values of mini-batches, 0 for those of whole steps.
    Column("fine", SmallInteger, primary_key=True, autoincrement=False),
    # Steps by the 32: 0 stands for the steps 0 to 31, 1 for 32 to 63, ...
    Column("stretch", Integer, primary_key=True, autoincrement=False),
    # The smallest and the largest finite value, and the places where they are first met; the first place without a finite value.
    # Of the values that can be added up: how many there are, the sum of their steps, and their own sum.
    Column("lowest", Float),
    Column("lowest_at", BigInteger),
    Column("highest", Float),
    Column("highest_at", BigInteger),
    Column("odd_at", BigInteger),
    Column("summed", Integer, nullable=False, server_default="0"),
    Column("step_sum", BigInteger, nullable=False, server_default="0"),
    Column("value_sum", Float, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

latest_metrics = Table(
    "latest_metrics",
    metadata,
    _run_id(),
    Column("metric_id", Integer, ForeignKey("metric_names.id"), primary_key=True),
    Column("step", Integer, nullable=False),
    Column("mini_batch", SmallInteger, nullable=False),
    *_value_columns(),
    sqlite_with_rowid=False,
)

completions = Table(
    "completions",
    metadata,
    _run_id(),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("prompt_id", String(200), primary_key=True),
    Column("sample", Integer, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("problem", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("completion", Text, nullable=False),
    Column("reward", Float),
    Column("advantage", Float),
    Column("correct", Boolean, nullable=False),
    Column("extracted", Text),
    Column("reason", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("truncated", Boolean, nullable=False),
    # See db.tokens; none where an older trainer did not say.
    Column("by_token", LargeBinary),
    Index(None, "run_id", "prompt_id", "step"),
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("benchmark", String(80), nullable=False),
    Column("step", Integer, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("temperature", Float, nullable=False),
    Column("top_p", Float, nullable=False),
    Column("time", Float, nullable=False),
    # Longest response in tokens, content hash of the problems, version of the grader: none where an older version did not say.
    Column("max_tokens", Integer),
    Column("revision", String(40)),
    Column("grader", String(40)),
    # What sampled; of how many most likely tokens, 0: of all; a list of texts that end a response.
    Column("engine", String(40), nullable=False, server_default="builtin"),
    Column("top_k", Integer, nullable=False, server_default="0"),
    Column("stop", JSON, nullable=False, server_default="[]"),
    UniqueConstraint("run_id", "benchmark", "step"),
)

evaluation_items = Table(
    "evaluation_items",
    metadata,
    Column("evaluation_id", Integer, ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("item_id", String(200), primary_key=True),
    # One character per sample, "1" right and "0" wrong, in the order they were drawn.
    Column("outcomes", Text, nullable=False),
    # None where the samples' texts were not kept.
    Column("problem", Text),
    Column("answer", Text),
    sqlite_with_rowid=False,
)

evaluation_samples = Table(
    "evaluation_samples",
    metadata,
    Column("evaluation_id", Integer, ForeignKey("evaluations.id", ondelete="CASCADE"), primary_key=True),
    Column("item_id", String(200), primary_key=True),
    Column("sample", Integer, primary_key=True, autoincrement=False),
    Column("completion", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("correct", Boolean, nullable=False),
    Column("extracted", Text),
    Column("reason", Text, nullable=False),
)

# What the leaderboard showed at one time. Rows are written once and never changed: the token is made from what they hold.
snapshots = Table(
    "snapshots",
    metadata,
    Column("token", String(40), primary_key=True),
    Column("title", String(200), nullable=False),
    Column("created_at", Float, nullable=False, index=True),
    # JSON, as text: a column of type JSON may come back with other bytes.
    Column("content", Text, nullable=False),
)

# Names for models and data sets; `content` is what a name stands for in a configuration.
registered = Table(
    "registered",
    metadata,
    Column("kind", String(20), primary_key=True),
    Column("name", String(80), primary_key=True),
    Column("content", JSON, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_by", String(200), nullable=False),
    Column("created_at", Float, nullable=False),
)

run_events = Table(
    "run_events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    Column("step", Integer, nullable=False),
    Column("time", Float, nullable=False),
    # attempt_started, checkpoint, alarm, ended from the trainer; submitted, claimed, stop_requested, lost, ... from the backend.
    Column("type", String(40), nullable=False),
    Column("severity", String(20), nullable=False, default="info"),
    Column("message", Text, nullable=False),
    Index(None, "run_id", "id"),
    sqlite_autoincrement=True,  # readers poll from the last id they saw
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("devices", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("ended_at", Float),
    # It takes no new run, and goes on with those it has.
    Column("draining", Boolean, nullable=False, server_default=false()),
    # What its host has and how much of it is taken, as the last heartbeat said: see db.workers.Load. None where a worker does not say.
    Column("load", JSON(none_as_null=True)),
)

leases = Table(
    "leases",
    metadata,
    # A device is `cpu:0`, `cuda:3`, ...; whoever holds the row holds the device.
    Column("host", String(200), primary_key=True),
    Column("device", String(40), primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("taken_at", Float, nullable=False),
)

# What users want to be told of: see db.alerts.
alert_rules = Table(
    "alert_rules",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(80), nullable=False, unique=True),
    Column("metric", String(200), nullable=False),
    Column("comparison", String(20), nullable=False),
    Column("threshold", Float),
    Column("steps", Integer, nullable=False),
    # Of which runs: all, where neither is given.
    Column("experiment", String(120)),
    Column("tag", String(40)),
    Column("active", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
)

alert_states = Table(
    "alert_states",
    metadata,
    Column("rule_id", Integer, ForeignKey("alert_rules.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", Integer, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("metric_id", Integer, ForeignKey("metric_names.id"), primary_key=True),
    Column("began", Integer, nullable=False),
    Column("on", Boolean, nullable=False),
    Column("said_at", Integer),
    Column("against", Integer, nullable=False),
)
