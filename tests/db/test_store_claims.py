from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select
from store_helpers import claim, submit

import db
from db import claims, queue, reads, runs, tables, workers
from db.engine import reading, writing
from db.statuses import ACTIVE, Status

# Claims until nothing is queued and prints what it got; freed devices are asked for again at once.
_CLAIMANT = """
import sys
from db import claims
from db.engine import connect, writing
from db.statuses import Status
url, host = sys.argv[1:]
store = connect(url)
misses = 0
while misses < 20:
    with writing(store) as connection:
        claim = claims.claim_next(connection, host=host, devices=["cuda:0", "cuda:1"], now=1.0)
    if claim is None:
        misses += 1
        continue
    print(claim.run_id, claim.attempt, *claim.devices, flush=True)
    if claim.run_id % 3 == 0:
        with writing(store) as connection:
            claims.finish(connection, run_id=claim.run_id, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=2.0)
"""


def _finish(connection, run_id: int, attempt: int = 1, status: Status = Status.FINISHED) -> bool:
    return claims.finish(connection, run_id=run_id, attempt=attempt, status=status, reason="why", exit_code=0, now=9.0)


def test_a_claim_takes_the_next_run_and_a_free_device(store):
    with writing(store) as connection:
        first, second, third = (submit(connection, name, folder=f"runs/{name}") for name in "abc")
        taken = [claims.claim_next(connection, host="alpha", devices=["cuda:0", "cuda:1"], now=2.0) for _ in range(3)]
        status = reads.get_run(connection, third).status
        elsewhere = claims.claim_next(connection, host="beta", devices=["cuda:0"], now=3.0)
    assert taken == [
        claims.Claim(first, 1, ("cuda:0",), "runs/a"),
        claims.Claim(second, 1, ("cuda:1",), "runs/b"),
        None,
    ]
    assert status is Status.QUEUED
    assert elsewhere == claims.Claim(third, 1, ("cuda:0",), "runs/c")


