"""`python -m trainer` as a process: signals, exit codes, and one writer."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.__main__ import main
from trainer.config import RunConfig, dump
from trainer.errors import TrainingError
from trainer.events import parse_lines
from trainer.folder import only_writer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tiny_run):
    return tiny_run


@pytest.mark.parametrize("blocked", ["", ".lock", "events.jsonl", ".config.yaml.partial"])
def test_an_output_folder_that_cannot_be_written_is_refused_in_words(config, tmp_path, monkeypatch, capsys, blocked):
    (tmp_path / "given.yaml").write_text(dump(config))
    output = tmp_path / "run"
    if blocked:
        (output / blocked).mkdir(parents=True)
    else:
        output.write_text("a file")
    monkeypatch.setattr("sys.argv", ["trainer", str(tmp_path / "given.yaml"), "--output", str(output)])
    assert main() == 1
    assert capsys.readouterr().err.startswith(f"{output / blocked}: cannot be written (")


def start(config: RunConfig, folder: Path) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    (folder / "given.yaml").write_text(dump(config))
    command = [sys.executable, "-m", "trainer", str(folder / "given.yaml"), "--output", str(folder)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True
    )


def events(folder: Path) -> list[dict]:
    path = folder / "events.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return [event for event, _ in parse_lines(data) if event is not None]


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_and_the_same_command_goes_on(config, tmp_path):
    long = config.model_copy(update={"steps": 2000})
    process = start(long, tmp_path / "run")
    deadline = time.monotonic() + 120
    while not any(event["type"] == "metrics" and event["step"] >= 2 for event in events(tmp_path / "run")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    ended = events(tmp_path / "run")[-1]
    assert (ended["type"], ended["outcome"]) == ("ended", "stopped")
    done = max(event["step"] for event in events(tmp_path / "run"))
    process = start(long.model_copy(update={"steps": done + 1}), tmp_path / "run")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert events(tmp_path / "run")[-1]["outcome"] == "finished"
    assert f"from the checkpoint of step {done}" in errors
    assert f"step {done + 1}/{done + 1}: reward " in errors
    assert "step-" in errors


def test_a_folder_has_one_writer(config, tmp_path):
    with (
        only_writer(tmp_path),
        pytest.raises(TrainingError, match="another trainer is writing there"),
        only_writer(tmp_path),
    ):
        pass
    with only_writer(tmp_path):  # free again
        pass


@pytest.mark.slow
def test_a_failure_ends_with_its_reason_in_words(config, tmp_path):
    (tmp_path / "train.jsonl").write_text("not json\n")
    process = start(config, tmp_path / "run")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    ended = events(tmp_path / "run")[-1]
    assert ended["outcome"] == "failed"
    assert "train.jsonl, line 1: is not valid JSON" in ended["message"]
    assert "Traceback" not in errors
