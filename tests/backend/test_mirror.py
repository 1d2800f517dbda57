"""The copy for TensorBoard: every value once, whatever is killed, and none that a resume has made void."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from backend_harness import until

from backend import settings, store
from backend.mirror import cursor, loop
from backend.mirror.loop import Mirror
from db import claims, ingest, reads, runs
from db.statuses import Status
from trainer.errors import StoreError

pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install tensorboard")


def begin(name: str, experiment: str = "demo") -> int:
    about = {"regime": "occ", "algorithm": "dapo", "seed": 0, "total_steps": 99, "preset": None, "now": 1.0}
    with store.writing() as connection:
        run = runs.create_run(connection, experiment=experiment, name=name, config={}, folder=name, **about)
        claims.claim_next(connection, host="here", devices=[f"cpu:{run}"], now=1.0)
    return run


def say(run: int, *events: dict[str, Any], attempt: int = 1) -> None:
    lines = [{"attempt": attempt, "time": 100.0 + one.get("step", 0), "mini_batch": -1, **one} for one in events]
    with store.writing() as connection:
        at = ingest.read_offset(connection, run, attempt)
        ingest.ingest(connection, run, lines, attempt=attempt, start=at, offset=at + 1, torn_lines=0)


def started(resumed_from: int | None = None) -> dict[str, Any]:
    step = resumed_from or 0
    return {
        "type": "attempt_started",
        "step": step,
        "pid": 1,
        "host": "here",
        "total_steps": 99,
        "resumed_from": resumed_from,
    }


def step(number: int, **values: float) -> dict[str, Any]:
    return {"type": "metrics", "step": number, "values": {"a": number / 7, **values}}


def finish(run: int, attempt: int = 1, status: Status = Status.FINISHED) -> None:
    with store.writing() as connection:
        claims.finish(connection, run_id=run, attempt=attempt, status=status, reason="", exit_code=0, now=9.0)


def again(run: int, attempt: int) -> None:
    values = {"config": {}, "total_steps": 99, "devices": 1, "priority": 0, "retries": 0, "reason": ""}
    with store.writing() as connection:
        assert runs.resume(connection, run, attempt=attempt, now=9.0, **values)
        claims.claim_next(connection, host="here", devices=[f"cpu:{run}"], now=9.0)


def written(folder: Path) -> list[tuple[str, int, float]]:
    """All values of the event files, those that were taken back apart, in their order."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    found: list[tuple[str, int, float]] = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        for raw in RawEventFileLoader(str(path)).Load():
            event = Event.FromString(raw)
            if event.HasField("session_log"):
                found = [one for one in found if one[1] < event.step]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def stored(run: int) -> list[tuple[str, int, float]]:
    with store.reading() as connection:
        rows = list(reads.export_rows(connection, run, whole_steps=True))
    return [(row.metric, row.step, row.value) for row in rows]


def same(left: list[tuple[str, int, float]], right: list[tuple[str, int, float]]) -> bool:
    """Equal but for the rounding to 32 bits, and each once."""
    a, b = (sorted(values, key=lambda one: one[:2]) for values in (left, right))
    return [one[:2] for one in a] == [one[:2] for one in b] and all(
        (math.isnan(x[2]) and math.isnan(y[2])) or x[2] == pytest.approx(y[2], rel=1e-6)
        for x, y in zip(a, b, strict=True)
    )


def test_every_value_is_copied_once_as_soon_as_its_step_is_complete(home: Path, tmp_path: Path) -> None:
    run, copy = begin("r"), Mirror(tmp_path / "tb")
    say(run, started(), step(0), step(1), step(2, b=math.nan))
    assert copy.look() == 1
    assert Counter(one[1] for one in written(tmp_path / "tb")) == {0: 1, 1: 1}
    assert copy.look() == 0
    say(run, {"type": "metrics", "step": 2, "values": {"eval/x": 0.5}}, step(3))
    say(run, {"type": "metrics", "step": 3, "mini_batch": 0, "values": {"fine": 0.5}})
    assert copy.look() == 1
    finish(run)
    assert Mirror(tmp_path / "tb").look() == 1
    assert same(written(tmp_path / "tb"), [one for one in stored(run) if one[0] != "fine"])
    assert Mirror(tmp_path / "tb").look() == 0


def test_what_a_killed_mirror_left_behind_its_cursor_is_cut_off(home: Path, tmp_path: Path) -> None:
    run = begin("r")
    say(run, started(), *map(step, range(6)))
    Mirror(tmp_path).look()
    [file] = tmp_path.rglob("events.out.tfevents.*")
    whole = file.read_bytes()
    say(run, *map(step, range(6, 9)))
    finish(run)
    file.write_bytes(whole + whole[-30:])
    Mirror(tmp_path).look()
    assert same(written(tmp_path), stored(run))
    file.write_bytes(whole[:40])  # a disk that lost what it had
    Mirror(tmp_path).look()
    assert same(written(tmp_path), stored(run))


