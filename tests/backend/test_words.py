"""Numbers, times and markup as they are read."""

import math
from dataclasses import replace

import pytest

from backend import show, words
from dashboard import liveness, markup
from db.reads import WorkerRow
from db.statuses import Status


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0468, "0.0468"),
        (1, "1.00"),
        (123.456, "123"),
        (-0.5, "−0.500"),
        (0, "0.00"),
        (1e-6, "1.00e−6"),
        (2.5e7, "2.50e7"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        (None, "–"),
    ],
)
def test_a_number_has_three_digits_that_matter(value, shown):
    assert words.number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.312, "0.31 s"),
        (42.4, "42 s"),
        (59.7, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7440, "2 h 04 min"),
        (273_600, "3 d 4 h"),
        (None, "–"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds, shown):
    assert words.duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (2, "just now"),
        (40, "40 s ago"),
        (300, "5 min ago"),
        (10_800, "3 h ago"),
        (200_000, "2 d ago"),
        (-5, "just now"),
    ],
)
def test_an_age_is_coarse(seconds, shown):
    assert words.age(1000.0, 1000.0 + seconds) == shown


def test_time_left_follows_the_pace_of_this_attempt():
    assert words.time_left(step=60, total=100, from_step=40, elapsed=10) == 20
    assert words.time_left(step=40, total=100, from_step=40, elapsed=10) is None


@pytest.mark.parametrize("status", [Status.STARTING, Status.RUNNING, Status.STOPPING])
def test_an_active_run_is_shown_as_such_only_with_a_fresh_heartbeat(status):
    assert liveness.shown_status(status, 100.0, 101.0) == status
    assert liveness.shown_status(status, 100.0, 101.0 + liveness.STALE_AFTER) == liveness.LOST
    assert liveness.shown_status(Status.FINISHED, 100.0, 1e9) == Status.FINISHED


def test_below_the_status_stands_what_a_run_does_only_while_it_runs_and_is_heard_of():
    def note(status, now=101.0):
        return liveness.note(status, "asked to", "saving_checkpoint", 100.0, now)

    assert [note(status) for status in (Status.RUNNING, Status.STOPPING)] == ["saving checkpoint", "asked to"]
    assert note(Status.RUNNING, now=190.0) == "no sign of life for 1 min 30 s"


def test_the_queue_line_says_what_to_do_when_no_worker_is_alive():
    counts = dict.fromkeys(Status, 0) | {Status.QUEUED: 2, Status.RUNNING: 1}
    worker = WorkerRow("w", "alpha", 1, ["cpu:0"], 1.0, 2.0, None, draining=False)
    drained = replace(worker, draining=True)
    assert liveness.queue_line(counts, [worker]) == ("1 worker alive · 1 active · 2 queued", False)
    assert liveness.queue_line(counts, [worker, drained]) == ("2 workers alive, 1 drained · 1 active · 2 queued", False)
    assert liveness.queue_line(counts, [drained])[1]
    line, attention = liveness.queue_line(counts, [])
    assert attention
    assert "mtprl up" in line


def test_markup_escapes_what_comes_from_data():
    evil = '<script>"&'
    for piece in (
        markup.text(evil, sub=evil),
        markup.link(evil, evil),
        markup.status(evil, note=evil),
        markup.verbatim(evil),
        markup.log(evil),
        markup.grade(True, evil),
        markup.event(evil, "error"),
        markup.alarms([evil]),
    ):
        assert "<script" not in piece


def test_an_alarm_is_named_in_words():
    assert words.alarm("entropy_collapse") == "Entropy collapse"
    assert words.alarm("acceptance_collapse/depth_2") == "Acceptance collapse, depth 2"


def test_a_text_means_in_markdown_what_it_says():
    assert words.literal("clip [0, 1] *now*") == r"clip \[0, 1\] \*now\*"
    assert words.literal("run `mtprl up`.") == r"run `mtprl up`\."


def test_alarms_of_a_listed_run_are_named_or_counted():
    assert markup.alarms([]) == ""
    assert ">Entropy collapse<" in markup.alarms(["Entropy collapse"])
    assert ">2 alarms<" in markup.alarms(["Entropy collapse", "<b>"])
    assert "<b>" not in markup.alarms(["<b>"])


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (64 * 2**20, "64.0 MiB"),
        (145e8, "13.5 GiB"),
        (2**51, "2048 TiB"),
    ],
)
def test_sizes_have_sensible_digits(count, said):
    assert words.size(count) == said


def test_a_shell_shows_small_numbers_as_pages_do_and_others_in_columns_of_equal_digits():
    shown = [show.number(value) for value in (2.19e-5, -0.0123, 0.0, 0.25, 12.3456, float("nan"), None)]
    assert shown == ["2.19e-5", "-0.0123", "0.000", "0.250", "12.346", "-", "-"]
