"""The last time that a model was verified (`mtprl verify`): kept by its folder, so that a page can tell it without loading anything."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from backend import words
from backend.settings import settings
from trainer.models.headers import HEADS_FILE, weight_files


class Verified(NamedTuple):
    """What was found, and when."""

    at: float
    """Seconds since 1970."""
    alarms: tuple[str, ...]
    measured: Mapping[str, Any]
    """As trainer.verify.Verdict."""
    changed: bool
    """Whether the weights are others by now."""

    def words(self, now: float) -> str:
        """What was found, in a sentence."""
        when = words.age(self.at, now) + (", and the weights have changed since" if self.changed else "")
        if self.alarms:
            return f"{when}: {'; '.join(self.alarms)}"
        heads = [
            f"{'new ' if self.measured['new'] else ''}depth {number} {depth['loss']:.2f} with {words.percent(depth['greedy'])} of greedy drafts taken"
            for number, depth in enumerate(self.measured["depths"], 1)
        ]
        losses = ", ".join([f"main head {self.measured['loss']:.2f}", *heads, f"a guess {self.measured['chance']:.2f}"])
        return f"{when}: nothing is wrong. Losses on what it wrote: {losses}"


def keep(folder: Path, measured: Mapping[str, Any]) -> None:
    """Remember a verdict.

    Args:
        folder: of the model.
        measured: the verdict as a mapping, its alarms among it.
    """
    file = _file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = {"folder": str(folder), "at": time.time(), "weights": _weights(folder), "measured": measured}
    file.write_text(json.dumps(kept) + "\n", encoding="utf-8")


def last(folder: Path) -> Verified | None:
    """The last verdict on a model; None where there is none that can be read."""
    try:
        kept = json.loads(_file(folder).read_bytes())
        measured = kept["measured"]
        return Verified(kept["at"], tuple(measured["alarms"]), measured, kept["weights"] != _weights(folder))
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _file(folder: Path) -> Path:
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:20]
    return settings().home / "verified" / f"{name}.json"


def _weights(folder: Path) -> list[list[Any]]:
    """Name, size and time of change of every file of weights."""
    try:
        files = [*weight_files(folder), folder / HEADS_FILE]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # an index that is none
        files = sorted(folder.glob("*.safetensors"))
    return [[file.name, file.stat().st_size, file.stat().st_mtime] for file in files if file.is_file()]
