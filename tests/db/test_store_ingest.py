from __future__ import annotations

import math

import pytest
from sqlalchemy import select
from store_helpers import Reader, claim, event, metrics, started

from db import claims, reads, tables
from db.engine import reading, writing
from db.ingest import ingest
from db.runs import request_stop
from db.statuses import Status
from trainer.config.schema import LONGEST_BENCHMARK_NAME
from trainer.errors import StoreError
from trainer.events import MemorySink, encode_number
from trainer.tasks import LONGEST_ID

ITEM = {
    "prompt_id": "p1",
    "sample": 0,
    "problem": "1+1",
    "answer": "2",
    "completion": "two: 2",
    "reward": 1.0,
    "advantage": 0.5,
    "correct": True,
    "extracted": "2",
    "reason": "",
    "tokens": 6,
    "truncated": False,
}
EVALUATION = {"benchmark": "addition", "samples": 4, "temperature": 1.0, "top_p": 0.7}
EVERY_TABLE = (
    tables.runs,
    tables.attempts,
    tables.metric_names,
    tables.metrics,
    tables.latest_metrics,
    tables.completions,
    tables.evaluations,
    tables.evaluation_items,
    tables.run_events,
)


def _everything(store) -> dict[str, list]:
    with reading(store) as connection:
        return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in EVERY_TABLE}


def _exported(store, run: int) -> list[tuple]:
    with reading(store) as connection:
        return [
            (row.metric, row.step, row.mini_batch, row.value, row.attempt) for row in reads.export_rows(connection, run)
        ]


def _detail(store, run: int) -> reads.RunDetail:
    with reading(store) as connection:
        return reads.get_run(connection, run)


def _latest(store, run: int) -> dict[str, tuple]:
    with reading(store) as connection:
        return {
            name: (point.step, point.mini_batch, point.value) for name, point in reads.latest(connection, run).items()
        }


def _resume(store, run: int) -> Reader:
    """Attempt 2, claimed after attempt 1 died, reading on where the store has stopped."""
    with writing(store) as connection:
        claims.requeue(connection, run, 50.0, "its worker died", attempt=1)
        claim(connection)
        offset = reads.get_run(connection, run).attempts[-1].offset
    return Reader(store, run, attempt=2, offset=offset)


def test_what_a_sink_emits_is_in_the_store(store, run, reader):
    sink = MemorySink()
    sink.emit(
        "attempt_started",
        step=0,
        pid=7,
        host="alpha",
        total_steps=120,
        resumed_from=None,
        threads=2,
        device="cpu",
        versions={},
    )
    sink.emit("stage", step=1, stage="rollout")
    for mini_batch, value in enumerate((0.5, 1.5)):
        sink.emit("metrics", step=1, mini_batch=mini_batch, values={"mtp/coefficient": value})
    sink.emit("metrics", step=1, values={"mtp/coefficient": 1.0, "reward/mean": -0.25})
    sink.emit("completions", step=1, items=[ITEM])
    sink.emit(
        "evaluation",
        step=1,
        **EVALUATION,
        items=[{"id": "q1", "outcomes": [1, 0, 0, 1]}, {"id": "q2", "outcomes": [0, 0, 0, 0]}],
    )
    sink.emit("checkpoint", step=1, path="checkpoints/step-000001")
    sink.emit("alarm", step=1, severity="warning", name="slow", message="a step took 9 s")
    sink.emit("ended", step=1, outcome="finished", message="")

    result = reader.feed(*sink.events)

    assert (result.malformed, result.ended) == (0, ("finished", ""))
    assert _exported(store, run) == [
        ("mtp/coefficient", 1, -1, 1.0, 1),
        ("mtp/coefficient", 1, 0, 0.5, 1),
        ("mtp/coefficient", 1, 1, 1.5, 1),
        ("reward/mean", 1, -1, -0.25, 1),
    ]
    detail = _detail(store, run)
    assert (detail.status, detail.step, detail.stage) == (Status.RUNNING, 1, "rollout")
    assert (detail.latest, detail.coefficient) == ({"reward/mean": -0.25}, 1.0)
    with reading(store) as connection:
        (completion,) = reads.completions_at(connection, run, 1)
        (evaluation,) = reads.evaluations(connection, [run])
        history = [(line.type, line.severity, line.message) for line in reads.run_events(connection, run)][2:]
    assert {name: getattr(completion, name) for name in completion.__dataclass_fields__} == {**ITEM, "attempt": 1}
    assert evaluation.items == {"q1": "1001", "q2": "0000"}
    assert history == [
        ("attempt_started", "info", "started on alpha (process 7)"),
        ("checkpoint", "info", "saved checkpoints/step-000001"),
        ("alarm", "warning", "slow: a step took 9 s"),
        ("ended", "info", "finished"),
    ]


