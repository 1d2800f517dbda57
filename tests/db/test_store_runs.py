from __future__ import annotations

import pytest
from store_helpers import claim, submit

from db import claims, reads, runs
from db.engine import reading, writing
from db.statuses import Status
from trainer.errors import StoreError


def test_a_new_run_is_queued_with_what_was_submitted(store):
    with writing(store) as connection:
        run_id = submit(connection, "mine", config={"seed": 3}, seed=3, preset="demo/occ")
        runs.set_folder(connection, run_id, "runs/00001-mine")
    with reading(store) as connection:
        run = reads.get_run(connection, run_id)
        events = reads.run_events(connection, run_id)
    assert (run.name, run.experiment, run.status, run.seed, run.preset) == (
        "mine",
        "demo",
        Status.QUEUED,
        3,
        "demo/occ",
    )
    assert (run.folder, run.config, run.attempts, run.latest) == ("runs/00001-mine", {"seed": 3}, (), {})
    assert [event.type for event in events] == ["submitted"]


def test_runs_of_one_experiment_share_its_row(store):
    with writing(store) as connection:
        for name in ("a", "b"):
            submit(connection, name, experiment="sweep")
        submit(connection, "c", experiment="other")
    with reading(store) as connection:
        assert [(row.name, row.runs) for row in reads.experiments(connection)] == [("other", 1), ("sweep", 2)]


def test_a_queued_run_is_stopped_at_once(store):
    with writing(store) as connection:
        run_id = submit(connection)
        assert runs.request_stop(connection, run_id, now=5.0) is Status.STOPPED
        assert claims.claim_next(connection, host="alpha", devices=["cpu:0"], now=6.0) is None
        run = reads.get_run(connection, run_id)
    assert (run.status, run.ended_at, run.reason) == (Status.STOPPED, 5.0, "stopped before it started")


def test_a_run_with_an_owner_is_stopping_until_its_owner_has_ended_it(store, run):
    with writing(store) as connection:
        assert not claims.stop_requested(connection, run)
        assert runs.request_stop(connection, run, now=5.0) is Status.STOPPING
        assert runs.request_stop(connection, run, now=6.0) is Status.STOPPING
        assert claims.stop_requested(connection, run)
        assert reads.get_run(connection, run).ended_at is None
        assert [event.type for event in reads.run_events(connection, run)].count("stop_requested") == 1


def test_a_run_that_has_ended_stays_as_it_is(store, run):
    with writing(store) as connection:
        assert claims.finish(connection, run_id=run, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=9.0)
        assert runs.request_stop(connection, run, now=10.0) is Status.FINISHED
        assert not claims.stop_requested(connection, run)


def test_stopping_an_unknown_run_is_refused_in_words(store):
    with writing(store) as connection, pytest.raises(StoreError, match="run 7 does not exist"):
        runs.request_stop(connection, 7, now=1.0)


def _resume(connection, run: int, attempt: int = 1, **changes) -> bool:
    values = {"config": {"steps": 240}, "total_steps": 240, "devices": 1, "priority": 0, "retries": 2, **changes}
    return runs.resume(connection, run, attempt=attempt, reason="resumed by the user", now=7.0, **values)


def test_a_run_that_was_stopped_goes_on_as_another_attempt_behind_those_that_wait(store, run):
    with writing(store) as connection:
        waiting = submit(connection, "waiting")
        runs.request_stop(connection, run, now=5.0)
        assert not _resume(connection, run)
        claims.finish(connection, run_id=run, attempt=1, status=Status.STOPPED, reason="asked", exit_code=3, now=6.0)
        assert not _resume(connection, run, attempt=2)
        assert _resume(connection, run)
        assert not _resume(connection, run)
        assert not claims.stop_requested(connection, run)
        assert [claim(connection, device).run_id for device in ("cpu:0", "cpu:1")] == [waiting, run]
        detail = reads.get_run(connection, run)
    assert (detail.attempt, detail.total_steps, detail.config) == (2, 240, {"steps": 240})
    assert [row.cause for row in detail.attempts] == [None, "resumed by the user"]
