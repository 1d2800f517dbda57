"""`python -m trainer` in two processes: the run of one process, one end for all, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from trainer.config import RunConfig, dump, parse
from trainer.errors import TrainingError
from trainer.events import MemorySink, decode_number, parse_lines
from trainer.launch.device import accelerator_for, join
from trainer.launch.ending import End, to_its_end
from trainer.loop import train
from trainer.manifest import flaw
from trainer.work import work_of

ROOT = Path(__file__).parents[3]
METRICS = {"rel": 2e-3, "abs": 1e-6}
"""After several steps of Adam, which makes much of gradients that are almost 0."""


def in_processes(config: RunConfig, count: int, sharding: str = "none", **sections: dict) -> RunConfig:
    launch = {"num_processes": count, "sharding": sharding}
    return parse({**config.model_dump(mode="json"), **sections, "launch": launch})


@contextmanager
def program(config: RunConfig, folder: Path) -> Iterator[subprocess.Popen]:
    """The program in a session and process group of its own, as a supervisor starts it."""
    folder.mkdir(exist_ok=True)
    given = folder.with_suffix(".yaml")
    given.write_text(dump(config))
    command = [sys.executable, "-m", "trainer", str(given), "--output", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            for left in in_group(process.pid):
                left.kill()


def in_group(group: int) -> list[psutil.Process]:
    """The living processes of a group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue
    return found


