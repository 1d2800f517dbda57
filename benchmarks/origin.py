"""Which code ran when, and on what: what stands beside every measurement that is kept."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import trainer


def about() -> dict[str, Any]:
    """Time, commit (MTPRL_COMMIT where only the files came along), versions and kind of machine; no name and no path of it."""
    commit = said(["git", "rev-parse", "--short", "HEAD"]) or os.environ.get("MTPRL_COMMIT", "")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "clean": bool(commit) and not said(["git", "status", "--porcelain"]),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def said(command: Sequence[str]) -> str:
    """What a program prints, called in the repository; nothing where there is no such program."""
    try:
        return subprocess.run(
            command, cwd=Path(trainer.__file__).parents[1], capture_output=True, text=True
        ).stdout.strip()
    except OSError:
        return ""
