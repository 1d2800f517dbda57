"""Events as rows: what one stretch of an event file says, checked and ready to be stored.

The file may hold anything (a trainer of another version, a damaged disk), so nothing here raises: an event that does not have
the types of `trainer.events`, or that the columns cannot hold, is counted as malformed and left out as a whole.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from db import tokens
from trainer.events import STEP_LEVEL, decode_number

_INT_MAX = 2**31 - 1
_SMALL_MAX = 2**15 - 1

FINITE, NAN, INFINITY, MINUS_INFINITY = range(4)

Row = dict[str, Any]
Place = tuple[int, int]
"""(step, mini_batch)"""
Value = tuple[int, float | None, int, float]
"""(attempt, value, code, time) of one number; the value is None where the code says that it is not finite."""


class Rewind(NamedTuple):
    """An attempt began after `resumed_from` (None: from nothing), so that what stands for later steps is void."""

    attempt: int
    resumed_from: int | None

    @property
    def last_step(self) -> int:
        """The last step that stays; -1 where none does."""
        return -1 if self.resumed_from is None else self.resumed_from


class Ended(NamedTuple):
    """How the trainer says that it ended: outcome finished, stopped or failed, and a message in words."""

    outcome: str
    message: str


@dataclass(slots=True)
class Evaluated:
    """What one stretch of events says of one evaluation."""

    row: Row
    """The columns of `evaluations`, the run's id apart."""
    adds: bool
    """Whether these items stand beside those that are stored already; else they take their place."""
    items: dict[str, Row] = field(default_factory=dict)
    """By item id: the other columns of `evaluation_items`."""
    samples: dict[tuple[str, int], Row] = field(default_factory=dict)
    """By item id and sample: the other columns of `evaluation_samples`."""

    def follow(self, later: Evaluated) -> Evaluated:
        """Both as one, where the later one adds to what this one says."""
        if not later.adds or evaluation_terms(self.row) != evaluation_terms(later.row):
            return later
        return Evaluated(later.row, self.adds, {**self.items, **later.items}, {**self.samples, **later.samples})


