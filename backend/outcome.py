"""How a run ended: its status and a reason in words, from what is known when its trainer is gone."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from db.statuses import Status

FINISHED_CODE, STOPPED_CODE = 0, 3
"""Exit codes of the trainer; any other is a failure."""

_TAIL_BYTES = 64 * 1024
_LONGEST_REASON = 500
_TRACEBACK = "Traceback (most recent call last):"
_UNSEEN = "the trainer ended while nothing supervised it, and left no word of why"
_NOT_A_MESSAGE = re.compile(r"^(\s|Traceback |During handling|The above exception|[\s\^~|+-]*$)")


class End(NamedTuple):
    """The end of an attempt, as the store keeps it."""

    status: Status
    reason: str
    lost: bool = False
    """Whether an accident ended it that was not the run's own, so that trying again may help."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a trainer that is gone."""

    exit_code: int | None
    """As `subprocess` gives it: negative for a signal. None where its parent, an earlier supervisor, is gone as well."""
    ended: dict[str, Any] | None
    """The attempt's last `ended` event."""
    log: str
    """The last part of what this attempt wrote into trainer.log."""
    stop: str | None = None
    """Why it was asked to stop, such as "stopped by the user"; None where it was not."""
    killed_after: float | None = None
    """Seconds of grace after which it was killed; None where it was not."""


def end_of(evidence: Evidence) -> End:
    """The true end of a run."""
    outcome = (evidence.ended or {}).get("outcome")
    message = str((evidence.ended or {}).get("message") or "")
    if outcome == Status.FINISHED:
        return End(Status.FINISHED, "")
    if outcome == Status.FAILED:
        return End(Status.FAILED, _short(message or last_words(evidence.log) or "it said no word of why"))
    if evidence.killed_after is not None:
        return End(
            Status.STOPPED, f"{evidence.stop}; killed, because it had not ended {evidence.killed_after:g} s later"
        )
    if outcome == Status.STOPPED or evidence.exit_code == STOPPED_CODE:
        return End(Status.STOPPED, evidence.stop or "the trainer was stopped by a signal from outside")
    if evidence.exit_code == FINISHED_CODE:
        return End(Status.FINISHED, "the trainer ended well, but its last events are missing from the event file")
    if evidence.stop and evidence.exit_code in (-signal.SIGTERM, None):
        return End(Status.STOPPED, evidence.stop)
    if evidence.exit_code is None:
        error = _raised(evidence.log)
        return End(Status.FAILED, _short(error)) if error else End(Status.FAILED, _UNSEEN, lost=True)
    # A signal leaves no words behind; what the log ends with is then only what happened before.
    words = "" if evidence.exit_code < 0 else last_words(evidence.log)
    return End(Status.FAILED, _short(words or _exit_in_words(evidence.exit_code)))


def part_of(log: str, attempt: int) -> str:
    """What stands in a run's log since this attempt began; all of it where its beginning is not there."""
    return log.rpartition(heading(attempt))[2] if attempt > 1 else log


def heading(attempt: int) -> str:
    """The line of a run's log that a later attempt begins with; empty for the first one."""
    return f"\n--- attempt {attempt} ---\n" if attempt > 1 else ""


def last_words(log: str) -> str:
    """The last line of a log that says something: of a traceback, the error itself."""
    for line in reversed(log.splitlines()):
        if not _NOT_A_MESSAGE.match(line):
            return line.strip()
    return ""


def torn_in_words(lines: int) -> str:
    """What it means that lines of a run's event file could not be read."""
    return (
        f"{lines} {'line' if lines == 1 else 'lines'} of events.jsonl could not be read and "
        f"{'is' if lines == 1 else 'are'} not in the store"
    )


def tail(path: Path, size: int = _TAIL_BYTES) -> str:
    """The last `size` bytes of a text file; empty where it cannot be read."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _raised(log: str) -> str:
    """The error at the end of a log that ends with a traceback; empty where it ends with anything else."""
    _, traceback, after = log.rpartition(_TRACEBACK)
    words = [line.strip() for line in after.splitlines() if not _NOT_A_MESSAGE.match(line)] if traceback else []
    return words[0] if len(words) == 1 else ""


def _exit_in_words(code: int) -> str:
    if code >= 0:
        return f"the trainer ended with exit code {code} and said nothing; trainer.log may hold more"
    try:
        name = f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        name = f"signal {-code}"
    hint = "; the machine may have run out of memory" if code == -signal.SIGKILL else ""
    return f"the trainer was killed by {name}{hint}"


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST_REASON else f"{words[: _LONGEST_REASON - 1]}…"
