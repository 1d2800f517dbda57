"""Means over stretches of steps, on both databases."""

from __future__ import annotations

import numpy as np
import pytest
from store_helpers import Reader, claim, metrics, started, submit

from db import claims, reads, runs
from db.engine import reading, writing
from db.statuses import Status
from trainer.events import encode_number


def test_means_are_of_whole_steps_by_stretches_with_step_0_by_itself(store, run):
    values = [7.0, 1.0, 2.0, float("nan"), 4.0, 6.0, 8.0, 100.0]
    steps = [metrics(step, m=encode_number(value)) for step, value in enumerate(values)]
    Reader(store, run).feed(started(), metrics(2, 0, m=1000.0), *steps, metrics(2, other=5.0))
    with reading(store) as connection:
        found = reads.stretch_means(connection, [run], ["m", "other", "absent"], width=3)
    assert found == {
        (run, "m"): [(0.0, 7.0, 1), (1.5, 1.5, 2), (5.0, 6.0, 3), (7.0, 100.0, 1)],
        (run, "other"): [(2.0, 5.0, 1)],
    }


def test_stretches_of_one_step_are_the_values_themselves(store, run):
    Reader(store, run).feed(started(), *(metrics(step, m=step * 0.5) for step in range(4)))
    with reading(store) as connection:
        found = reads.stretch_means(connection, [run], ["m"], width=1)
        with pytest.raises(ValueError, match="width: 0"):
            reads.stretch_means(connection, [run], ["m"], width=0)
    assert found[run, "m"] == [(float(step), step * 0.5, 1) for step in range(4)]


def test_runs_are_kept_apart(store, run):
    with writing(store) as connection:
        other = submit(connection, seed=1)
        claim(connection, "cpu:1")
    Reader(store, run).feed(started(), metrics(1, m=1.0))
    Reader(store, other).feed(started(), metrics(1, m=3.0))
    with reading(store) as connection:
        found = reads.stretch_means(connection, [run, other], ["m"], width=10)
    assert {key: rows[0].mean for key, rows in found.items()} == {(run, "m"): 1.0, (other, "m"): 3.0}


def test_long_stretches_are_made_of_sums_and_say_what_the_values_say(store, run):
    rng = np.random.default_rng(3)
    values = rng.normal(size=300)
    values[70], values[130] = float("nan"), 1e301
    steps = [metrics(step, m=encode_number(float(value))) for step, value in enumerate(values)]
    Reader(store, run).feed(started(), metrics(2, 0, m=1000.0), *steps, metrics(33, m=5.0))
    values[33] = 5.0
    with reading(store) as connection:
        found = reads.long_means(connection, [run], ["m", "absent"], width=96)[run, "m"]
        with pytest.raises(ValueError, match="width: 100"):
            reads.long_means(connection, [run], ["m"], width=100)
    kept = np.where(np.abs(values) < 1e300, values, np.nan)
    assert [one.values for one in found] == [95, 95, 96, 12]
    for number, one in enumerate(found):
        inside = slice(96 * number, 96 * number + 96)
        assert one.mean == pytest.approx(np.nanmean(kept[inside]))
        assert one.step == pytest.approx(np.arange(300)[inside][np.isfinite(kept[inside])].mean())


def test_a_value_that_is_logged_again_leaves_the_later_ones_of_its_stretch_in(store, run):
    reader = Reader(store, run)
    reader.feed(started(), *(metrics(step, m=float(step)) for step in range(32)))
    reader.feed(metrics(3, m=67.0))
    with reading(store) as connection:
        [one] = reads.long_means(connection, [run], ["m"], width=32)[run, "m"]
    assert (one.values, one.mean) == (32, np.arange(32).mean() + 2)


def test_time_on_devices_leaves_pauses_out_and_counts_what_was_lost(store, run):
    """The first attempt makes 6 steps in 60 s and dies at 70 s; the second one, much later, goes on from step 4."""
    clock = "time/step_seconds"

    def made(step, attempt, time):
        return {**metrics(step, attempt=attempt, **{clock: 1.0}), "time": time}

    first = Reader(store, run)
    first.feed(started(), *(made(step, 1, 2.0 + 10 * step) for step in range(1, 7)))
    with writing(store) as connection:
        claims.finish(connection, run_id=run, attempt=1, status=Status.FAILED, reason="", exit_code=1, now=72.0)
        again = {"config": {}, "total_steps": 120, "devices": 1, "priority": 0, "retries": 0, "reason": ""}
        assert runs.resume(connection, run, attempt=1, now=5000.0, **again)
        claim(connection, now=9000.0)
    Reader(store, run, attempt=2, offset=first.offset).feed(
        started(2, resumed_from=4), *(made(step, 2, 9000.0 + 10 * (step - 4)) for step in (5, 6, 7))
    )
    with reading(store) as connection:
        found = reads.device_seconds(connection, [run, 999])
        few = reads.device_seconds(connection, [run], max_points=2)
    assert found == {run: [(1, 10), (2, 20), (3, 30), (4, 40), (5, 80), (6, 90), (7, 100)]}
    assert [reached.step for reached in few[run]] == [1, 4, 5, 7]


def test_series_that_are_longer_than_a_chart_shows_are_known(store, run):
    Reader(store, run).feed(started(), metrics(1, 0, b=1.0), *(metrics(step, a=1.0) for step in range(6)))
    with reading(store) as connection:
        assert reads.longer_than(connection, [run], ["a", "b"], 5) == {(run, "a")}
        assert reads.longer_than(connection, [run], ["a", "b"], 6) == set()
