"""The worker: its rounds by themselves, and as the real Celery process on a real Redis."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import standin_supervisor
from backend_harness import look, until

from backend import broker, fleet, processes, reaper, runs, settings, store, worker
from backend.celery_app import ring
from backend.worker import Housekeeper
from db import reads
from db.statuses import Status
from trainer.config import RunConfig

HERE = Path(__file__).parent
Config = Callable[..., RunConfig]
Redis = subprocess.Popen[bytes]


@pytest.fixture
def keeper(home: Path) -> Iterator[Housekeeper]:
    keeper = Housekeeper("test", standin_supervisor.COMMAND)
    yield keeper
    until(lambda: keeper._read_exit_statuses() or not keeper._children)


@pytest.fixture
def start_worker(redis: Redis) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start a real worker whose supervisors start the stand-in trainer."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        environment = settings.environment()
        environment["PYTHONPATH"] += os.pathsep + str(HERE)
        command = [sys.executable, "-m", "celery", "-A", "standin_worker", "worker", "-P", "solo", "-n", "test@here"]
        log = settings.settings().logs / "worker.log"
        started.append(processes.start(command, log, environment))
        until(lambda: is_heard(started[-1].pid))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def is_heard(pid: int) -> bool:
    with store.reading() as connection:
        return any(row.pid == pid for row in reads.workers(connection))


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_round_starts_as_many_runs_as_there_are_devices(keeper: Housekeeper, config: Config) -> None:
    first, second = runs.submit(config()), runs.submit(config())
    keeper.tick()
    assert look(first).status != Status.QUEUED
    assert look(second).status == Status.QUEUED
    until(lambda: look(first).status == Status.FINISHED)
    keeper.tick()
    until(lambda: look(second).status == Status.FINISHED)


def test_a_run_whose_supervisors_keep_failing_is_given_up(
    home: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SILENT", 0.0)
    monkeypatch.setattr(reaper, "NEVER_HEARD", 0.0)
    run_id = runs.submit(config(launch={"retries": 1}))
    keeper = Housekeeper("test", [sys.executable, "-c", "raise SystemExit('broken')"])

    def is_given_up() -> bool:
        keeper.tick()
        return look(run_id).status == Status.FAILED

    until(is_given_up)
    assert "supervisor failed 3 times" in look(run_id).reason
    assert [row.outcome for row in look(run_id).attempts] == ["lost", "lost"]
    assert "broken" in (Path(look(run_id).folder) / "supervisor.log").read_text()


@pytest.mark.slow
def test_a_run_survives_the_death_of_its_worker(start_worker: Callable[[], Redis], config: Config) -> None:
    killed = start_worker()
    run_id = runs.submit(config(steps=150))
    until(lambda: look(run_id).step > 2)
    kill(killed)
    [run] = runs.wait_for([run_id], interval=0.1)
    assert (run.status, run.step, run.attempt) == (Status.FINISHED, 150, 1)


@pytest.mark.slow
def test_a_run_of_which_everything_was_killed_is_tried_again_by_the_next_worker(
    start_worker: Callable[[], Redis], config: Config
) -> None:
    killed = start_worker()
    run_id = runs.submit(config(steps=150))
    until(lambda: look(run_id).step > 2)
    attempt = look(run_id).attempts[0]
    kill(killed)
    assert attempt.supervisor_pid is not None
    assert attempt.trainer_pid is not None
    os.kill(attempt.supervisor_pid, signal.SIGKILL)
    os.kill(attempt.trainer_pid, signal.SIGKILL)
    start_worker()
    [run] = runs.wait_for([run_id], interval=0.1)
    assert (run.status, run.devices, run.attempt) == (Status.FINISHED, (), 2)
    first, second = look(run_id).attempts
    assert (first.outcome, second.outcome) == ("lost", "finished")
    assert second.cause == first.message
    assert first.message.startswith("retry 1 of 2: the trainer ended while nothing supervised it")


@pytest.mark.slow
def test_doubled_and_unknown_messages_do_no_harm_and_stop_works(
    start_worker: Callable[[], Redis], config: Config
) -> None:
    process = start_worker()
    run_id = runs.submit(config(steps=5000))
    assert [ring(run_id), ring(run_id), ring(999_999)] == [True, True, True]
    assert runs.notice() == ""
    until(lambda: look(run_id).step > 2)
    runs.stop(run_id)
    [run] = runs.wait_for([run_id], interval=0.1)
    assert (run.status, run.reason, run.attempt) == (Status.STOPPED, "stopped by the user", 1)
    process.terminate()
    assert process.wait(20) == 0
    with store.reading() as connection:
        assert fleet.alive(connection) == []


@pytest.mark.slow
def test_without_redis_runs_are_queued_and_found_all_the_same(
    start_worker: Callable[[], Redis], redis: Redis, config: Config
) -> None:
    start_worker()
    kill(redis)  # while Celery connects for the first time, or soon after
    assert not broker.answers(settings.redis_url())
    run_id = runs.submit(config())
    assert "the queue (Redis) does not answer" in runs.notice()
    [run] = runs.wait_for([run_id], interval=0.1)
    assert run.status == Status.FINISHED


@pytest.mark.slow
def test_no_worker_outlives_the_command_that_started_it(home: Path, redis: Redis) -> None:
    command = [str(Path(sys.executable).with_name("mtprl")), "worker"]
    starter = processes.start(command, home / "logs" / "worker.log", settings.environment())

    def workers() -> list[int]:
        with store.reading() as connection:
            return [row.pid for row in reads.workers(connection)]

    [pid] = until(workers, 60)
    worker_process = processes.identify(pid)
    assert worker_process is not None
    assert pid != starter.pid
    kill(starter)
    until(lambda: not processes.alive(*worker_process), 30)
    with store.reading() as connection:
        assert fleet.alive(connection) == []
