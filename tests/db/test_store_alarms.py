from __future__ import annotations

from store_helpers import Reader, claim, event, started, submit

from db import reads
from db.engine import reading, writing


def alarm(step: int, severity: str, name: str, message: str = "why: because", attempt: int = 1):
    return event("alarm", step, attempt=attempt, severity=severity, name=name, message=message)


def resumed(step: int, attempt: int = 2):
    """As the trainer writes it: the step of the event is that of the checkpoint."""
    return {**started(attempt, resumed_from=step), "step": step}


def on(store, *runs: int) -> dict[int, list[tuple[str, int]]]:
    with reading(store) as connection:
        found = reads.alarms_on(connection, runs)
    return {run: [(row.name, row.step) for row in rows] for run, rows in found.items()}


def test_an_alarm_is_on_from_its_warning_to_its_end(store, run, reader):
    reader.feed(started(), alarm(8, "warning", "entropy_collapse"), alarm(9, "warning", "acceptance_collapse/depth_2"))
    assert on(store, run) == {run: [("entropy_collapse", 8), ("acceptance_collapse/depth_2", 9)]}
    with reading(store) as connection:
        [first, _] = reads.alarms_on(connection, [run])[run]
    assert (first.severity, first.message) == ("warning", "why: because")
    reader.feed(alarm(14, "info", "entropy_collapse"))
    assert on(store, run) == {run: [("acceptance_collapse/depth_2", 9)]}
    reader.feed(alarm(20, "warning", "entropy_collapse"), alarm(21, "info", "acceptance_collapse/depth_2"))
    assert on(store, run) == {run: [("entropy_collapse", 20)]}


def test_what_is_told_once_is_not_on_and_an_error_is(store, run, reader):
    reader.feed(started(), alarm(0, "warning", "prompts_too_long"), alarm(3, "warning", "events_dropped"))
    assert on(store, run) == {}
    reader.feed(alarm(4, "error", "not_finite"))
    assert on(store, run) == {run: [("not_finite", 4)]}


def test_what_is_told_once_and_holds_for_the_whole_run_is_on(store, run, reader):
    reader.feed(started(), alarm(0, "warning", "new_heads"))
    assert on(store, run) == {run: [("new_heads", 0)]}


def test_each_run_has_its_own(store, run, reader):
    with writing(store) as connection:
        other, third = submit(connection, "other"), submit(connection, "third")
        claim(connection, "cpu:1")
    reader.feed(started(), alarm(8, "warning", "zero_variance"))
    Reader(store, other).feed(started(), alarm(7, "warning", "entropy_collapse"))
    assert on(store, run, other, third) == {run: [("zero_variance", 8)], other: [("entropy_collapse", 7)]}
    assert on(store, other) == {other: [("entropy_collapse", 7)]}
    assert on(store) == {}


def test_a_resume_makes_what_was_told_of_later_steps_void(store, run, reader):
    reader.feed(
        started(),
        alarm(5, "warning", "zero_variance"),
        alarm(30, "warning", "acceptance_collapse"),
        alarm(45, "info", "acceptance_collapse"),
        alarm(46, "warning", "entropy_collapse"),
        alarm(47, "error", "not_finite"),
        resumed(40),
    )
    assert on(store, run) == {run: [("zero_variance", 5), ("acceptance_collapse", 30)]}
    reader.feed({**started(3), "step": 0}, alarm(6, "warning", "entropy_collapse", attempt=3))
    assert on(store, run) == {run: [("entropy_collapse", 6)]}


def test_a_long_history_is_read_from_its_end(store, run, reader):
    flicker = [alarm(step, ("warning", "info")[step % 2], "zero_variance") for step in range(1000)]
    reader.feed(started(), *flicker, alarm(1000, "warning", "zero_variance"))
    assert on(store, run) == {run: [("zero_variance", 1000)]}


def test_what_was_raised_is_told_with_its_end_and_is_void_after_a_resume(store, run, reader):
    reader.feed(
        started(), alarm(5, "warning", "zero_variance"), alarm(9, "info", "zero_variance"), alarm(30, "error", "nan")
    )
    with reading(store) as connection:
        raised = reads.alarms_raised(connection, [run])
    assert [(one.name, one.severity, one.step) for one in raised[run]] == [
        ("zero_variance", "warning", 5),
        ("zero_variance", "info", 9),
        ("nan", "error", 30),
    ]
