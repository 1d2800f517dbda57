"""The event file: one line per event, whatever the values, the disk or an earlier crash did."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer.events import EVENTS_FILE, JsonlSink, MemorySink, NullSink, decode_number, encode_number, parse_lines


def read(folder: Path) -> list[dict[str, Any] | None]:
    return [event for event, _ in parse_lines((folder / EVENTS_FILE).read_bytes())]


def steps(folder: Path) -> list[int | None]:
    """The step of every line, None for a damaged one."""
    return [None if event is None else event["step"] for event in read(folder)]


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """A disk with room for files of `size` bytes: a longer write is cut there, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-320, 1.7976931348623157e308, 0.1, math.inf, -math.inf, math.nan])
def test_every_number_survives_the_way_through_json(value):
    copy = decode_number(json.loads(json.dumps(encode_number(value), allow_nan=False)))
    assert (
        math.isnan(copy) if math.isnan(value) else (copy == value and math.copysign(1, copy) == math.copysign(1, value))
    )


def test_text_is_no_number_unless_it_names_a_non_finite_one():
    with pytest.raises(ValueError, match="'inf' is no number"):
        decode_number("inf")


def test_an_event_is_one_line_of_strict_json_with_its_envelope(tmp_path):
    sink = JsonlSink(tmp_path, attempt=3)
    sink.emit(
        "metrics", step=7, mini_batch=2, values={"mtp/coefficient": 0.5, "mtp/c_hat": math.nan, "mtp/v2_hat": math.inf}
    )
    sink.close()
    (line,) = (tmp_path / EVENTS_FILE).read_text().splitlines()
    event = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert event.pop("time") > 1.7e9
    assert event == {
        "type": "metrics",
        "attempt": 3,
        "step": 7,
        "mini_batch": 2,
        "values": {"mtp/coefficient": 0.5, "mtp/c_hat": "NaN", "mtp/v2_hat": "Infinity"},
    }


def test_text_of_any_kind_stays_on_its_line_and_comes_back(tmp_path):
    texts = ["two\nlines\r\n", "\x00\x1f\x7f", "  \x85", "é漢😀", '"quoted" \\ back']
    sink = JsonlSink(tmp_path, 1)
    sink.emit("completions", step=1, items=[{"completion": text} for text in texts])
    sink.close()
    (event,) = read(tmp_path)
    assert event is not None
    assert [item["completion"] for item in event["items"]] == texts


def test_half_a_character_in_text_or_name_is_replaced_and_not_fatal(tmp_path):
    sink = JsonlSink(tmp_path, 1)
    sink.emit("completions", step=1, items=[{"comp\udc80": "x\udfffy"}])
    sink.close()
    (event,) = read(tmp_path)
    assert event is not None
    assert event["items"] == [{"comp?": "x?y"}]


def test_an_event_is_readable_as_soon_as_it_is_emitted(tmp_path):
    sink = JsonlSink(tmp_path, 1)
    for step in range(3):
        sink.emit("stage", step=step, stage="update")
        assert steps(tmp_path) == list(range(step + 1))
    sink.close()


def test_a_second_attempt_appends(tmp_path):
    for attempt in (1, 2):
        sink = JsonlSink(tmp_path, attempt)
        sink.emit("stage", step=attempt, stage="update")
        sink.close()
    assert [event and event["attempt"] for event in read(tmp_path)] == [1, 2]


def test_a_line_left_half_written_damages_only_itself(tmp_path):
    (tmp_path / EVENTS_FILE).write_bytes(b'{"type":"stage","step":1}\n{"type":"met')
    sink = JsonlSink(tmp_path, 2)
    sink.emit("stage", step=2, stage="update")
    sink.emit("stage", step=3, stage="update")
    sink.close()
    assert steps(tmp_path) == [1, None, 2, 3]


def test_a_sink_that_cannot_open_says_so_at_once(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        JsonlSink(tmp_path / "absent", 1)


def test_a_full_disk_stops_nothing_and_the_loss_is_counted(tmp_path):
    (tmp_path / EVENTS_FILE).symlink_to("/dev/full")
    sink = JsonlSink(tmp_path, 1)
    for step in range(3):
        sink.emit("stage", step=step, stage="update")
        assert sink.dropped == step + 1
    sink.close()


def test_what_a_full_disk_swallowed_is_reported_once_there_is_room_again(tmp_path):
    sink = JsonlSink(tmp_path, 1)
    sink.emit("stage", step=1, stage="update")
    with files_end_at((tmp_path / EVENTS_FILE).stat().st_size + 10):  # the next line is cut after 10 bytes
        sink.emit("stage", step=2, stage="update")
        sink.emit("stage", step=3, stage="update")
        assert sink.dropped == 2
    sink.emit("stage", step=4, stage="update")
    sink.emit("stage", step=5, stage="update")
    sink.close()
    first, torn, alarm, *rest = read(tmp_path)
    assert first is not None
    assert alarm is not None
    assert (first["step"], torn, [event and event["step"] for event in rest]) == (1, None, [4, 5])
    assert (alarm["type"], alarm["name"], alarm["step"], alarm["mini_batch"]) == ("alarm", "events_dropped", 4, -1)
    assert alarm["message"] == "2 events could not be written and are lost"


def test_a_loss_that_nobody_could_be_told_of_is_reported_on_closing(tmp_path):
    sink = JsonlSink(tmp_path, 1)
    with files_end_at(0):
        sink.emit("ended", step=9, outcome="finished")
    sink.close()
    (alarm,) = read(tmp_path)
    assert alarm is not None
    assert (alarm["name"], alarm["step"]) == ("events_dropped", 9)


def test_a_killed_writer_loses_nothing_that_it_emitted(tmp_path):
    code = (
        "import os, sys, pathlib; from trainer.events import JsonlSink\n"
        "sink = JsonlSink(pathlib.Path(sys.argv[1]), 1)\n"
        "[sink.emit('stage', step=step, stage='update') for step in range(50)]\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert steps(tmp_path) == list(range(50))


def test_lengths_lead_from_line_to_line_and_stop_before_one_that_still_grows():
    data = '{"type":"a","x":"é"}\n\nnot json\n[1]\n{"no":"type"}\n{"type":"b"}\n{"type":"gro'.encode()
    parsed = list(parse_lines(data))
    assert [event and event["type"] for event, _ in parsed] == ["a", None, None, None, None, "b"]
    assert data[sum(length for _, length in parsed) :] == b'{"type":"gro'


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[" * 200_000, b'{"type":' * 100_000, b"1" * 10_000, b"\x00"])
def test_a_hostile_line_is_torn_and_not_fatal(line):
    assert list(parse_lines(line + b"\n")) == [(None, len(line) + 1)]


def test_the_memory_sink_keeps_what_a_file_would_hold():
    sink = MemorySink(attempt=2)
    sink.emit("metrics", step=1, mini_batch=0, values={"mtp/c_hat": math.inf, "other": 1.0})
    sink.emit("metrics", step=1, values={"mtp/c_hat": 2})
    sink.emit("stage", step=1, stage="update")
    sink.close()
    assert sink.events[0]["values"]["mtp/c_hat"] == "Infinity"
    assert sink.series("mtp/c_hat") == [(1, 0, math.inf), (1, -1, 2.0)]


def test_the_null_sink_drops_everything():
    sink = NullSink()
    sink.emit("metrics", step=1, values={"a": object()})
    sink.close()


def test_closing_forces_the_lines_to_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    sink = JsonlSink(tmp_path, 1)
    sink.close()
    assert len(synced) == 1
