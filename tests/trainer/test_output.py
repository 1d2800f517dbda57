"""A log that cannot be written, as on a full disk, takes no training with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.config import dump
from trainer.events import parse_lines

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here, which stands for a full disk")


def test_prints_that_find_no_room_are_lost_and_raise_nothing() -> None:
    lines = [
        "import sys, trainer.output",
        "trainer.output.never_fail_to_print()",
        "print('lost')",
        "print('lost', file=sys.stderr, flush=True)",
    ]
    with open(FULL, "w") as full:
        done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, stdout=full, stderr=full)
    assert done.returncode == 0


def test_prints_that_find_room_are_written_at_once() -> None:
    lines = [
        "import os, sys, trainer.output",
        "trainer.output.never_fail_to_print()",
        "print('ö', end='')",
        "os._exit(0)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, "ö")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_training_whose_log_finds_no_room_goes_on_to_its_end(tiny_run, tmp_path: Path, processes: int) -> None:
    launch = tiny_run.launch.model_copy(update={"num_processes": processes})
    config = tmp_path / "given.yaml"
    config.write_text(dump(tiny_run.model_copy(update={"steps": 2, "launch": launch})))
    command = [sys.executable, "-m", "trainer", str(config), "--output", str(tmp_path / "run")]
    with open(FULL, "w") as full:
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=full, stderr=full)
    assert done.returncode == 0
    last = [event for event, _ in parse_lines((tmp_path / "run" / "events.jsonl").read_bytes())][-1]
    assert last is not None
    assert (last["type"], last["outcome"]) == ("ended", "finished")