def test_the_same_bytes_handed_in_again_change_nothing(store, reader):
    events = [
        started(),
        metrics(1, loss=2.0),
        event("checkpoint", 1, path="c"),
        event("evaluation", 1, **EVALUATION, items=[]),
        {},
    ]
    reader.feed(*events, torn_lines=1)
    before = _everything(store)
    again = reader.feed_at(0, reader.offset, *events, torn_lines=1)
    overlapping = reader.feed_at(0, reader.offset + 20, *events, metrics(2, loss=1.0))
    ahead = reader.feed_at(reader.offset + 1, reader.offset + 20, metrics(2, loss=1.0))
    assert [(result.applied, result.offset) for result in (again, overlapping, ahead)] == [(False, reader.offset)] * 3
    assert _everything(store) == before


def test_rows_and_offset_are_committed_together_or_not_at_all(store, run, reader):
    before = _everything(store)
    with store.connect().execution_options(writes=True) as connection, connection.begin() as transaction:
        assert ingest(
            connection, run, [started(), metrics(1, loss=1.0)], attempt=1, start=0, offset=50, torn_lines=0
        ).applied
        transaction.rollback()
    assert _everything(store) == before
    reader.feed(started(), metrics(1, loss=1.0))
    assert _latest(store, run) == {"loss": (1, -1, 1.0)}


def test_a_superseded_attempt_stores_nothing(store, run, reader):
    reader.feed(started(), metrics(1, loss=1.0))
    _resume(store, run)
    before = _everything(store)
    assert not reader.feed_at(reader.offset, reader.offset + 9, metrics(2, loss=9.0)).applied
    assert _everything(store) == before


def test_an_unknown_attempt_is_refused_in_words(store, run):
    with pytest.raises(StoreError, match=f"run {run} has no attempt 5"):
        Reader(store, run, attempt=5).feed(metrics(1, loss=1.0))


@pytest.mark.parametrize("level", [-1, 0])
def test_values_that_are_not_finite_come_back_as_they_were(store, run, reader, level):
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1e308, "e": 5e-324, "f": 0.1}
    reader.feed(started(), metrics(1, level, **{name: encode_number(value) for name, value in values.items()}))
    with reading(store) as connection:
        series = reads.series(connection, [run], list(values), level="step" if level == -1 else "mini_batch")
        latest = {name: point.value for name, point in reads.latest(connection, run).items()}
        exported = {row.metric: row.value for row in reads.export_rows(connection, run)}
    charted = {name: points.values[0] for (_, name), points in series.items()}
    for stored in (charted, latest, exported):
        assert repr(stored) == repr(values)


def test_the_latest_value_is_the_newest_whatever_the_order_of_the_file(store, run, reader):
    reader.feed(started(), metrics(3, 0, loss=30.0), metrics(3, 1, loss=31.0))
    assert _latest(store, run) == {"loss": (3, 1, 31.0)}
    reader.feed(metrics(2, loss=2.0))
    assert _latest(store, run) == {"loss": (3, 1, 31.0)}
    reader.feed(metrics(3, loss=3.0), metrics(3, 2, loss=32.0))
    assert _latest(store, run) == {"loss": (3, -1, 3.0)}
    reader.feed(metrics(3, 3, loss=33.0))
    assert _latest(store, run) == {"loss": (3, -1, 3.0)}
    reader.feed(metrics(4, 0, loss=40.0))
    assert _latest(store, run) == {"loss": (4, 0, 40.0)}