def await_(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def rank(launcher: int, number: int) -> psutil.Process:
    """One of the launcher's processes."""
    for child in psutil.Process(launcher).children():
        if child.environ().get("RANK") == str(number):
            return child
    raise LookupError(number)


def events(folder: Path) -> list[dict]:
    path = folder / "events.jsonl"
    lines = list(parse_lines(path.read_bytes())) if path.exists() else []
    return [event for event, _ in lines if event is not None]


def has_made(folder: Path, step: int) -> Callable[[], bool]:
    return lambda: any(event["type"] == "metrics" and event["step"] >= step for event in events(folder))


def measured(found: list[dict]) -> dict[tuple, float]:
    return {
        (event["step"], event["mini_batch"], name): decode_number(value)
        for event in found
        if event["type"] == "metrics"
        for name, value in event["values"].items()
        if not name.startswith(("time/", "system/")) and not name.endswith("tokens_per_second")
    }


def assert_same_run(found: list[dict], expected: list[dict]) -> None:
    mine, theirs = measured(found), measured(expected)
    assert mine.keys() == theirs.keys()
    for key, value in mine.items():
        assert value == pytest.approx(theirs[key], **METRICS, nan_ok=True), key


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_a_run_in_two_processes_is_the_run_of_one_and_goes_on_in_one(tiny_run, tmp_path, sharding):
    sections = {"audit": {"every": 1, "prompts": 3}, "checkpoint": {"every": 3, "keep": 5}}
    config = in_processes(tiny_run, 2, sharding, **sections)
    alone = MemorySink()
    assert train(in_processes(config, 1), tmp_path / "alone", alone) == "finished"
    assert any(name == "audit/measured_change" for _, _, name in measured(alone.events))

    folder = tmp_path / "two"
    with program(config, folder) as process:
        await_(has_made(folder, 2))
        os.killpg(process.pid, signal.SIGTERM)
        _, said = process.communicate(timeout=200)
        assert process.returncode == 3, said
        assert in_group(process.pid) == []
    assert said.count("Stopping after this step") == 1
    assert not (folder / ".processes").exists()
    first = events(folder)
    assert [event["type"] for event in first].count("attempt_started") == 1
    assert (first[0]["processes"], first[0]["device"], first[0]["pid"]) == (2, "2 x cpu", process.pid)
    assert (first[-1]["type"], first[-1]["outcome"]) == ("ended", "stopped")
    stopped_at = first[-1]["step"]
    saved = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert saved[-1] == f"step-{stopped_at:06d}"
    assert [flaw(folder / "checkpoints" / name) for name in saved] == [None] * len(saved)

    again = shutil.copytree(folder, tmp_path / "again")
    rest = MemorySink(attempt=2)
    assert train(in_processes(config, 1), folder, rest) == "finished"
    assert rest.events[0]["resumed_from"] == stopped_at
    assert_same_run(first + rest.events, alone.events)
    if sharding == "full":  # what is divided is put back in parts
        with program(config, again) as process:
            _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
        assert_same_run(events(again), alone.events)


@pytest.mark.slow
def test_where_one_process_is_killed_all_end_with_its_reason_and_without_the_launcher_none_goes_on(tiny_run, tmp_path):
    config = in_processes(tiny_run, 2, steps=100_000, checkpoint={"every": 100_000})
    folder = tmp_path / "run"
    with program(config, folder) as process:
        await_(has_made(folder, 1))
        rank(process.pid, 1).kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        await_(lambda: in_group(process.pid) == [])  # a grader's worker ends with the process that it graded for
    reason = "process 2 of 2: was killed by signal 9 (SIGKILL); the machine may have run out of memory"
    assert said.splitlines()[-1] == f"failed: {reason}"
    found = events(folder)
    assert (found[-1]["type"], found[-1]["outcome"], found[-1]["message"]) == ("ended", "failed", reason)
    assert found[-1]["step"] == found[-2]["step"] > 0
    assert [event["type"] for event in found].count("ended") == 1

    with program(config, tmp_path / "orphans") as process:
        await_(lambda: len(psutil.Process(process.pid).children()) == 2)
        process.kill()
        await_(lambda: in_group(process.pid) == [])


@pytest.mark.slow
def test_what_no_process_can_do_is_said_once_and_a_stop_asked_of_one_stops_all(tiny_run, tmp_path):
    empty = tmp_path / "none.jsonl"
    empty.touch()
    config = in_processes(tiny_run, 2, data={"kind": "jsonl", "path": str(empty)})
    with program(config, tmp_path / "refused") as process:
        _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert said.count(f"{empty}: holds no problems") == 1
    with program(in_processes(tiny_run, 2, steps=100_000), tmp_path / "run") as process:
        await_(has_made(tmp_path / "run", 1))
        rank(process.pid, 1).terminate()
        assert process.wait(200) == 3
        assert in_group(process.pid) == []
    assert [event["outcome"] for event in events(tmp_path / "run") if event["type"] == "ended"] == ["stopped"]


def test_more_or_fewer_processes_than_asked_for_are_refused(tiny_run, monkeypatch, tmp_path):
    with pytest.raises(TrainingError, match=r"launch.num_processes: 2 asked for, but 1 started; start the run with"):
        accelerator_for(in_processes(tiny_run, 2))
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=r"launch.num_processes: 2 asked for, but 3 started"):
        join(in_processes(tiny_run, 2), f"file://{tmp_path}/meeting")


def test_every_end_has_an_outcome_words_and_an_exit_code(make_config, capsys):
    def out_of_memory() -> str:
        raise MemoryError

    def too_large() -> str:
        return str(torch.empty(2**60, dtype=torch.uint8))

    def too_large_for_the_gpu() -> str:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    def interrupted() -> str:
        raise KeyboardInterrupt

    def broken() -> str:
        raise ValueError("a bug")

    work = work_of(make_config())
    ends = [to_its_end(do, work) for do in (lambda: "finished", lambda: "stopped", interrupted, out_of_memory, broken)]
    assert to_its_end(too_large, work) == to_its_end(too_large_for_the_gpu, work) == ends[3]
    assert ends[0] == End("finished", "all steps done")
    assert ends[3].message.startswith("out of memory; lower update.micro_batch_sequences")
    assert [end.exit_code for end in ends] == [0, 3, 3, 1, 1]
    assert ends[-1].message == "ValueError: a bug"
    assert "Traceback" in capsys.readouterr().err
