"""The embedded stack: real Redis, worker and dashboard, started, reused and taken down."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backend_harness import free_port, look, until

from backend import processes, runs, services, settings, stack, store
from backend.doctor import Verdict, examine
from db.statuses import Status
from db.workers import worker_heartbeat
from trainer.config import RunConfig
from trainer.errors import StoreError
from trainer.rollout.vllm.installed import installed_version

Config = Callable[..., RunConfig]


def recorded() -> dict[str, Any]:
    return settings.read_stack(settings.settings())


@pytest.fixture
def quiet(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects what `up` and `down` say, and gives the dashboard a port that no other stack uses."""
    monkeypatch.setattr(stack, "REDIS_PORT", free_port())
    monkeypatch.setattr(stack, "DASHBOARD_PORT", free_port())
    return []


@pytest.mark.slow
def test_up_reuses_what_lives_and_down_ends_what_up_started(
    quiet: list[str], claimed: Callable[..., int], start_supervisor: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    run_id = claimed(steps=5000)
    start_supervisor(run_id)
    address = stack.up(quiet.append)
    first = recorded()
    assert set(first) == {"redis", "worker", "dashboard"}
    assert first["worker"]["environment"] == sys.prefix
    assert {finding.subject: finding.verdict for finding in examine()} == dict.fromkeys(
        ("home", "python", "torch", "vllm", "devices", "disk", "redis", "database", "worker", "dashboard"), Verdict.OK
    )

    os.kill(first["dashboard"]["pid"], signal.SIGKILL)
    until(lambda: not processes.alive(first["dashboard"]["pid"], first["dashboard"]["started"]))
    assert stack.up(quiet.append) == address
    second = recorded()
    assert (second["redis"], second["worker"]) == (first["redis"], first["worker"])
    assert second["dashboard"]["pid"] != first["dashboard"]["pid"]
    with pytest.raises(StoreError, match="already runs at port"):
        stack.up(quiet.append, port=free_port())

    until(lambda: look(run_id).step > 2)
    queued = runs.submit(RunConfig.model_validate(look(run_id).config))
    stack.down(quiet.append)
    run = look(run_id)
    assert (run.status, run.reason) == (Status.STOPPED, "the stack was shut down")
    assert f"run {run_id} (finish) stopped at step {run.step} of 5000" in quiet
    assert look(queued).status == Status.QUEUED
    assert recorded() == {}
    for record in second.values():
        assert not processes.alive(record["pid"], record["started"])


@pytest.mark.slow
def test_down_ends_a_run_whose_supervisor_died(
    quiet: list[str], claimed: Callable[..., int], start_supervisor: Callable[[int], subprocess.Popen[bytes]]
) -> None:
    run_id = claimed(steps=5000)
    supervisor = start_supervisor(run_id)
    until(lambda: look(run_id).step > 2)
    supervisor.kill()
    supervisor.wait()
    attempt = look(run_id).attempts[0]
    stack.down(quiet.append)
    assert look(run_id).status == Status.STOPPED
    assert not processes.alive(attempt.trainer_pid, attempt.trainer_started)


def test_down_says_that_a_run_could_not_be_ended_and_ends_it_once_the_database_is_back(
    quiet: list[str], home: Path, claimed: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = claimed()
    store.engine().dispose()
    store._engine.cache_clear()
    monkeypatch.setattr("db.engine._BUSY_TIMEOUT_MS", 50)
    monkeypatch.setattr(stack, "PATIENCE", 0.0)
    with contextlib.closing(sqlite3.connect(home / "mtprl.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            StoreError, match=rf"run {run_id} \(finish\) could not be ended.*locked.*`mtprl down` again"
        ):
            stack.down(quiet.append)
        connection.execute("ROLLBACK")
    assert not any(line.startswith(f"run {run_id}") for line in quiet)
    stack.down(quiet.append)
    assert look(run_id).status == Status.STOPPED


def test_down_in_a_folder_that_is_not_there_makes_none(
    quiet: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MTPRL_HOME", str(tmp_path / "mistyped"))
        stack.down(quiet.append)
    assert quiet == [f"nothing was ever started in {tmp_path / 'mistyped'}"]
    assert not (tmp_path / "mistyped").exists()


def test_down_sends_no_signal_to_a_process_that_took_the_place_of_a_recorded_one(quiet: list[str], home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        stack._save(settings.settings(), {"redis": {"pid": other.pid, "started": 1.0, "log": "", "facts": {}}})
        stack.down(quiet.append)
        assert other.poll() is None
        other.kill()


def test_a_worker_of_another_environment_is_said(home: Path) -> None:
    of, this = settings.settings(), processes.this_process()
    stack._save(of, {"worker": {**this._asdict(), "environment": sys.prefix, "log": "", "facts": {}}})
    assert services.worker_elsewhere(of) is None
    with store.writing() as connection:
        worker_heartbeat(connection, "w", "host", 1, ["cpu:0"], time.time())
    assert {found.subject: found.verdict for found in examine()}["worker"] == Verdict.OK

    stack._save(of, {"worker": {**this._asdict(), "environment": "/elsewhere/.venv-vllm", "log": "", "facts": {}}})
    said = services.worker_elsewhere(of) or ""
    assert said.startswith("the worker runs with the Python of /elsewhere/.venv-vllm, and so does every run")
    assert said.endswith("`mtprl down` first, then `mtprl up` from here")
    worker = {found.subject: found for found in examine()}["worker"]
    assert (worker.verdict, worker.words.endswith(said)) == (Verdict.WARN, True)


@pytest.mark.skipif(installed_version() is not None, reason="vllm is installed here")
def test_the_doctor_says_that_vllm_is_not_there_without_minding(home: Path) -> None:
    vllm = {found.subject: found for found in examine()}["vllm"]
    assert (vllm.verdict, vllm.words[:24]) == (Verdict.OK, "not in this environment ")


def test_a_service_that_does_not_come_up_takes_the_others_with_it(
    quiet: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stack._worker

    def broken(*arguments: Any) -> Any:
        service = real(*arguments)
        return type(service)(
            **{**vars(service), "command": [sys.executable, "-c", "raise SystemExit('no such thing')"]}
        )

    monkeypatch.setattr(stack, "_worker", broken)
    with pytest.raises(StoreError, match=r"worker ended at once with exit code 1(.|\n)*no such thing"):
        stack.up(quiet.append)
    assert recorded() == {}
    assert any("redis answers" in line for line in quiet)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_up_that_is_ended_while_it_starts_leaves_nothing_that_down_does_not_end(
    quiet: list[str], home: Path, number: signal.Signals
) -> None:
    # Where the tests themselves run under nohup, SIGHUP is ignored and children inherit that: a terminal's is not.
    code = f"""
import os, signal, sys
from pathlib import Path
from backend import services, stack
signal.signal(signal.SIGHUP, signal.SIG_DFL)
stack._redis = lambda of, running: None
stack._worker = lambda of, running: services.Service(
    name="worker", command=[sys.executable, "-c", "import time; time.sleep(600)"], environment=os.environ,
    log=Path({str(home / "worker.log")!r}), answers=lambda _: False, seconds=600,
)
stack.up(print)
"""
    with subprocess.Popen([sys.executable, "-c", code], env=settings.environment()) as process:
        worker = until(lambda: recorded().get("worker"), 60)
        assert processes.alive(worker["pid"], worker["started"])
        process.send_signal(number)
        process.wait(60)
    if number == signal.SIGKILL:  # which nobody can answer to; what was written down is enough to end it
        stack.down(quiet.append)
    assert not processes.alive(worker["pid"], worker["started"])
    assert recorded() == {}


@pytest.mark.slow
def test_in_the_foreground_ctrl_c_takes_everything_down(home: Path) -> None:
    # Where the tests themselves run in the background of a shell, SIGINT is ignored and children inherit that: a terminal's is not.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "sys.argv = ['mtprl', 'up', '--foreground']; from backend.cli import main; main()"
    )
    log = home / "foreground.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=output,
            stderr=output,
            env=settings.environment(),
            start_new_session=True,
        )
    until(lambda: "Ctrl-C takes everything down" in log.read_text(), 60)
    records = recorded()
    # Ctrl-C reaches every process of the terminal's group; the services are in sessions of their own.
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 0
    assert len(records) == 3
    for record in records.values():
        assert not processes.alive(record["pid"], record["started"])
    assert recorded() == {}