def evaluation_terms(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What must be equal for items to stand in one evaluation."""
    return tuple(row[name] for name in _TERMS)


_TERMS = ("samples", "temperature", "top_p", "top_k", "stop", "engine", "max_tokens", "revision", "grader")


@dataclass(slots=True)
class Batch:
    """The rows of one stretch of events; a later event takes the place of an earlier one with the same key."""

    rewind: Rewind | None = None
    """What has to be removed before these rows are stored."""
    metrics: dict[str, dict[Place, Value]] = field(default_factory=lambda: defaultdict(dict))
    """By name and place."""
    completions: dict[tuple[int, str, int], Row] = field(default_factory=dict)
    """By (step, prompt_id, sample)."""
    evaluations: dict[tuple[str, int], Evaluated] = field(default_factory=dict)
    """By (benchmark, step)."""
    history: list[Row] = field(default_factory=list)
    """Rows of run_events."""


@dataclass(slots=True)
class Parsed:
    """What a stretch of events says. A new batch begins wherever an attempt does."""

    attempt: int
    """The attempt on whose behalf the file is read; the file may still hold some of the one before it."""
    batches: list[Batch] = field(default_factory=lambda: [Batch()])
    malformed: int = 0
    step: int | None = None
    """The last step that has values of its own."""
    total_steps: int | None = None
    """How many steps it is to make."""
    stage: str | None = None
    """What the trainer does now."""
    first_seen: float | None = None
    """Time of the first event that `attempt` wrote itself."""
    ended: Ended | None = None
    """How `attempt` ended."""


def parse(events: Iterable[Mapping[str, Any]], attempt: int) -> Parsed:
    """Check events and sort them into rows, on behalf of `attempt`."""
    result = Parsed(attempt)
    for event in events:
        try:
            header = _header(event)
            _READERS[event["type"]](result, header, event)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
            result.malformed += 1
            continue
        if header["attempt"] == attempt and result.first_seen is None:
            result.first_seen = header["time"]
    return result


# --- one function per type of event: everything is checked before anything is added ----------------------


def _attempt_started(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    resumed_from, host, pid = _optional(_whole, event["resumed_from"]), _text(event["host"]), _whole(event["pid"])
    total_steps = _whole(event["total_steps"])
    rewind = Rewind(header["attempt"], resumed_from)
    result.batches.append(Batch(rewind))
    result.total_steps = total_steps
    if result.step is not None:
        result.step = min(result.step, max(rewind.last_step, 0))
    beginning = "started" if resumed_from is None else f"resumed after step {resumed_from}"
    _remember(result, header, "attempt_started", f"{beginning} on {host} (process {pid})")


def _stage(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    result.stage = _text(event["stage"], 40)


def _metrics(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    attempt, step, mini_batch, time = header["attempt"], header["step"], header["mini_batch"], header["time"]
    values = [(_metric_name(name), (attempt, *_coded(number), time)) for name, number in event["values"].items()]
    metrics, place = result.batches[-1].metrics, (step, mini_batch)
    for name, value in values:
        metrics[name][place] = value
    if mini_batch == STEP_LEVEL:
        result.step = step


def _completions(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    rows = [
        {
            "step": header["step"],
            "prompt_id": _text(item["prompt_id"], 200),
            "sample": _whole(item["sample"]),
            "attempt": header["attempt"],
            "problem": _text(item["problem"]),
            "answer": _text(item["answer"]),
            "completion": _text(item["completion"]),
            "reward": _finite_or_none(item["reward"]),
            "advantage": _finite_or_none(item["advantage"]),
            "correct": _truth(item["correct"]),
            "extracted": _optional(_text, item["extracted"]),
            "reason": _text(item["reason"]),
            "tokens": _whole(item["tokens"]),
            "truncated": _truth(item["truncated"]),
            "by_token": _optional(tokens.pack, item.get("by_token")),
        }
        for item in event["items"]
    ]
    result.batches[-1].completions.update({(row["step"], row["prompt_id"], row["sample"]): row for row in rows})


def _evaluation(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    row = {
        "benchmark": _text(event["benchmark"], 80),
        "step": header["step"],
        "attempt": header["attempt"],
        "samples": _whole(event["samples"]),
        "temperature": _finite(event["temperature"]),
        "top_p": _finite(event["top_p"]),
        "time": header["time"],
        "max_tokens": _optional(_whole, event.get("max_tokens")),
        "revision": _optional(_short, event.get("revision")),
        "grader": _optional(_short, event.get("grader")),
        # Before events said them, there was nothing else.
        "engine": _short(event.get("engine", "builtin")),
        "top_k": _whole(event.get("top_k", 0)),
        "stop": [_text(text) for text in event.get("stop", ())],
    }
    said = Evaluated(row, _truth(event.get("adds", False)))
    for item in event["items"]:
        identifier, outcomes = _text(item["id"], 200), [_bit(bit) for bit in item["outcomes"]]
        said.items[identifier] = {
            "outcomes": "".join(map(str, outcomes)),
            "problem": _optional(_text, item.get("problem")),
            "answer": _optional(_text, item.get("answer")),
        }
        for number, (correct, sample) in enumerate(zip(outcomes, item.get("samples") or [], strict=False)):
            said.samples[identifier, number] = {
                "completion": _text(sample["completion"]),
                "tokens": _whole(sample["tokens"]),
                "truncated": _truth(sample["truncated"]),
                "correct": bool(correct),
                "extracted": _optional(_text, sample["extracted"]),
                "reason": _text(sample["reason"]),
            }
    evaluations, key = result.batches[-1].evaluations, (row["benchmark"], row["step"])
    evaluations[key] = evaluations[key].follow(said) if key in evaluations else said


def _checkpoint(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    _remember(result, header, "checkpoint", f"saved {_text(event['path'])}")


def _alarm(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    _remember(
        result, header, "alarm", f"{_text(event['name'])}: {_text(event['message'])}", _text(event["severity"], 20)
    )


def _ended(result: Parsed, header: Row, event: Mapping[str, Any]) -> None:
    outcome, message = _text(event["outcome"], 20), _text(event["message"])
    words = f"{outcome}: {message}" if message else outcome
    _remember(result, header, "ended", words, "error" if outcome == "failed" else "info")
    if header["attempt"] == result.attempt:
        result.ended = Ended(outcome, message)


def _remember(result: Parsed, header: Row, type: str, message: str, severity: str = "info") -> None:
    row = {"attempt": header["attempt"], "step": header["step"], "time": header["time"]}
    result.batches[-1].history.append({**row, "type": type, "severity": severity, "message": message})


_READERS: dict[str, Callable[[Parsed, Row, Mapping[str, Any]], None]] = {
    "attempt_started": _attempt_started,
    "stage": _stage,
    "metrics": _metrics,
    "completions": _completions,
    "evaluation": _evaluation,
    "checkpoint": _checkpoint,
    "alarm": _alarm,
    "ended": _ended,
}


# --- checks of single values: each raises TypeError or ValueError ----------------------------------------


def _header(event: Mapping[str, Any]) -> Row:
    return {
        "attempt": _whole(event["attempt"], _SMALL_MAX),
        "step": _whole(event["step"]),
        "mini_batch": _whole(event["mini_batch"], _SMALL_MAX, lowest=STEP_LEVEL),
        "time": _finite(event["time"]),
    }


def _whole(value: Any, highest: int = _INT_MAX, lowest: int = 0) -> int:
    if type(value) is not int:
        raise TypeError(value)
    if not lowest <= value <= highest:
        raise ValueError(value)
    return value


def _optional(check: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else check(value)


def _text(value: Any, longest: int | None = None) -> str:
    """The text as every database takes it: no NUL (PostgreSQL) and no lone surrogate (UTF-8)."""
    if not isinstance(value, str):
        raise TypeError(value)
    if longest is not None and len(value) > longest:
        raise ValueError(value)
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _short(value: Any) -> str:
    return _text(value, 40)


@lru_cache(maxsize=4096)
def _metric_name(name: Any) -> str:
    """Kept, because every step says the same names."""
    return _text(name, 200)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(value)
    return value


def _bit(value: Any) -> int:
    return _whole(value, highest=1)


def _coded(value: Any) -> tuple[float | None, int]:
    if type(value) is float and math.isfinite(value):  # nearly all of them
        return value, FINITE
    if isinstance(value, bool):
        raise TypeError(value)
    number = decode_number(value)
    if math.isfinite(number):
        return number, FINITE
    return None, NAN if math.isnan(number) else (INFINITY if number > 0 else MINUS_INFINITY)


def _finite_or_none(value: Any) -> float | None:
    return _coded(value)[0]


def _finite(value: Any) -> float:
    number, code = _coded(value)
    if number is None:
        raise ValueError(code)
    return number
