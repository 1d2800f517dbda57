from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
from store_helpers import Reader, claim, metrics, started, submit

from db import alerts, claims, labels, reads
from db.alerts import State
from db.engine import reading, writing
from db.rules import Rule
from db.statuses import Status
from trainer.errors import StoreError

HIGH = Rule("KL high", "policy/kl", "above", 0.1, steps=2)


@pytest.fixture
def add(store):
    def added(rule: Rule = HIGH, **fields) -> None:
        with writing(store) as connection:
            alerts.add(connection, Rule(**{**_fields(rule), **fields}), 1.0)

    return added


def _fields(rule: Rule) -> dict:
    return {name: getattr(rule, name) for name in Rule.__dataclass_fields__}


def kl(first: int, *values: float, attempt: int = 1) -> list[dict]:
    return [metrics(step, attempt=attempt, policy__kl=value) for step, value in enumerate(values, first)]


def resumed(step: int, attempt: int = 2) -> dict:
    return {**started(attempt, resumed_from=step), "step": step}


def raised(store, run: int) -> list[tuple[str, str, int]]:
    with reading(store) as connection:
        return [(row.name, row.severity, row.step) for row in reads.alarms_raised(connection, [run]).get(run, ())]


def on(store, run: int) -> list[tuple[str, int]]:
    with reading(store) as connection:
        return [(row.name, row.step) for row in reads.alarms_on(connection, [run]).get(run, ())]


NAME = "rule/KL high/policy/kl"


def test_a_rule_begins_after_as_many_values_in_a_row_and_ends_after_as_many(store, run, reader, add):
    add()
    reader.feed(started(), *kl(1, 0.5, 0.0, 0.5, 0.6, 0.7, 0.0, 0.7, 0.1, 0.0, 0.0))
    assert raised(store, run) == [(NAME, "warning", 4), (NAME, "info", 9)]
    with reading(store) as connection:
        first, last = reads.alarms_raised(connection, [run])[run]
    assert first.message == "policy/kl is above 0.1 2 values in a row (0.6 in step 4)"
    assert last.message == "over: policy/kl is 2 values in a row not above 0.1 any more (0 in step 9)"
    assert on(store, run) == []
    reader.feed(*kl(11, 0.9, 0.9))
    assert on(store, run) == [(NAME, 12)]


def test_every_value_counts_once_however_the_stretches_are_cut_and_repeated(store, add):
    numbers = random.Random(1)
    values = [numbers.random() * 0.2 for _ in range(60)]
    add()
    seen = []
    for cuts in ([0, 60], [0, 1, 2, 17, 18, 60], list(range(61))):
        with writing(store) as connection:
            run = submit(connection)
            claim(connection, f"cpu:{run}")
        reader = Reader(store, run)
        reader.feed(started())
        for begin, end in pairwise(cuts):
            before = reader.offset
            reader.feed(*kl(begin + 1, *values[begin:end]))
            assert not reader.feed_at(before, reader.offset, *kl(begin + 1, *values[begin:end])).applied
        seen.append(raised(store, run))
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 10


def test_a_pattern_looks_at_each_metric_by_itself_and_only_at_values_of_whole_steps(store, run, reader, add):
    add(name="any", metric="mtp/*/kl", steps=1)
    reader.feed(started(), metrics(1, mtp__a__kl=0.5, mtp__b__kl=0.0, other__kl=9.0))
    reader.feed(metrics(2, mini_batch=0, mtp__b__kl=9.0))
    assert on(store, run) == [("rule/any/mtp/a/kl", 1)]


@pytest.mark.parametrize(
    ("comparison", "threshold", "holding"),
    [
        ("above", 0.5, [0.6, math.inf]),
        ("at-least", 0.5, [0.5, 0.6, math.inf]),
        ("below", 0.5, [0.4, -math.inf]),
        ("at-most", 0.5, [0.4, 0.5, -math.inf]),
        ("not-finite", None, [math.nan, math.inf, -math.inf]),
    ],
)
def test_values_are_compared_as_the_word_says(store, run, reader, add, comparison, threshold, holding):
    add(name="c", metric="m", comparison=comparison, threshold=threshold, steps=1)
    reader.feed(started())
    found = []
    for step, value in enumerate([0.4, 0.5, 0.6, math.nan, math.inf, -math.inf]):
        said = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(str(value), value)
        reader.feed(metrics(2 * step + 1, m=said))
        found += [value] if on(store, run) else []
        reader.feed(
            metrics(
                2 * step + 2,
                m=0.5
                if comparison in ("above", "below", "not-finite")
                else {"at-least": 0.0, "at-most": 1.0}[comparison],
            )
        )
    assert repr(found) == repr(
        [v for v in [0.4, 0.5, 0.6, math.nan, math.inf, -math.inf] if repr(v) in map(repr, holding)]
    )