@pytest.mark.parametrize("seen", [False, True])
def test_a_resume_takes_back_what_is_trained_again(home: Path, tmp_path: Path, seen: bool) -> None:
    run, copy = begin("r"), Mirror(tmp_path)
    say(run, started(), *map(step, range(8)))
    finish(run, status=Status.STOPPED)
    copy.look()
    again(run, 1)
    copy.look()  # claimed, and nothing heard of it yet
    assert same(written(tmp_path), stored(run))
    say(run, started(3), attempt=2)
    if seen:
        copy.look()
        assert max(one[1] for one in written(tmp_path)) == 3
    say(run, *(step(number, again=1.0) for number in range(4, 7)), attempt=2)
    finish(run, attempt=2)
    copy.look()
    assert same(written(tmp_path), stored(run))
    assert ("again", 6, 1.0) in written(tmp_path)


def test_two_resumes_between_looks_take_back_what_either_trained_again(home: Path, tmp_path: Path) -> None:
    run, copy = begin("r"), Mirror(tmp_path)
    say(run, started(), *map(step, range(8)))
    finish(run, status=Status.STOPPED)
    copy.look()
    for attempt, stayed in ((2, 2), (3, 5)):
        again(run, attempt - 1)
        say(run, started(stayed), *(step(stayed + n, again=attempt) for n in (1, 2, 3)), attempt=attempt)
        finish(run, attempt=attempt, status=Status.STOPPED)
    copy.look()
    assert same(written(tmp_path), stored(run))


def test_a_run_that_begins_from_nothing_again_takes_all_back(home: Path, tmp_path: Path) -> None:
    run, copy = begin("r"), Mirror(tmp_path)
    say(run, started(), *map(step, range(4)))
    finish(run, status=Status.FAILED)
    copy.look()
    again(run, 1)
    say(run, started(), step(0, again=1.0), attempt=2)
    finish(run, attempt=2)
    copy.look()
    assert same(written(tmp_path), stored(run))


def test_long_runs_are_copied_piece_by_piece_and_only_those_of_the_experiment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_STEPS", 7)
    run, other = begin("a/b: c", "mine"), begin("other", "another")
    for one in (run, other):
        say(one, started(), *map(step, range(40)))
        finish(one)
    assert Mirror(tmp_path, "mine").look() == 1
    assert [path.parent.name for path in tmp_path.rglob("events.*")] == [f"{run:05d}-a-b-c"]
    assert same(written(tmp_path), stored(run))


def test_tensorboard_reads_it(home: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = begin("r")
    say(run, started(), *map(step, range(5)))
    finish(run, status=Status.STOPPED)
    Mirror(tmp_path).look()
    again(run, 1)
    say(run, started(2), step(3), attempt=2)
    finish(run, attempt=2)
    Mirror(tmp_path).look()
    seen = EventAccumulator(str(next(tmp_path.rglob("events.*")).parent))
    seen.Reload()
    assert [(one.step, round(7 * one.value)) for one in seen.Scalars("a")] == [(0, 0), (1, 1), (2, 2), (3, 3)]


def test_a_folder_has_one_mirror_of_one_store(home: Path, tmp_path: Path) -> None:
    with cursor.only_mirror(tmp_path, "sqlite:///a"):
        code = f"from backend.mirror import cursor\nfrom pathlib import Path\nwith cursor.only_mirror(Path({str(tmp_path)!r}), 'sqlite:///a'): pass"
        held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings.environment())
    assert "another mirror is writing there" in held.stderr
    with (
        pytest.raises(StoreError, match="holds a copy of another store \\(sqlite:///a, not sqlite:///b\\)"),
        cursor.only_mirror(tmp_path, "sqlite:///b"),
    ):
        pass


@pytest.mark.slow
def test_a_mirror_that_is_killed_again_and_again_copies_every_value_once(home: Path, tmp_path: Path) -> None:
    run = begin("r")
    say(run, started())
    command = [
        str(Path(sys.executable).with_name("mtprl")),
        "mirror",
        "tensorboard",
        "--logdir",
        str(tmp_path),
        "--every",
        "0.5",
    ]
    for first in (0, 90):
        process = subprocess.Popen(command, env=settings.environment(), stdout=subprocess.DEVNULL)
        for place in range(first, first + 90, 30):
            say(run, *map(step, range(place, place + 30)))
            until(lambda place=place: max((one[1] for one in written(tmp_path)), default=-1) >= place)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finish(run)
    subprocess.run([*command, "--once"], env=settings.environment(), check=True, stdout=subprocess.DEVNULL)
    assert same(written(tmp_path), stored(run))
