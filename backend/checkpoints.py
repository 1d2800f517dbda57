"""The checkpoints of a run as lists show them: by what a look at names, sizes and `about.json` tells, without reading weights."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.folder import CHECKPOINTS, asked
from trainer.manifest import flaw_at_a_glance


class Listed(NamedTuple):
    """One checkpoint folder."""

    step: int
    path: Path
    accuracy: float | None
    """Held-out accuracy after that step, 0 to 1; None: not evaluated at it."""
    flaw: str | None
    """What is wrong with it at a glance; None: nothing."""
    size: int
    """Bytes of all its files."""
    model_size: int
    """Bytes of `model/`."""
    best: bool = False
    newest: bool = False

    @property
    def model(self) -> Path:
        """What a configuration names as its `model.path`."""
        return self.path / "model"


def listed(folder: Path, config: Mapping[str, Any]) -> list[Listed]:
    """What lies in a run folder, the newest first; the best is so by the evaluation of `config`, as for the trainer itself."""
    found = [_look(path, config) for path in (folder / CHECKPOINTS).glob("step-*") if _step(path) is not None]
    whole = [one for one in found if one.flaw is None]
    newest = max(whole, key=lambda one: one.step, default=None)
    rated = [one for one in whole if one.accuracy is not None]
    best = max(rated, key=lambda one: (one.accuracy, one.step), default=None)
    marked = [one._replace(best=one is best, newest=one is newest) for one in found]
    return sorted(marked, key=lambda one: one.step, reverse=True)


def zipped(model: Path) -> bytes:
    """A model's folder as a zip archive, uncompressed, because weights hardly shrink.

    Raises:
        OSError: a file cannot be read.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for path in sorted(model.rglob("*")):
            if path.is_file():
                target.write(path, path.relative_to(model.parent).as_posix())
    return archive.getvalue()


def _step(path: Path) -> int | None:
    number = path.name.removeprefix("step-")
    return int(number) if number.isdecimal() else None


def _look(path: Path, config: Mapping[str, Any]) -> Listed:
    wrong, accuracy = flaw_at_a_glance(path), None
    try:
        about = json.loads((path / "about.json").read_bytes())
        # Another evaluation's accuracy cannot be compared with those of this configuration.
        if asked(about["config"]) == asked(config) and isinstance(about["accuracy"], float | int):
            accuracy = float(about["accuracy"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = wrong or f"about.json is not one of this program's ({error!r})"
    return Listed(_step(path) or 0, path, accuracy, wrong, _size(path), _size(path / "model"))


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # removed this moment: a later checkpoint took its place
            continue
    return total