def test_only_runs_of_the_experiment_and_with_the_tag_are_looked_at(store, add):
    with writing(store) as connection:
        runs = [submit(connection, name, experiment=name[0]) for name in ("a", "a tagged", "b tagged")]
        for run in runs:
            claim(connection, f"cpu:{run}")
        labels.change_tags(connection, runs[1:], ["watched"], [])
        labels.change_tags(connection, runs[:1], ["another"], [])
    add(name="both", steps=1, experiment="a", tag="watched")
    add(name="tag", steps=1, tag="watched")
    add(name="experiment", steps=1, experiment="a")
    for run in runs:
        Reader(store, run).feed(started(), *kl(1, 0.5))
    told = [[name.split("/")[1] for name, _ in on(store, run)] for run in runs]
    assert told == [["experiment"], ["both", "tag", "experiment"], ["tag"]]


def test_a_rule_looks_at_what_comes_after_it_was_made(store, run, reader, add):
    reader.feed(started(), *kl(1, 0.5, 0.5, 0.5))
    add()
    reader.feed(*kl(4, 0.5))
    assert on(store, run) == []
    reader.feed(*kl(5, 0.5))
    assert on(store, run) == [(NAME, 5)]


def test_a_rule_that_is_switched_off_is_over_and_looks_at_nothing(store, run, reader, add):
    add()
    reader.feed(started(), *kl(1, 0.5, 0.5))
    with writing(store) as connection:
        alerts.switch(connection, "KL high", False, 5.0)
    assert on(store, run) == []
    assert raised(store, run)[-1] == (NAME, "info", 2)
    reader.feed(*kl(3, 0.5, 0.5, 0.5))
    assert on(store, run) == []
    with writing(store) as connection:
        alerts.switch(connection, "KL high", True, 6.0)
    reader.feed(*kl(6, 0.5, 0.5))
    assert on(store, run) == [(NAME, 7)]
    with writing(store) as connection:
        alerts.remove(connection, "KL high", 7.0)
        assert alerts.listed(connection) == []
    assert on(store, run) == []


def state(store, run: int) -> list[State]:
    with reading(store) as connection:
        return [
            State(began, *rest)
            for (_, _), (began, *rest) in (
                (key, (s.began, s.on, s.said_at, s.against)) for key, s in alerts.states_of(connection, run).items()
            )
        ]


def test_a_rule_that_is_removed_is_over_where_it_was_on(store, run, reader, add):
    add(steps=1)
    reader.feed(started(), *kl(1, 0.5))
    with writing(store) as connection:
        alerts.remove(connection, HIGH.name, 1.0)
    assert on(store, run) == []
    assert raised(store, run) == [(NAME, "warning", 1), (NAME, "info", 1)]


def test_there_are_only_so_many_rules(store, add, monkeypatch):
    monkeypatch.setattr(alerts, "MOST_RULES", 2)
    add(name="first")
    add(name="second")
    with pytest.raises(StoreError, match="there are 2 alerts already, and at most 2; remove one first"):
        add(name="third")


@pytest.mark.parametrize("last_step", range(13))
def test_a_resume_goes_on_as_if_later_steps_had_never_been(store, add, last_step):
    """Whatever was said, a rule knows after a resume what it knew after that step."""
    add(steps=3)
    values = [0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 0.0, 0.5, 0.0, 0.0, 0.0, 0.5]
    runs = []
    for torn in (False, True):
        with writing(store) as connection:
            run = submit(connection)
            claim(connection, f"cpu:{run}")
        reader = Reader(store, run)
        reader.feed(started(), *kl(1, *(values if torn else values[:last_step])))
        if torn:
            reader.feed(resumed(last_step))
        runs.append((run, reader))
    (whole, reader), (torn, again) = runs
    told = [state(store, run) for run in (whole, torn)]
    after = [0.5, 0.5, 0.5, 0.0, 0.0, 0.0, 0.5]
    reader.feed(*kl(last_step + 1, *after))
    again.feed(*kl(last_step + 1, *after, attempt=2))
    assert told[0] == told[1]
    assert raised(store, torn) == raised(store, whole)
    assert on(store, torn) == on(store, whole)


def test_a_second_resume_does_not_believe_what_the_first_made_void(store, run, reader, add):
    add(steps=1)
    reader.feed(started(), *kl(1, 0.0, 0.0, 0.5))
    reader.feed(resumed(2), *kl(3, 0.0, 0.0, 0.5, attempt=2))
    assert on(store, run) == [(NAME, 5)]
    reader.feed(resumed(4, attempt=3))
    assert on(store, run) == []
    reader.feed(*kl(5, 0.5, attempt=3))
    assert on(store, run) == [(NAME, 5)]