def test_the_step_of_a_run_moves_only_when_the_step_is_complete(store, run, reader):
    reader.feed(started(), metrics(1, loss=1.0))
    reader.feed(metrics(2, 0, loss=1.0), event("stage", 2, stage="update"))
    assert (_detail(store, run).step, _detail(store, run).stage) == (1, "update")
    reader.feed(metrics(2, loss=1.0))
    assert _detail(store, run).step == 2


def test_a_run_is_running_from_the_first_event_of_its_own_attempt(store, run, reader):
    reader.feed()
    assert _detail(store, run).status is Status.STARTING
    reader.feed(started())
    assert (_detail(store, run).status, _detail(store, run).started_at) == (Status.RUNNING, 100.0)
    second = _resume(store, run)
    second.feed(metrics(1, loss=1.0), event("ended", 1, outcome="failed", message="killed"))
    assert _detail(store, run).status is Status.STARTING
    second.feed(started(attempt=2))
    assert (_detail(store, run).status, _detail(store, run).started_at) == (Status.RUNNING, 100.0)


def test_a_run_that_is_stopping_does_not_become_running_again(store, run, reader):
    with writing(store) as connection:
        request_stop(connection, run, now=3.0)
    reader.feed(started(), metrics(1, loss=1.0))
    assert _detail(store, run).status is Status.STOPPING


def test_a_resume_replaces_what_was_said_of_later_steps(store, run, reader):
    def step(number: int, attempt: int) -> list[dict]:
        items = [{**ITEM, "completion": f"attempt {attempt}"}]
        return [
            metrics(number, 0, attempt, loss=number + 0.5),
            metrics(number, -1, attempt, loss=number * attempt),
            event("completions", number, attempt=attempt, items=items),
            event("evaluation", number, attempt=attempt, **EVALUATION, items=[{"id": "q", "outcomes": [attempt - 1]}]),
        ]

    reader.feed(started(), metrics(4, only_before=1.0), *(each for number in range(1, 5) for each in step(number, 1)))
    second = _resume(store, run)
    result = second.feed(started(2, resumed_from=2))

    assert result.superseded == 2 * 2 + 1 + 2 + 2
    assert _latest(store, run) == {"loss": (2, -1, 2.0)}
    assert _detail(store, run).step == 2
    second.feed(*step(3, 2))
    assert [row for row in _exported(store, run) if row[2] == -1] == [
        ("loss", 1, -1, 1.0, 1),
        ("loss", 2, -1, 2.0, 1),
        ("loss", 3, -1, 6.0, 2),
    ]
    attempt = _detail(store, run).attempts[1]
    assert (attempt.resumed_from, attempt.superseded_rows) == (2, 9)
    with reading(store) as connection:
        assert reads.completion_steps(connection, run) == [1, 2, 3]
        assert reads.completions_at(connection, run, 3)[0].completion == "attempt 2"
        assert [(each.step, each.items["q"]) for each in reads.evaluations(connection, [run])] == [
            (1, "0"),
            (2, "0"),
            (3, "1"),
        ]
        assert len(connection.execute(select(tables.evaluation_items)).all()) == 3


def test_a_resume_in_the_middle_of_a_stretch_voids_only_what_stands_before_it(store, run, reader):
    reader.feed(started(), metrics(1, loss=1.0), metrics(2, loss=2.0))
    second = _resume(store, run)
    assert second.feed(metrics(3, loss=3.0), started(2, resumed_from=1)).superseded == 2
    assert (_detail(store, run).step, _latest(store, run)) == (1, {"loss": (1, -1, 1.0)})
    assert second.feed(metrics(2, attempt=2, loss=22.0)).superseded == 0
    assert _exported(store, run) == [("loss", 1, -1, 1.0, 1), ("loss", 2, -1, 22.0, 2)]
    assert (_detail(store, run).step, _latest(store, run)) == (2, {"loss": (2, -1, 22.0)})


