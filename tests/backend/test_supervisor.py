"""One supervision, with a real process as trainer and a real store."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from backend_harness import look, until
from sqlalchemy import select
from standin_supervisor import PROGRAM

from backend import again, alerts, processes, runs, show, store
from backend.supervisor import supervise
from db import claims, reads
from db.rules import Rule
from db.statuses import Status
from db.tables import leases, run_events
from trainer.errors import StoreError

UNSEEN = "the trainer ended while nothing supervised it, and left no word of why"
Claimed = Callable[..., int]
Start = Callable[[int], subprocess.Popen[bytes]]


def leased() -> list[str]:
    with store.reading() as connection:
        return list(connection.execute(select(leases.c.device)).scalars())


def test_a_finished_run_is_stored_completely_and_frees_its_device(claimed: Claimed) -> None:
    run_id = claimed("finish", steps=7)
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.reason, run.step) == (Status.FINISHED, "", 7)
    assert run.attempts[0].exit_code == 0
    assert run.attempts[0].offset == (Path(run.folder) / "events.jsonl").stat().st_size
    assert leased() == []
    with store.reading() as connection:
        series = reads.series(connection, [run_id], ["reward/mean"])[run_id, "reward/mean"]
    assert [round(value, 3) for value in series.values] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


def test_a_run_of_which_no_value_comes_is_told_by_its_supervisor(claimed: Claimed) -> None:
    alerts.add(Rule("stalled", "*", "silent", 1e-9))
    run_id = claimed()
    supervise(run_id, 1, program=PROGRAM)
    with store.reading() as connection:
        [first, *_] = reads.alarms_raised(connection, [run_id])[run_id]
    assert (first.name, first.severity) == ("rule/stalled/*", "warning")


def test_a_trainer_is_confined_to_its_device(claimed: Claimed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # of a job that the worker stands in
    run_id = claimed()
    supervise(run_id, 1, program=PROGRAM)
    threads = len(os.sched_getaffinity(0))
    said = (Path(look(run_id).folder) / "trainer.log").read_text()
    assert f"CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS={threads} job=None" in said


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("fail", "the loss is not finite at step 2; lower optimizer.lr"),
        ("crash", "RuntimeError: the tokenizer is missing"),
        ("oom", "the trainer was killed by signal 9 (SIGKILL); the machine may have run out of memory"),
        ("mute", "the trainer ended with exit code 7 and said nothing; trainer.log may hold more"),
    ],
)
def test_a_failed_run_says_why(claimed: Claimed, mode: str, reason: str) -> None:
    run_id = claimed(mode)
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.reason) == (Status.FAILED, reason)
    assert leased() == []


def test_a_run_whose_trainer_cannot_be_started_is_tried_again(claimed: Claimed) -> None:
    run_id = claimed()
    supervise(run_id, 1, program=["/no/such/program"])
    run = look(run_id)
    assert run.status == Status.QUEUED
    assert run.reason.startswith("retry 1 of 2: the trainer could not be started")


def test_a_run_that_is_stopped_while_it_starts_never_trains(claimed: Claimed) -> None:
    run_id = claimed()
    runs.stop(run_id)
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.reason) == (Status.STOPPED, "stopped by the user before it started")
    assert not (Path(run.folder) / "trainer.log").exists()


def test_a_run_whose_time_is_over_is_stopped_in_good_order(claimed: Claimed) -> None:
    run_id = claimed("finish", steps=5000, max_hours=1 / 3600)
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.attempts[0].exit_code) == (Status.STOPPED, 3)
    assert run.reason.endswith("the longest time that it may take (launch.max_hours)")
    with pytest.raises(
        StoreError, match=r"has used all of its 0.000277778 h .*--set launch.max_hours=0.000555556` gives"
    ):
        again.resume(run_id)


@pytest.mark.slow
def test_stop_ends_the_trainer_in_good_order(claimed: Claimed, start_supervisor: Start) -> None:
    run_id = claimed("finish", steps=5000)
    supervisor = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    assert "is stopping" in runs.stop(run_id)
    assert look(run_id).status == Status.STOPPING
    assert supervisor.wait(20) == 0
    run = look(run_id)
    assert (run.status, run.reason, run.attempts[0].exit_code) == (Status.STOPPED, "stopped by the user", 3)
    assert runs.stop(run_id) == f"run {run_id} has already ended (stopped)"


@pytest.mark.slow
def test_a_trainer_that_does_not_stop_is_killed_after_the_grace(
    claimed: Claimed, start_supervisor: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPRL_STOP_GRACE", "0.5")
    run_id = claimed("deaf", steps=5000)
    supervisor = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    runs.stop(run_id)
    assert supervisor.wait(20) == 0
    run = look(run_id)
    assert run.status == Status.STOPPED
    assert run.reason == "stopped by the user; killed, because it had not ended 0.5 s later"
    assert not processes.alive(run.attempts[0].trainer_pid, run.attempts[0].trainer_started)


def test_a_run_has_ended_only_when_no_process_of_its_trainer_is_left(
    claimed: Claimed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.trainer_process.LEFTOVERS", 0.3)
    run_id = claimed("parent")
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert run.status == Status.FINISHED
    assert run.attempts[0].trainer_pid is not None
    assert processes.group_members(run.attempts[0].trainer_pid) == []


@pytest.mark.slow
def test_when_the_stack_goes_down_the_run_ends_as_stopped(claimed: Claimed, start_supervisor: Start) -> None:
    run_id = claimed("finish", steps=5000)
    supervisor = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    supervisor.terminate()
    assert supervisor.wait(20) == 0
    run = look(run_id)
    assert (run.status, run.reason) == (Status.STOPPED, "the stack was shut down")


@pytest.mark.slow
def test_a_killed_supervisor_is_replaced_by_one_that_goes_on_where_it_stopped(
    claimed: Claimed, start_supervisor: Start
) -> None:
    run_id = claimed("finish", steps=60)
    first = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    trainer = look(run_id).attempts[0].trainer_pid
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.step, len(run.attempts)) == (Status.FINISHED, 60, 1)
    assert run.attempts[0].trainer_pid == trainer
    with store.reading() as connection:
        series = reads.series(connection, [run_id], ["reward/mean"])[run_id, "reward/mean"]
    assert list(series.steps) == list(range(1, 61))


def test_a_database_that_does_not_answer_is_waited_for_while_training_goes_on(
    home: Path, claimed: Claimed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = claimed(steps=60)
    store.engine().dispose()
    store._engine.cache_clear()
    monkeypatch.setattr("db.engine._BUSY_TIMEOUT_MS", 50)
    events = Path(look(run_id).folder) / "events.jsonl"
    offset_while_locked = []

    def lock_out_every_writer() -> None:
        until(lambda: look(run_id).step > 2)
        with contextlib.closing(sqlite3.connect(home / "mtprl.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            until(lambda: '"ended"' in events.read_text())
            offset_while_locked.append(look(run_id).attempts[0].offset)
            connection.execute("ROLLBACK")

    outage = threading.Thread(target=lock_out_every_writer)
    outage.start()
    supervise(run_id, 1, program=PROGRAM)
    outage.join()
    run = look(run_id)
    assert (run.status, run.step) == (Status.FINISHED, 60)
    assert offset_while_locked[0] < run.attempts[0].offset == events.stat().st_size
    assert caplog.text.count("the database does not answer") == 1


def test_lines_that_could_not_be_read_are_told_in_the_history_and_in_show(claimed: Claimed) -> None:
    run_id = claimed()
    (Path(look(run_id).folder) / "events.jsonl").write_text('{"torn\n[]\n')
    supervise(run_id, 1, program=PROGRAM)
    words = "2 lines of events.jsonl could not be read and are not in the store"
    with store.reading() as connection:
        history = connection.execute(select(run_events.c.severity, run_events.c.message)).all()
    assert ("warning", words) in [tuple(row) for row in history]
    console = show.console()
    with console.capture() as printed:
        console.print(show.run_lines(look(run_id)))
    assert words in printed.get()


def test_events_longer_than_a_read_are_stored(claimed: Claimed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.supervisor._READ_BYTES", 16)
    run_id = claimed(steps=4)
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.step) == (Status.FINISHED, 4)
    assert run.attempts[0].torn_lines == 0


@pytest.mark.slow
def test_a_trainer_that_nobody_recorded_is_found_and_not_started_twice(
    claimed: Claimed, start_supervisor: Start
) -> None:
    run_id = claimed("finish", steps=60)
    first = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    recorded = look(run_id).attempts[0]
    with store.writing() as connection:
        claims.set_trainer(connection, run_id, 1, None, None)  # type: ignore[arg-type]
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.step) == (Status.FINISHED, 60)
    assert run.attempts[0].trainer_pid == recorded.trainer_pid


@pytest.mark.slow
@pytest.mark.parametrize(
    ("retries", "status", "reason"),
    [(1, Status.QUEUED, f"retry 1 of 1: {UNSEEN}"), (0, Status.FAILED, f"lost: {UNSEEN}")],
)
def test_a_run_whose_supervisor_and_trainer_died_is_queued_again_as_often_as_it_may(
    claimed: Claimed, start_supervisor: Start, retries: int, status: Status, reason: str
) -> None:
    run_id = claimed("finish", steps=5000, retries=retries)
    first = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    attempt = look(run_id).attempts[0]
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert attempt.trainer_pid is not None
    os.kill(attempt.trainer_pid, signal.SIGKILL)
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.reason, run.attempts[0].exit_code) == (status, reason, None)
    assert (run.attempts[0].outcome, run.attempts[0].message) == ("lost", reason)
    assert run.attempts[0].offset == (Path(run.folder) / "events.jsonl").stat().st_size
    assert leased() == []


@pytest.mark.slow
def test_a_stop_by_the_user_is_the_reason_even_where_the_trainer_ended_while_nobody_supervised_it(
    claimed: Claimed, start_supervisor: Start
) -> None:
    run_id = claimed("finish", steps=5000)
    first = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    attempt = look(run_id).attempts[0]
    first.send_signal(signal.SIGKILL)
    first.wait()
    runs.stop(run_id)
    assert attempt.trainer_pid is not None
    os.kill(attempt.trainer_pid, signal.SIGTERM)
    until(lambda: not processes.alive(attempt.trainer_pid, attempt.trainer_started))
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert (run.status, run.reason) == (Status.STOPPED, "stopped by the user")


@pytest.mark.slow
def test_an_attempt_with_a_living_supervisor_is_left_alone(claimed: Claimed, start_supervisor: Start) -> None:
    run_id = claimed("finish", steps=5000)
    start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    before = look(run_id).attempts[0].supervisor_pid
    supervise(run_id, 1, program=PROGRAM)
    run = look(run_id)
    assert run.status == Status.RUNNING
    assert run.attempts[0].supervisor_pid == before


@pytest.mark.slow
def test_a_supervisor_that_lost_its_run_ends_its_trainer_and_leaves_the_run_alone(
    claimed: Claimed, start_supervisor: Start
) -> None:
    run_id = claimed("finish", steps=5000)
    supervisor = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    attempt = look(run_id).attempts[0]
    with store.writing() as connection:
        assert claims.requeue(connection, run_id, time.time(), "moved", attempt=1)
        claims.claim_next(connection, host=socket.gethostname(), devices=["cpu:0"], now=time.time())
    assert supervisor.wait(20) == 0
    assert not processes.alive(attempt.trainer_pid, attempt.trainer_started)
    assert look(run_id).status == Status.STARTING