def test_after_a_resume_too_a_rule_counts_no_value_from_before_it_was_made(store, run, reader, add):
    reader.feed(started(), *kl(1, 0.5, 0.5))
    add(steps=3)
    reader.feed(*kl(3, 0.5, 0.5), resumed(3), *kl(4, 0.5, attempt=2))
    assert on(store, run) == []
    reader.feed(*kl(5, 0.5, attempt=2))
    assert on(store, run) == [(NAME, 5)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": " "}, "name: ' ' is refused"),
        ({"name": "a/b"}, "without / and :"),
        ({"metric": ""}, "metric: '' is refused; give a metric's name such as policy/entropy"),
        ({"comparison": "~"}, "comparison: '~' is not known; give one of above, at-least"),
        ({"threshold": None}, "threshold: none is given; give a number"),
        ({"threshold": math.nan}, "threshold: nan is refused"),
        ({"comparison": "not-finite"}, "threshold: not-finite has none"),
        ({"steps": 0}, "steps: 0 is refused; give 1 to 10,000"),
    ],
)
def test_what_cannot_be_a_rule_is_refused_in_words(store, add, fields, words):
    with pytest.raises(StoreError, match=words):
        add(**fields)
    with reading(store) as connection:
        assert alerts.listed(connection) == []


def test_a_name_is_given_once_and_an_unknown_one_is_refused(store, add):
    add()
    with pytest.raises(StoreError, match="there is an alert 'KL high' already"):
        add()
    with writing(store) as connection:
        for change in (
            lambda: alerts.remove(connection, "x", 1.0),
            lambda: alerts.switch(connection, "x", True, 1.0),
        ):
            with pytest.raises(StoreError, match="there is no alert 'x'; `mtprl alerts` lists"):
                change()


def test_where_rules_are_on_is_counted_and_named(store, run, reader, add):
    add(metric="*/kl", steps=1)
    reader.feed(started(), metrics(1, policy__kl=0.5, other__kl=0.5))
    with reading(store) as connection:
        counts, found = alerts.spoken(connection, 1)
        [rule] = alerts.listed(connection)
        assert counts == {rule.id: 1}
        assert [(one.run_id, one.run, one.said_at) for one in found[rule.id]] == [(run, "occ-seed0", 1)]
        assert alerts.known_metrics(connection) == ["other/kl", "policy/kl"]
    with writing(store) as connection:
        newer = submit(connection)
        claim(connection, "cpu:1")
    Reader(store, newer).feed(started(), *kl(1, 0.5))
    with reading(store) as connection:
        counts, found = alerts.spoken(connection, 2)
    assert counts == {rule.id: 2}
    assert [one.run_id for one in found[rule.id]] == [newer, run]


def test_what_is_on_is_known_however_much_other_rules_say(store, run, reader, add):
    """More lines than a page reads of a history: neither the trainer's alarm nor the first rule's is pushed out, and a resume knows both."""
    add()
    add(name="noisy", metric="noise/*", steps=1)
    trainers = {**metrics(2), "type": "alarm", "severity": "warning", "name": "entropy_collapse", "message": "low"}
    many = [
        metrics(
            step,
            policy__kl=0.0 if step in (40, 41) else 0.5,
            **{f"noise__{place}": 1.0 - step % 2 for place in range(9)},
        )
        for step in range(1, 61)
    ]

    def expected(first: int, last: int) -> list[tuple[str, int]]:
        return sorted([("entropy_collapse", 2), (NAME, first), *((f"rule/noisy/noise/{n}", last) for n in range(9))])

    reader.feed(started(), *many[:2], trainers, *many[2:])
    assert sorted(on(store, run)) == expected(first=43, last=60)
    reader.feed(resumed(20))
    assert sorted(on(store, run)) == expected(first=2, last=20)


def test_what_a_rule_says_is_over_with_the_run_but_for_what_held_at_its_end(store, run, reader, add):
    add()
    reader.feed(started(), *kl(1, 0.5, 0.5))
    assert on(store, run) == [(NAME, 2)]
    with writing(store) as connection:
        claims.finish(connection, run_id=run, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=9.0)
        assert reads.alarms_on(connection, [run]) == {}
        assert alerts.spoken(connection, 5) == ({}, {})
        assert [alarm.name for alarm in reads.alarms_on(connection, [run], at_end=True)[run]] == [NAME]
    assert raised(store, run) == [(NAME, "warning", 2)], "its history keeps it"
