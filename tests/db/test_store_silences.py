"""Alerts on values that do not come: begun and ended by the clock, while somebody looks after the run."""

from __future__ import annotations

import pytest
from store_helpers import Reader, metrics, started

from db import alerts, reads, silences
from db.engine import reading, writing
from db.rules import Rule
from trainer.errors import StoreError

BEGAN = 2.0
"""When the claim of the fixtures was made; a step's values are of 100 seconds and as many as its number."""


@pytest.fixture
def add(store):
    def added(metric: str = "*", minutes: float = 10, **fields) -> None:
        with writing(store) as connection:
            alerts.add(connection, Rule("stalled", metric, "silent", minutes, **fields), 1.0)

    return added


@pytest.fixture
def look(store, run):
    def looked(now: float, attempt: int = 1) -> list[tuple[str, str, int]]:
        with writing(store) as connection:
            silences.look(connection, run, attempt, now)
        with reading(store) as connection:
            found = reads.alarms_raised(connection, [run]).get(run, ())
        return [(row.severity, row.message, row.step) for row in found]

    return looked


def test_a_run_without_any_step_is_silent_from_when_it_began(run, add, look):
    add()
    assert look(BEGAN + 600) == []
    said = [("warning", "no value for more than 10 minutes: the attempt began at 1970-01-01 00:00:02 UTC", 0)]
    assert look(BEGAN + 601) == said
    assert look(BEGAN + 900) == said, "once"


def test_a_value_ends_it_and_silence_begins_it_again(store, run, reader, add, look):
    add()
    reader.feed(started(), metrics(1, reward__mean=0.5))
    [first] = look(101 + 601)
    assert first == ("warning", "no value for more than 10 minutes: the newest one came at 1970-01-01 00:01:41 UTC", 1)
    with reading(store) as connection:
        [alarm] = reads.alarms_on(connection, [run])[run]
        assert alarm.name == "rule/stalled/*"
        [spoken] = alerts.spoken(connection, 5)[1].values()
        assert [(one.run_id, one.metric, one.said_at) for one in spoken] == [(run, "*", 1)]
        assert alerts.known_metrics(connection) == ["reward/mean"], "a pattern is no metric"
    reader.feed(metrics(2, reward__mean=0.5))
    assert look(102 + 600)[1:] == [("info", "over: a value has come", 2)]
    with reading(store) as connection:
        assert reads.alarms_on(connection, [run]) == {}
    assert len(look(102 + 601)) == 3


def test_only_values_that_the_metric_matches_count(reader, add, look):
    add("eval/*")
    reader.feed(started(), metrics(1, eval__sums__accuracy=0.5, reward__mean=0.5))
    reader.feed(metrics(600, reward__mean=0.5))
    assert look(101 + 600) == []
    assert [severity for severity, *_ in look(101 + 601)] == ["warning"]


def test_what_was_said_of_a_step_that_is_trained_again_is_void(store, run, reader, add, look):
    add()
    reader.feed(started(), metrics(1, m=0.5), metrics(2, m=0.5))
    assert len(look(102 + 601)) == 1
    Reader(store, run, offset=reader.offset).feed({**started(1, resumed_from=1), "step": 1})
    assert look(103) == []
    assert [step for *_, step in look(101 + 601)] == [1]


def test_a_switched_off_rule_is_over_and_silent(store, run, add, look):
    add()
    look(BEGAN + 601)
    with writing(store) as connection:
        alerts.switch(connection, "stalled", False, 1000.0)
    assert look(BEGAN + 2000)[-1] == ("info", "over: the alert was switched off", 0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"minutes": 0}, "threshold: 0 minutes is refused"),
        ({"minutes": 1e6}, "threshold: 1e\\+06 minutes is refused"),
        ({"steps": 3}, "steps: 3 has no meaning for silent"),
    ],
)
def test_minutes_that_mean_nothing_are_refused(store, add, fields, says):
    with pytest.raises(StoreError, match=says):
        add(**fields)
