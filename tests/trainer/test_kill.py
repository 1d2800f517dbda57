"""The program killed with SIGKILL, again and again: what it ends with is what an undisturbed run ends with, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from trainer.config import dump, parse
from trainer.events import parse_lines
from trainer.manifest import MANIFEST, flaw

ROOT = Path(__file__).parents[2]


@contextmanager
def program(config: Path, folder: Path, attempt: int) -> Iterator[subprocess.Popen]:
    command = [sys.executable, "-m", "trainer", str(config), "--output", str(folder), "--attempt", str(attempt)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors


def kill_at(process: subprocess.Popen, reached: Callable[[], bool]) -> None:
    """Kill it where `reached` holds: it is halted to look again, and goes on if the moment has passed meanwhile."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the moment never came: {process.stderr.read()}"
        if reached():
            process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if reached():
                process.kill()
                process.wait()
                return
            process.send_signal(signal.SIGCONT)
        time.sleep(0.001)
    raise AssertionError("the moment did not come in time")


def events(folder: Path) -> list[dict]:
    path = folder / "events.jsonl"
    data = path.read_bytes() if path.exists() else b""
    return [event for event, _ in parse_lines(data) if event is not None]


def during_update(folder: Path, attempt: int, step: int) -> bool:
    """Some, but not all of the mini-batches of a step from `step` on are done."""
    last = events(folder)[-1:]
    return any(
        event["attempt"] == attempt and event["step"] >= step and event["mini_batch"] in (0, 1, 2) for event in last
    )


def during(stage: str, folder: Path, attempt: int, step: int) -> bool:
    last = events(folder)[-1:]
    return any(event["attempt"] == attempt and event["step"] >= step and event.get("stage") == stage for event in last)


def during_save(folder: Path, complete: int) -> bool:
    """A checkpoint is being written, and as many others are there."""
    names = [path.name for path in (folder / "checkpoints").glob("*step-*")]
    return any(name.endswith(".partial") for name in names) and len(names) == complete + 1


def history(folder: Path) -> dict[tuple, object]:
    """What stands of metrics, completions and evaluations: what the latest attempt said that spoke of it."""
    stands: dict[tuple, object] = {}
    for event in events(folder):
        if event["type"] == "metrics":
            for name, value in event["values"].items():
                if not name.startswith(("time/", "system/")) and not name.endswith("tokens_per_second"):
                    stands[name, event["step"], event["mini_batch"]] = value
        elif event["type"] == "completions":
            for item in event["items"]:
                stands["completion", event["step"], item["prompt_id"], item["sample"]] = item
        elif event["type"] == "evaluation":
            stands["evaluation", event["step"], event["benchmark"]] = event["items"]
    return stands


def checkpoints(folder: Path) -> dict[str, str]:
    """Name and manifest, and with it the checksum of every file, of all that lies there."""
    found = sorted((folder / "checkpoints").iterdir())
    assert [flaw(path) for path in found] == [None] * len(found)
    return {path.name: (path / MANIFEST).read_text() for path in found}


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_is_the_undisturbed_run_bit_for_bit(tiny_run, tmp_path):
    values = tiny_run.model_dump(mode="json")
    values |= {"steps": 9, "checkpoint": {"every": 2, "keep": 1}}
    values["update"] |= {"epochs": 2}
    values["evaluation"] |= {"every": 3}
    config = tmp_path / "given.yaml"
    config.write_text(dump(parse(values)))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    moments = [
        lambda attempt: during_update(parts, attempt, 1),
        lambda attempt: during_save(parts, 0),
        lambda attempt: during_save(parts, 1),
        lambda attempt: during_update(parts, attempt, 5),
        lambda attempt: during("evaluating", parts, attempt, 6),
    ]
    with program(config, whole, 1) as undisturbed:
        for attempt, moment in enumerate(moments, start=1):
            with program(config, parts, attempt) as process:
                kill_at(process, lambda attempt=attempt, moment=moment: moment(attempt))
        with program(config, parts, len(moments) + 1) as process:
            finish(process)
        finish(undisturbed)

    assert history(parts) == history(whole)
    assert checkpoints(parts) == checkpoints(whole)
    newest = max(checkpoints(whole))
    state = torch.load(parts / "checkpoints" / newest / "state.pt", weights_only=True)
    assert (newest, state["updates"]) == ("step-000009", 9 * 4)
    assert state["parts"]["coefficient"] is not None
    resumed_from = [event["resumed_from"] for event in events(parts) if event["type"] == "attempt_started"]
    assert resumed_from[:2] == [None, None]
    assert len(resumed_from) == len(moments) + 1
    assert len(set(resumed_from)) > 2
    assert not any(event["type"] == "alarm" for event in events(parts))
