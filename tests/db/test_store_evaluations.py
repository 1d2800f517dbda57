"""Evaluations that grow item by item, with what was sampled, and those that are runs of their own."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from store_helpers import Reader, claim, event, metrics, started, submit

from db import reads, tables
from db.engine import reading, writing
from db.statuses import Kind

TERMS = {
    "benchmark": "aime24",
    "samples": 2,
    "temperature": 1.0,
    "top_p": 0.7,
    "max_tokens": 64,
    "revision": "abc",
    "grader": "1",
    "adds": True,
}
SAMPLES = [
    {"completion": "Answer: 4", "tokens": 3, "truncated": False, "extracted": "4", "reason": "equal to 4"},
    {"completion": "hm", "tokens": 64, "truncated": True, "extracted": None, "reason": "no answer found"},
]


def said(*ids: str, details: bool = True, **terms) -> dict:
    more = {"problem": "2+2?", "answer": "4", "samples": SAMPLES} if details else {}
    return event(
        "evaluation", 0, **{**TERMS, **terms}, items=[{"id": name, "outcomes": [1, 0], **more} for name in ids]
    )


@pytest.fixture
def evaluation(store) -> int:
    """An evaluation, claimed, of the run that is submitted first."""
    with writing(store) as connection:
        subject = submit(connection)
        connection.execute(tables.runs.update().values(status="finished"))
        job = submit(
            connection, "six", kind=Kind.EVALUATION, evaluates=subject, evaluates_step=120, total_steps=3, now=5.0
        )
        assert claim(connection).run_id == job
    return job


def _only(store, run: int) -> reads.EvaluationRow:
    with reading(store) as connection:
        (row,) = reads.evaluations(connection, [run])
    return row


def test_items_of_several_events_stand_side_by_side_whether_they_come_together_or_not(store, evaluation):
    reader = Reader(store, evaluation)
    reader.feed(started(), said("a"), metrics(1), said("b"), metrics(2))
    reader.feed(said("c"), metrics(3))
    row = _only(store, evaluation)
    assert row.items == {"a": "10", "b": "10", "c": "10"}
    assert (row.kind, row.subject, row.trained_steps) == (Kind.EVALUATION, 1, 120)
    assert (row.max_tokens, row.revision, row.grader) == (64, "abc", "1")
    with reading(store) as connection:
        item = reads.evaluated_item(connection, row.id, "b")
        assert reads.extracted_answers(connection, row.id) == {key: ["4", None] for key in "abc"}
        assert reads.get_run(connection, evaluation).step == 3
    assert item is not None
    assert (item.problem, item.answer) == ("2+2?", "4")
    assert [(sample.sample, sample.correct, sample.tokens, sample.truncated) for sample in item.samples] == [
        (0, True, 3, False),
        (1, False, 64, True),
    ]
    assert (item.samples[1].extracted, item.samples[1].reason) == (None, "no answer found")


def test_items_that_take_the_place_of_stored_ones_do_so_with_what_is_added_in_the_same_stretch(store, evaluation):
    reader = Reader(store, evaluation)
    reader.feed(started(), said("a"))
    reader.feed(said("b", adds=False), said("c"))
    assert set(_only(store, evaluation).items) == {"b", "c"}


def test_items_that_begin_anew_take_the_place_of_those_of_the_same_stretch(store, evaluation):
    Reader(store, evaluation).feed(started(), said("a"), said("b", adds=False), said("c"))
    row = _only(store, evaluation)
    assert set(row.items) == {"b", "c"}
    with reading(store) as connection:
        assert set(reads.extracted_answers(connection, row.id)) == {"b", "c"}


def test_an_evaluation_that_goes_on_keeps_what_it_has_and_one_that_begins_anew_does_not(store, evaluation):
    Reader(store, evaluation).feed(started(), said("a"), metrics(1))
    reader = Reader(store, evaluation, offset=_offset(store, evaluation))
    reader.feed(started(resumed_from=1), said("b"), metrics(2))
    assert set(_only(store, evaluation).items) == {"a", "b"}
    reader.feed(started(resumed_from=None), said("c"), metrics(1))
    assert set(_only(store, evaluation).items) == {"c"}
    with reading(store) as connection:
        assert len(connection.execute(select(tables.evaluation_samples)).all()) == 2


def test_what_sampled_is_kept_and_of_older_trainers_that_say_nothing_the_built_in_sampler(store, evaluation):
    reader = Reader(store, evaluation)
    reader.feed(started(), said("a"))
    row = _only(store, evaluation)
    assert (row.engine, row.top_k, row.stop) == ("builtin", 0, [])
    reader.feed(said("b", engine="vllm", top_k=20, stop=["\n\n", "###"]))
    row = _only(store, evaluation)
    assert (row.engine, row.top_k, row.stop) == ("vllm", 20, ["\n\n", "###"])


@pytest.mark.parametrize(
    "changed", [{"grader": "2"}, {"samples": 3}, {"top_p": 1.0}, {"top_k": 5}, {"stop": ["#"]}, {"engine": "vllm"}]
)
@pytest.mark.parametrize("at_once", [True, False])
def test_items_of_other_terms_are_never_mixed(store, evaluation, changed, at_once):
    reader = Reader(store, evaluation)
    if at_once:
        reader.feed(started(), said("a"), said("b", **changed))
    else:
        reader.feed(started(), said("a"))
        reader.feed(said("b", **changed))
    assert set(_only(store, evaluation).items) == {"b"}
    with reading(store) as connection:
        assert set(reads.extracted_answers(connection, _only(store, evaluation).id)) == {"b"}


def test_without_texts_there_is_nothing_to_look_at(store, evaluation):
    Reader(store, evaluation).feed(started(), said("a", details=False))
    with reading(store) as connection:
        assert reads.evaluated_item(connection, _only(store, evaluation).id, "a") is None
        assert reads.evaluated_item(connection, 99, "a") is None


def test_lists_tell_trainings_from_evaluations(store, evaluation):
    with reading(store) as connection:
        assert [row.id for row in reads.list_runs(connection, kind=Kind.TRAINING)] == [1]
        (row,) = reads.list_runs(connection, evaluates=1)
    assert (row.id, row.kind, row.evaluates, row.evaluates_step) == (evaluation, Kind.EVALUATION, 1, 120)


def _offset(store, run: int) -> int:
    with reading(store) as connection:
        return reads.get_run(connection, run).attempts[-1].offset
