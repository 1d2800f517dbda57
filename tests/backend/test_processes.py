"""Processes by identity and devices by name."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backend_harness import until

from backend import devices, processes
from backend.processes import Process
from backend.settings import environment, settings
from backend.trainer_process import TrainerProcess

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = processes.start([sys.executable, "-c", SLEEP, "--output", str(tmp_path)], tmp_path / "log", os.environ)
    yield process
    process.kill()
    process.wait()


def test_a_process_is_known_by_its_start_time_too(sleeper: subprocess.Popen[bytes]) -> None:
    process = processes.identify(sleeper.pid)
    assert process is not None
    assert processes.alive(*process)
    assert not processes.alive(process.pid, process.started + 1)


def test_a_process_that_is_not_the_same_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    process = processes.identify(sleeper.pid)
    assert process is not None
    assert not processes.terminate(Process(process.pid, process.started - 1), grace=0)
    assert processes.alive(*process)
    assert processes.terminate(process, grace=5)
    assert not processes.alive(*process)


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    until(lambda: processes.identify(sleeper.pid) is None)
    assert sleeper.returncode is None


def test_a_started_process_leads_a_group_of_its_own(sleeper: subprocess.Popen[bytes]) -> None:
    assert processes.group_members(sleeper.pid) == [sleeper.pid]
    assert os.getsid(sleeper.pid) == sleeper.pid


def test_a_trainer_is_found_by_its_mark_and_not_one_of_its_children(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True); time.sleep(60)"
    trainer = TrainerProcess.start([sys.executable, "-c", code], tmp_path, 2, environment())
    until(lambda: len(trainer._left()) == 2)
    found = TrainerProcess.find(tmp_path, 2)
    assert found is not None
    assert found.identity == trainer.identity
    assert TrainerProcess.find(tmp_path, 1) is None
    trainer.stop(grace=0)
    until(lambda: trainer.stop(grace=0) or not trainer.lives())
    assert not trainer.all_gone()
    until(trainer.all_gone)


def test_a_child_in_a_group_of_its_own_does_not_outlive_its_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.trainer_process.LEFTOVERS", 0.3)
    code = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True).pid)"
    trainer = TrainerProcess.start([sys.executable, "-c", code], tmp_path, 1, environment())
    until(lambda: not trainer.lives())
    child = processes.identify(int((tmp_path / "trainer.log").read_text()))
    assert child is not None
    assert not trainer.all_gone()
    until(trainer.all_gone)
    assert not processes.alive(*child)


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program nvidia-smi that lists two GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-aaaa'\necho '1, GPU-bbbb'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["cuda:0", "cuda:1"]),
        ("1", ["cuda:1"]),
        ("GPU-bbbb,0", ["cuda:1", "cuda:0"]),
        ("7,0", ["cpu:0", "cpu:1"]),
        ("", ["cpu:0", "cpu:1"]),
    ],
)
def test_devices_are_the_visible_gpus_else_slots(
    gpus: None, monkeypatch: pytest.MonkeyPatch, visible: str | None, names: list[str]
) -> None:
    monkeypatch.setenv("MTPRL_CPU_SLOTS", "2")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.devices(settings()) == names


def test_each_trainer_sees_its_devices_only_and_its_share_of_the_cores() -> None:
    assert devices.environment_for(["cuda:3", "cuda:0"], total=2)["CUDA_VISIBLE_DEVICES"] == "3,0"
    assert devices.environment_for(["cpu:1"], total=10_000) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