def test_processes_that_claim_at_once_never_share_a_run_or_a_device(url, store):
    with writing(store) as connection:
        submitted = [submit(connection, str(number)) for number in range(12)]
    root = Path(db.__file__).parent.parent
    command = [sys.executable, "-c", _CLAIMANT, url]
    processes = [
        subprocess.Popen([*command, host], cwd=root, stdout=subprocess.PIPE, text=True)
        for host in ("alpha", "alpha", "beta", "beta")
    ]
    claimed = [line.split() for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
    assert all(process.returncode == 0 for process in processes)

    ids = [int(run_id) for run_id, _, _ in claimed]
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(submitted)
    assert {attempt for _, attempt, _ in claimed} == {"1"}
    with reading(store) as connection:
        active = {run.id for run in reads.list_runs(connection) if run.status in ACTIVE}
        leases = connection.execute(select(tables.leases.c.run_id)).scalars().all()
    assert sorted(leases) == sorted(active)
    assert len(active) == 4  # two hosts with two devices each, and queued runs enough to fill them


def test_a_run_is_given_as_many_devices_as_it_asks_for_at_once_or_none(store):
    with writing(store) as connection:
        four, one = submit(connection, "four", devices=4), submit(connection, "one")
        devices = [f"cuda:{index}" for index in range(4)]
        assert claims.claim_next(connection, host="alpha", devices=devices[:3], now=2.0).run_id == one
        claims.finish(connection, run_id=one, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=3.0)
        assert claims.claim_next(connection, host="alpha", devices=devices, now=4.0).devices == tuple(devices)
        assert reads.get_run(connection, four).devices == tuple(devices)
        assert reads.get_run(connection, four).attempts[0].devices == devices
        submit(connection, "next")
        assert claims.claim_next(connection, host="alpha", devices=devices, now=5.0) is None
        claims.finish(connection, run_id=four, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=6.0)
        assert claims.claim_next(connection, host="alpha", devices=devices, now=7.0).devices == ("cuda:0",)


def test_priority_goes_before_arrival(store):
    with writing(store) as connection:
        low, first, second = (submit(connection, name, priority=p) for name, p in (("low", -1), ("a", 3), ("b", 3)))
        assert [claim(connection, f"cpu:{index}").run_id for index in range(3)] == [first, second, low]


def test_small_runs_do_not_pass_a_big_one_on_the_worker_that_it_waits_for(store):
    devices = ["cuda:0", "cuda:1"]
    with writing(store) as connection:
        small = [submit(connection, f"small {number}") for number in range(2)]
        assert claim(connection, *devices).run_id == small[0]
        big, late = submit(connection, "big", devices=2), submit(connection, "late")
        assert claim(connection, *devices).run_id == small[1]
        _finish(connection, small[0])
        # One device is free, and `late` would fit.
        assert claims.claim_next(connection, host="alpha", devices=devices, now=4.0) is None
        # A worker that could never serve the big run is not held for it.
        assert claims.claim_next(connection, host="beta", devices=["cuda:0"], now=4.0).run_id == late
        _finish(connection, small[1])
        assert claim(connection, *devices).run_id == big


def test_a_drained_worker_takes_no_run_until_it_is_undrained(store, url):
    def take(connection) -> claims.Claim | None:
        return claims.claim_next(connection, host="alpha", devices=["cpu:0"], worker="w1", now=3.0)

    with writing(store) as connection:
        run_id = submit(connection)
        workers.worker_heartbeat(connection, "w1", "alpha", 5, ["cpu:0"], 1.0)
        workers.set_draining(connection, ["w1"], True)
        assert take(connection) is None
        workers.worker_heartbeat(connection, "w1", "alpha", 6, ["cpu:0"], 2.0)  # started again
        assert take(connection) is None
        assert queue.offers(connection, since=0.0) == []
        workers.set_draining(connection, ["w1"], False)
        assert take(connection).run_id == run_id


def test_a_run_whose_folder_is_not_seen_is_left_to_others_and_says_so(store):
    with writing(store) as connection:
        elsewhere, here = submit(connection, "elsewhere", folder="/far"), submit(connection, "here", folder="/near")
        near = {"host": "alpha", "devices": ["cpu:0"], "sees": lambda run: run.folder == "/near"}
        assert claims.claim_next(connection, **near, now=2.0).run_id == here
        for _ in range(2):
            claims.note_waiting(connection, queue.queued(connection)[0], "alpha does not find its folder /far")
        assert reads.get_run(connection, elsewhere).reason == "alpha does not find its folder /far"
        assert claim(connection, host="beta").run_id == elsewhere


def test_a_lost_run_is_tried_again_in_its_old_place_as_often_as_it_may(store):
    def lose(connection, attempt: int) -> Status | None:
        return claims.lose(connection, run_id=run, attempt=attempt, reason="its host is gone", now=5.0)

    with writing(store) as connection:
        run, later = submit(connection, "lost", retries=1), submit(connection, "later")
        assert claim(connection).run_id == run
        assert lose(connection, 1) is Status.QUEUED
        assert reads.get_run(connection, run).reason == "retry 1 of 1: its host is gone"
        assert claim(connection).run_id == run
        assert lose(connection, 1) is None
        assert lose(connection, 2) is Status.FAILED
        detail = reads.get_run(connection, run)
        assert claim(connection).run_id == later
    assert detail.reason == "lost: its host is gone; queued again once before"
    assert [(row.cause, row.outcome) for row in detail.attempts] == [
        (None, "lost"),
        ("retry 1 of 1: its host is gone", "lost"),
    ]


def test_a_lost_run_that_was_asked_to_stop_is_stopped(store):
    with writing(store) as connection:
        run = submit(connection, retries=5)
        claim(connection)
        runs.request_stop(connection, run, now=3.0)
        assert claims.lose(connection, run_id=run, attempt=1, reason="its host is gone", now=5.0) is Status.STOPPED
        assert reads.get_run(connection, run).reason == "stopped by the user; its host is gone"


def test_the_owner_of_a_run_folder_is_known(store, run):
    with writing(store) as connection:
        submit(connection, "queued", folder="runs/2")
        assert claims.active_attempts(connection, ["runs/1", "runs/2", "elsewhere"]) == {
            "runs/1": 1,
            "runs/2": None,
        }


def test_a_second_supervisor_adopts_only_from_the_one_it_knows(store, run):
    def adopt(connection, pid: int, previous_pid: int | None, host: str = "alpha") -> bool:
        return claims.adopt(
            connection,
            run_id=run,
            attempt=1,
            host=host,
            supervisor_pid=pid,
            supervisor_started=1.5,
            previous_pid=previous_pid,
            now=3.0,
        )

    with writing(store) as connection:
        assert adopt(connection, 10, None)
        assert not adopt(connection, 11, None)
        assert not adopt(connection, 11, 9)
        assert not adopt(connection, 11, 10, host="beta")
        assert adopt(connection, 11, 10)
        attempt = reads.get_run(connection, run).attempts[0]
        assert (attempt.supervisor_pid, attempt.supervisor_started, attempt.heartbeat_at) == (11, 1.5, 3.0)
        _finish(connection, run)
        assert not adopt(connection, 12, 11)


def test_finishing_ends_run_and_attempt_and_frees_the_device(store, run):
    with writing(store) as connection:
        submit(connection, "next")
        assert claims.claim_next(connection, host="alpha", devices=["cpu:0"], now=3.0) is None
        claims.set_trainer(connection, run, 1, pid=42, started=2.5)
        assert claims.finish(
            connection, run_id=run, attempt=1, status=Status.FAILED, reason="loss is NaN", exit_code=1, now=9.0
        )
        detail = reads.get_run(connection, run)
        assert claim(connection).run_id != run
    attempt = detail.attempts[0]
    assert (detail.status, detail.reason, detail.ended_at, detail.devices) == (Status.FAILED, "loss is NaN", 9.0, ())
    assert (attempt.outcome, attempt.message, attempt.exit_code, attempt.ended_at) == ("failed", "loss is NaN", 1, 9.0)
    assert (attempt.trainer_pid, attempt.trainer_started) == (42, 2.5)


def test_an_attempt_that_was_superseded_changes_nothing_any_more(store, run):
    with writing(store) as connection:
        assert claims.heartbeat(connection, run, 1, now=4.0)
        assert claims.requeue(connection, run, 5.0, "its worker died", attempt=1)
        assert claim(connection, now=6.0).attempt == 2
        assert not claims.heartbeat(connection, run, 1, now=7.0)
        assert not _finish(connection, run, attempt=1)
        assert not claims.requeue(connection, run, 8.0, "again", attempt=1)
        detail = reads.get_run(connection, run)
        assert (detail.status, detail.devices, detail.heartbeat_at) == (Status.STARTING, ("cpu:0",), 6.0)
        assert [attempt.outcome for attempt in detail.attempts] == ["lost", None]
        assert claims.heartbeat(connection, run, 2, now=9.0)


def test_a_run_ends_once(store, run):
    with writing(store) as connection:
        assert _finish(connection, run)
        assert not _finish(connection, run, status=Status.FAILED)
        assert not claims.heartbeat(connection, run, 1, now=10.0)
        assert reads.get_run(connection, run).status is Status.FINISHED


def test_a_run_cannot_end_in_a_status_that_is_no_end(store, run):
    with writing(store) as connection, pytest.raises(ValueError, match="cannot end as running"):
        _finish(connection, run, status=Status.RUNNING)


def test_a_run_that_is_stopping_or_has_ended_is_not_requeued(store, run):
    with writing(store) as connection:
        runs.request_stop(connection, run, now=3.0)
        assert not claims.requeue(connection, run, 4.0, "its worker died", attempt=1)
        _finish(connection, run)
        assert not claims.requeue(connection, run, 5.0, "resumed", attempt=1)


def test_a_requeued_run_keeps_its_place_and_its_read_offset(store, run):
    with writing(store) as connection:
        later = submit(connection, "later")
        connection.execute(tables.attempts.update().values(offset=77))
        claims.requeue(connection, run, 4.0, "its worker died", attempt=1)
        assert [waiting.run_id for waiting in queue.queued(connection)] == [run, later]
        assert claim(connection).run_id == run
        assert [attempt.offset for attempt in reads.get_run(connection, run).attempts] == [77, 77]


def test_only_silent_owners_on_this_host_are_stale(store):
    with writing(store) as connection:
        for device, host, now in (
            ("cpu:0", "alpha", 10.0),
            ("cpu:1", "alpha", 30.0),
            ("cpu:0", "beta", 10.0),
            ("cpu:2", "alpha", 5.0),
        ):
            submit(connection)
            taken = claim(connection, device, host=host, now=now)
        _finish(connection, taken.run_id)
        stale = claims.owners(connection, host="alpha", before=20.0)
        workers.worker_heartbeat(connection, "w", "alpha", 5, ["cpu:0"], 77.0)
        elsewhere = [
            (owner.run_id, owner.host, heard) for owner, heard in claims.owners_elsewhere(connection, host="beta")
        ]
    assert [(each.run_id, each.attempt, each.status, each.heartbeat_at) for each in stale] == [
        (1, 1, Status.STARTING, 10.0)
    ]
    assert elsewhere == [(1, "alpha", 77.0), (2, "alpha", 77.0)]


def test_a_worker_is_known_from_its_first_heartbeat_to_its_end(store):
    def beat(pid: int, now: float) -> None:
        with writing(store) as connection:
            workers.worker_heartbeat(connection, "w1", "alpha", pid, ["cpu:0"], now)

    def row() -> tuple[int, float, float, float | None]:
        with reading(store) as connection:
            (worker,) = reads.workers(connection)
        assert worker.devices == ["cpu:0"]
        return worker.pid, worker.started_at, worker.heartbeat_at, worker.ended_at

    beat(5, 1.0)
    beat(5, 2.0)
    assert row() == (5, 1.0, 2.0, None)
    with writing(store) as connection:
        workers.worker_ended(connection, "w1", 3.0)
    assert row() == (5, 1.0, 2.0, 3.0)
    beat(6, 4.0)
    assert row() == (6, 4.0, 4.0, None)