def test_an_attempt_that_begins_from_nothing_voids_everything(store, run, reader):
    reader.feed(started(), metrics(0, eval=0.4), metrics(1, loss=1.0))
    result = _resume(store, run).feed(started(2, resumed_from=None))
    assert (result.superseded, _exported(store, run), _latest(store, run), _detail(store, run).step) == (2, [], {}, 0)


def test_an_evaluation_stored_again_replaces_its_items(store, run, reader):
    for items in ([{"id": "a", "outcomes": [1]}, {"id": "b", "outcomes": [1]}], [{"id": "b", "outcomes": [0]}]):
        reader.feed(started(), event("evaluation", 5, **EVALUATION, items=items))
    with reading(store) as connection:
        assert [each.items for each in reads.evaluations(connection, [run])] == [{"b": "0"}]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"type": "metrics"},
        {**metrics(1), "type": ["metrics"]},
        metrics(1, loss="three"),
        metrics(1, loss=None),
        metrics(1, loss=True),
        metrics(1, loss=10**400),
        metrics(1, **{"x" * 201: 1.0}),
        {**metrics(1), "values": [1.0]},
        {**metrics(1, loss=1.0), "step": "1"},
        {**metrics(1, loss=1.0), "step": 2**31},
        {**metrics(1, loss=1.0), "step": -1},
        {**metrics(1, loss=1.0), "step": True},
        {**metrics(1, loss=1.0), "mini_batch": -2},
        {**metrics(1, loss=1.0), "time": "NaN"},
        {**metrics(1, loss=1.0), "attempt": None},
        event("completions", 1, items=[ITEM, {**ITEM, "sample": "0"}]),
        event("completions", 1, items=None),
        event("evaluation", 1, **EVALUATION, items=[{"id": "q", "outcomes": [2]}]),
        event("evaluation", 1, **{**EVALUATION, "temperature": "NaN"}, items=[]),
        event("stage", 1, stage=3),
        event("dance", 1),
    ],
)
def test_a_malformed_event_is_counted_and_the_others_are_stored(store, run, reader, bad):
    result = reader.feed(started(), metrics(1, good=1.0), bad, metrics(2, good=2.0), torn_lines=2)
    assert result.malformed == 1
    assert _detail(store, run).attempts[0].torn_lines == 3
    assert _exported(store, run) == [("good", 1, -1, 1.0, 1), ("good", 2, -1, 2.0, 1)]
    with reading(store) as connection:
        assert reads.completion_steps(connection, run) == []
        assert reads.evaluations(connection, [run]) == []


def test_the_longest_ids_and_benchmark_names_that_a_run_may_have_are_stored(store, run, reader):
    item, benchmark = "x" * LONGEST_ID, "b" * LONGEST_BENCHMARK_NAME
    result = reader.feed(
        started(),
        event("completions", 1, items=[{**ITEM, "prompt_id": item}]),
        event("evaluation", 1, **{**EVALUATION, "benchmark": benchmark}, items=[{"id": item, "outcomes": [1]}]),
    )
    assert result.malformed == 0
    with reading(store) as connection:
        assert [row.prompt_id for row in reads.completions_at(connection, run, 1)] == [item]
        assert [row.benchmark for row in reads.evaluations(connection, [run])] == [benchmark]


def test_text_that_a_database_cannot_hold_is_stored_with_replacements(store, run, reader):
    reader.feed(started(), event("completions", 1, items=[{**ITEM, "completion": "a\0b\ud800c", "reward": "NaN"}]))
    with reading(store) as connection:
        (row,) = reads.completions_at(connection, run, 1)
    assert (row.completion, row.reward) == ("a\ufffdb?c", None)
