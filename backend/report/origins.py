"""Where numbers come from: what a run's first attempt said of itself, the program that makes the report, and the data as it lies there."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from backend.settings import ROOT
from trainer.events import EVENTS_FILE

_LONGEST_LINE = 2**16
_LARGEST_HASHED = 2**30
"""Bytes of a file that is hashed for a report: a few seconds' worth."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """From an `attempt_started` event."""

    device: str
    processes: int
    threads: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """The program that makes the report."""

    version: str
    commit: str | None
    """None where it does not lie in a git repository; `-changed` behind it where files differ from it."""
    python: str


@dataclass(frozen=True, slots=True)
class Content:
    """A file of training data as it is now."""

    sha256: str
    changed_at: float
    size: int


def first_attempt(folder: str) -> Attempt | None:
    """What the first attempt of the run in this folder said of itself; None where that is gone, or is no event of this kind."""
    try:
        with open(Path(folder) / EVENTS_FILE, "rb") as file:
            event: Any = json.loads(file.readline(_LONGEST_LINE))
    except (OSError, ValueError):
        return None
    if not isinstance(event, dict) or event.get("type") != "attempt_started":
        return None
    return Attempt(
        device=str(event.get("device", "not said")),
        processes=int(event.get("processes") or 1),
        threads=int(event.get("threads") or 1),
        versions={str(name): str(value) for name, value in (event.get("versions") or {}).items()},
    )


def build_of() -> Build:
    """This program."""
    try:
        version = metadata.version("mtprl")
    except metadata.PackageNotFoundError:
        version = "not installed as a package"
    commit = _git("rev-parse", "--short=12", "HEAD") if (ROOT / ".git").exists() else None
    if commit and _git("status", "--porcelain", "--untracked-files=no"):
        commit += "-changed"
    return Build(version, commit or None, platform.python_version())


def content(path: str) -> Content | None:
    """The hash of a file; None where it is not there, or too large to be read for a report."""
    try:
        about = Path(path).stat()
        if about.st_size > _LARGEST_HASHED:
            return None
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError:
        return None
    return Content(digest.hexdigest(), about.st_mtime, about.st_size)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
