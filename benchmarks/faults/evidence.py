"""What an event file says and what the store holds, compared by hand: nothing here is read by the product's own code.

The file's surviving history: values by their place, where a later one takes the place of an earlier one, and an attempt that began after step s
makes void what was said of later steps before it. The history of a run (`run_events`) is never void.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NOTED = {"attempt_started", "checkpoint", "alarm", "ended"}
"""Types of events that stand in a run's history."""

Key = tuple[Any, ...]
"""("metric", name, step, mini_batch), ("completion", step, prompt, sample) or ("evaluation", benchmark, step)"""


@dataclass
class History:
    """What survives of an event file."""

    rows: dict[Key, Any] = field(default_factory=dict)
    noted: Counter[Key] = field(default_factory=Counter)
    torn: int = 0
    """Whole lines that are no event."""
    steps: set[int] = field(default_factory=set)
    """Steps that have values of their own."""
    dropped: int = 0
    """Events that the trainer says it could not write."""
    ended: dict[int, str] = field(default_factory=dict)
    """By attempt: how its trainer says that it ended."""


class Difference(NamedTuple):
    """How the store differs from the file."""

    lost: int
    """Values and events of the surviving history without a row that says the same."""
    doubled: int
    """Rows that no surviving event has, and a second row of one that has."""
    examples: list[str]


def read(data: bytes) -> History:
    """The surviving history of an event file; an unfinished last line is none yet."""
    history = History()
    for line in data.split(b"\n")[:-1]:
        try:
            event = json.loads(line)
            kind = event["type"]
        except (ValueError, KeyError, TypeError):
            history.torn += 1
            continue
        if kind in NOTED:
            history.noted[kind, event["attempt"], event["step"], event["time"]] += 1
        if kind == "attempt_started":
            _void(history, -1 if event["resumed_from"] is None else event["resumed_from"])
        elif kind == "ended":
            history.ended[event["attempt"]] = event["outcome"]
        elif kind == "alarm" and event["name"] == "events_dropped":
            history.dropped += int(event["message"].split()[0])
        else:
            _add(history, kind, event)
    return history


def _void(history: History, last: int) -> None:
    history.rows = {key: value for key, value in history.rows.items() if _step(key) <= last}
    history.steps = {step for step in history.steps if step <= last}


def _step(key: Key) -> int:
    return int(key[1] if key[0] == "completion" else key[2])


def _add(history: History, kind: str, event: dict[str, Any]) -> None:
    attempt, step = event["attempt"], event["step"]
    if kind == "metrics":
        for name, value in event["values"].items():
            number = None if isinstance(value, str) else float(value)
            history.rows["metric", name, step, event["mini_batch"]] = (attempt, number)
        if event["mini_batch"] == -1:
            history.steps.add(step)
    elif kind == "completions":
        for item in event["items"]:
            history.rows["completion", step, item["prompt_id"], item["sample"]] = (attempt, item["completion"])
    elif kind == "evaluation":
        said = sorted((item["id"], "".join(map(str, map(int, item["outcomes"])))) for item in event["items"])
        history.rows["evaluation", event["benchmark"], step] = (attempt, said)


def compare(history: History, rows: Iterable[tuple[Key, Any]], noted: Counter[Key]) -> Difference:
    """Compare the surviving history with rows of the store, given in the same form."""
    held: dict[Key, list[Any]] = {}
    for key, value in rows:
        held.setdefault(key, []).append(value)
    lost = [key for key, value in history.rows.items() if value not in held.get(key, [])]
    doubled = [
        key for key, values in held.items() for _ in range(len(values) - (key in history.rows and key not in lost))
    ]
    missing, extra = history.noted - noted, noted - history.noted
    examples = [
        *(f"lost {key}: {history.rows[key]} is {held.get(key, 'nowhere')}" for key in lost[:3]),
        *(f"doubled {key}: {held[key]}" for key in doubled[:3]),
        *(f"lost {key}" for key in list(missing)[:3]),
        *(f"doubled {key}" for key in list(extra)[:3]),
    ]
    return Difference(len(lost) + missing.total(), len(doubled) + extra.total(), examples)
