"""Several real workers, of one host and of two, on one store: what is theirs, what is not, and what becomes of a host that is gone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as redis_client
from backend_harness import look, until

from backend import fleet, processes, runs, settings, store
from backend.celery_app import LAUNCH, app
from backend.trainer_process import TrainerProcess
from db import claims
from db.statuses import Status
from trainer.config import RunConfig

HERE = Path(__file__).parent
Config = Callable[..., RunConfig]
Process = subprocess.Popen[bytes]

pytestmark = pytest.mark.slow


@pytest.fixture
def start(redis: Process) -> Iterator[Callable[..., Process]]:
    """Start a real worker of a host, whose supervisors start the stand-in trainer."""
    started: list[Process] = []

    def start(name: str, host: str = "alpha", gone: float = 1000.0, slots: int = 1) -> Process:
        environment = settings.environment() | {
            "TEST_HOST": host,
            "TEST_HOST_GONE": str(gone),
            "MTPRL_CPU_SLOTS": str(slots),
        }
        environment["PYTHONPATH"] += os.pathsep + str(HERE)
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "standin_worker",
            "worker",
            "-P",
            "solo",
            "-n",
            f"{name}@{host}",
        ]
        started.append(processes.start(command, settings.settings().logs / f"{name}.log", environment))
        until(lambda: f"{name}@{host}" in alive())
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def alive() -> list[str]:
    with store.reading() as connection:
        return [worker.name for worker in fleet.alive(connection)]


def heard_of(name: str) -> float:
    with store.reading() as connection:
        return next(worker.heartbeat_at for worker in fleet.alive(connection) if worker.name == name)


def kill(*pids: int | None) -> None:
    for pid in pids:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


def test_two_workers_take_each_run_once_whatever_the_queue_delivers(
    start: Callable[..., Process], config: Config
) -> None:
    start("one", "alpha", slots=2)
    start("two", "beta", slots=2)
    submitted = [runs.submit(config(steps=50)) for _ in range(8)]
    with redis_client.from_url(settings.redis_url()) as client, app.connection_for_write(settings.redis_url()) as to:
        for run_id in submitted:
            app.send_task(LAUNCH, [run_id], connection=to)
            app.send_task(LAUNCH, [999_999], connection=to)
            app.send_task(LAUNCH, ["no id"], connection=to)
        client.flushall()
        app.send_task("mtprl.unknown", [1], connection=to)
        client.lpush("mtprl", "no message")
    ended = runs.wait_for(submitted, interval=0.1)
    assert {(run.status, run.attempt) for run in ended} == {(Status.FINISHED, 1)}
    assert {look(run_id).attempts[0].host for run_id in submitted} == {"alpha", "beta"}
    assert len(alive()) == 2


def test_a_run_goes_on_when_its_worker_is_gone_and_is_given_up_when_its_host_is(
    start: Callable[..., Process], config: Config
) -> None:
    first = start("one", "alpha", gone=4.0)
    run_id = runs.submit(config(steps=100_000))
    until(lambda: look(run_id).step > 2)
    start("two", "beta", gone=4.0)
    attempt = look(run_id).attempts[0]
    # The other host's worker sees a supervisor that lives, and leaves the run to it.
    first.kill()
    first.wait()
    killed = time.time()
    until(lambda: (look(run_id).heartbeat_at or 0.0) > killed + 6)
    assert (look(run_id).status, look(run_id).attempt) == (Status.RUNNING, 1)
    kill(attempt.supervisor_pid, attempt.trainer_pid)
    until(lambda: look(run_id).attempt == 2, 40)
    lost, again = look(run_id).attempts
    assert (lost.outcome, again.host) == ("lost", "beta")
    assert again.cause == "retry 1 of 2: its host alpha has not been heard of for 4 s"
    until(lambda: look(run_id).status == Status.RUNNING)
    runs.stop(run_id)
    [run] = runs.wait_for([run_id], interval=0.1)
    assert (run.status, run.reason, run.devices) == (Status.STOPPED, "stopped by the user", ())


def test_a_trainer_that_is_left_of_a_run_which_was_given_up_is_ended_when_its_worker_is_back(
    start: Callable[..., Process], config: Config
) -> None:
    first = start("one", "alpha")
    run_id = runs.submit(config(steps=5000, launch={"retries": 0}))
    until(lambda: look(run_id).step > 2)
    attempt = look(run_id).attempts[0]
    first.kill()
    first.wait()
    kill(attempt.supervisor_pid)
    with store.writing() as connection:
        assert claims.lose(connection, run_id=run_id, attempt=1, reason="gone", now=time.time()) is Status.FAILED
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    other = TrainerProcess.start(sleep, settings.settings().logs, 1, settings.environment())
    assert processes.alive(attempt.trainer_pid, attempt.trainer_started)
    start("two", "alpha")
    until(lambda: not processes.alive(attempt.trainer_pid, attempt.trainer_started))
    assert other.lives()  # of a folder that is no run's of this store
    while other.lives():
        other.stop(0)


def test_a_drained_worker_finishes_its_run_and_takes_none(start: Callable[..., Process], config: Config) -> None:
    start("one", "alpha")
    first = runs.submit(config(steps=150))
    until(lambda: look(first).step > 2)
    assert fleet.drain("one@alpha") == ["one@alpha"]
    second = runs.submit(config())
    assert runs.notice([second]) == "every worker is drained, so the run waits; `mtprl undrain` lets them take runs"
    [run] = runs.wait_for([first], interval=0.1)
    assert run.status == Status.FINISHED
    ended = time.time()
    until(lambda: heard_of("one@alpha") > ended + 5)
    assert look(second).status == Status.QUEUED
    fleet.drain("one@alpha", draining=False)
    [run] = runs.wait_for([second], interval=0.1)
    assert run.status == Status.FINISHED
