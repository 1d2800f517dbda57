"""Events: what a run writes, one JSON object per line, into `events.jsonl` of its folder.

The file is append-only and has one writer, the trainer; whoever is interested reads it (the supervisor carries it into the
store). Every event has `type`, `attempt`, `step`, `mini_batch` (-1 for values of a whole step) and `time` (seconds since the
epoch). JSON has no NaN or infinity: such values stand as the strings "NaN", "Infinity" and "-Infinity".

    attempt_started   pid, host, total_steps, resumed_from (step of the checkpoint, or null), processes, threads (of each process),
                      device, versions
    stage             stage: loading | evaluating | rollout | update | checkpointing
    metrics           values: {name: number}
    completions       items: [{prompt_id, sample, problem, answer, completion, reward, advantage, correct, extracted, reason,
                      tokens, truncated, by_token: {texts, log_probs, mtp_log_probs, agrees}}]; by_token has a list entry per token,
                      before the update: its text (empty where it ends no character), its log-prob, that of MTP depth 1, and whether
                      depth 1 has the same most likely token (1 or 0); null where depth 1 predicts none
    evaluation        benchmark, samples, temperature, top_p, top_k (0: all), stop (texts that end a response), engine: builtin | vllm,
                      max_tokens, revision (of the problems), grader (its version),
                      items: [{id, outcomes: [0 or 1 per sample]}], where the texts are kept also with problem, answer and
                      samples: [{completion, tokens, truncated, extracted, reason}]; adds: true where the items stand beside those
                      of earlier events, false where they take their place
    checkpoint        path, relative to the run folder; where the step was evaluated, best: is it the best that is kept
    alarm             severity: warning | info (a warning of this name is over) | error, name, message
    ended             outcome: finished | stopped | failed, message

After a resume, `attempt_started` with `resumed_from: s` makes what earlier attempts said of steps above s void.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

EVENTS_FILE = "events.jsonl"
STEP_LEVEL = -1

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def encode_number(value: float) -> float | str:
    """A number as JSON can hold it."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def decode_number(value: float | str) -> float:
    """The inverse of `encode_number`.

    Raises:
        ValueError: a string other than "NaN", "Infinity" and "-Infinity".
    """
    if isinstance(value, str):
        if value not in _NON_FINITE:
            raise ValueError(f"{value!r} is no number; expected a JSON number or one of {sorted(_NON_FINITE)}")
        return _NON_FINITE[value]
    return float(value)


class Sink(Protocol):
    """Where a run's events go."""

    def emit(self, type: str, *, step: int, mini_batch: int = STEP_LEVEL, **fields: Any) -> None:
        """Record one event."""

    def close(self) -> None:
        """Write out what is pending; nothing may be emitted afterwards."""


class NullSink:
    """Drops every event: for code that needs a sink and nobody who reads it."""

    def emit(self, type: str, *, step: int, mini_batch: int = STEP_LEVEL, **fields: Any) -> None:
        """Drop the event."""

    def close(self) -> None:
        """Do nothing."""


class MemorySink:
    """Keeps events as mappings in `events`: for notebooks and tests."""

    def __init__(self, attempt: int = 1):
        self.attempt = attempt
        self.events: list[dict[str, Any]] = []

    def emit(self, type: str, *, step: int, mini_batch: int = STEP_LEVEL, **fields: Any) -> None:
        """Keep the event, exactly as a file would hold it."""
        self.events.append(json.loads(_line(type, self.attempt, step, mini_batch, fields)))

    def close(self) -> None:
        """Do nothing."""

    def series(self, name: str) -> list[tuple[int, int, float]]:
        """All values of one metric as (step, mini_batch, value)."""
        return [
            (event["step"], event["mini_batch"], decode_number(event["values"][name]))
            for event in self.events
            if event["type"] == "metrics" and name in event["values"]
        ]


class JsonlSink:
    """Appends to `events.jsonl` in `folder`.

    A line that an earlier attempt left half-written is closed with a newline first, so that it damages no line but itself.
    A sink that was asked for must open; a write that fails later (a full disk) does not stop training: it is tried again
    with the next event, and what had to be dropped is counted in `dropped` and reported once writing works again, on closing at the latest.
    """

    def __init__(self, folder: Path, attempt: int):
        self.attempt = attempt
        self.dropped = 0
        self.step = 0
        """The step of the last event."""
        self._file: IO[bytes] = open(folder / EVENTS_FILE, "ab", buffering=0)  # noqa: SIM115 - lives as long as the sink
        self._torn = _ends_without_newline(folder / EVENTS_FILE)

    def emit(self, type: str, *, step: int, mini_batch: int = STEP_LEVEL, **fields: Any) -> None:
        """Append the event and hand it to the operating system at once."""
        self.step = step
        line = _line(type, self.attempt, step, mini_batch, fields)
        if not (self._report_dropped() and self._write(line)):
            self.dropped += 1

    def _report_dropped(self) -> bool:
        """Write how many events are lost, if any are; False where even that cannot be written."""
        if self.dropped:
            message = f"{self.dropped} events could not be written and are lost"
            fields = {"severity": "warning", "name": "events_dropped", "message": message}
            if not self._write(_line("alarm", self.attempt, self.step, STEP_LEVEL, fields)):
                return False
            self.dropped = 0
        return True

    def _write(self, line: str) -> bool:
        data = (b"\n" if self._torn else b"") + line.encode()
        try:
            written = self._file.write(data)
        except OSError:
            return False
        self._torn = written != len(data)
        return not self._torn

    def close(self) -> None:
        """Report what was dropped, force everything to the disk and close the file."""
        self._report_dropped()
        with contextlib.suppress(OSError):  # a run that is over does not fail because its disk does
            os.fsync(self._file.fileno())
        self._file.close()


def _ends_without_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _line(type: str, attempt: int, step: int, mini_batch: int, fields: Mapping[str, Any]) -> str:
    event = {
        "type": type,
        "attempt": attempt,
        "step": step,
        "mini_batch": mini_batch,
        "time": time.time(),
        **_plain(fields),
    }
    return json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written as UTF-8
    return encode_number(value) if isinstance(value, float) else value


def parse_lines(data: bytes) -> Iterable[tuple[dict[str, Any] | None, int]]:
    """Split what was read from an event file into complete lines.

    Yields:
        (event, length in bytes with the newline), event None where the line is torn or no JSON object. Bytes after the
        last newline are not yielded: their line may still be growing.
    """
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        line, start = data[start:end], end + 1
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):  # torn, or nested deeper than anything that was written here
            event = None
        yield (event if isinstance(event, dict) and "type" in event else None), len(line) + 1
