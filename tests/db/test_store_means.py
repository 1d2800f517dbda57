"""Means over stretches of steps, on both databases."""

from __future__ import annotations

import pytest
from store_helpers import Reader, claim, metrics, started, submit

from db import reads
from db.engine import reading, writing
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
