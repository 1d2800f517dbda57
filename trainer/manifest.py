"""A folder that can tell whether it is whole: `manifest.json` in it holds the size and the SHA-256 of every other file.

`seal` writes it, last of all, and forces everything to the disk; `flaw` says what has become of the folder since, `flaw_at_a_glance`
the same without reading the files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"


def seal(folder: Path) -> None:
    """Write the manifest of a finished folder. When this returns, its files and folders are on the disk.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    files = {name: _measure(folder / name) for name in _names(folder)}
    (folder / MANIFEST).write_text(json.dumps(files, indent=1) + "\n", encoding="utf-8")
    for path in folder.rglob("*"):
        to_disk(path)
    to_disk(folder)


def flaw(folder: Path) -> str | None:
    """What is wrong with a sealed folder, in words; None: every file is the one that was sealed, and there is no other."""
    return _flaw(folder, _measure)


def flaw_at_a_glance(folder: Path) -> str | None:
    """The same by names and sizes alone: what was changed without growing or shrinking is not noticed."""
    return _flaw(folder, lambda file: {"size": file.stat().st_size})


def _flaw(folder: Path, measure: Callable[[Path], dict[str, Any]]) -> str | None:
    try:
        sealed = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return f"it has no {MANIFEST}, so it was not completed, or not written by this program"
    except (OSError, ValueError, RecursionError) as error:
        return f"{MANIFEST} cannot be read ({error})"
    if not isinstance(sealed, dict):
        return f"{MANIFEST} holds no list of files"
    present = _names(folder)
    for name in sorted(sealed.keys() ^ set(present)):
        return f"{name} is missing" if name in sealed else f"{name} does not belong to it"
    for name in present:
        try:
            found = measure(folder / name)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        known = sealed[name] if isinstance(sealed[name], dict) else {}
        if any(known.get(what) != value for what, value in found.items()):
            size = known.get("size")
            same = size == found["size"]
            return f"{name} was changed" if same else f"{name} has {found['size']} bytes instead of {size}"
    return None


def to_disk(path: Path) -> None:
    """Force a file, or what a folder says of its entries, out of the system's memory.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # what a file system answers that knows no such thing for folders
            raise
    finally:
        os.close(descriptor)


def _names(folder: Path) -> list[str]:
    """Every file in the folder but the manifest, relative to it."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()]
    return sorted(name for name in names if name != MANIFEST)


def _measure(file: Path) -> dict[str, Any]:
    with open(file, "rb") as data:
        return {"size": os.fstat(data.fileno()).st_size, "sha256": hashlib.file_digest(data, "sha256").hexdigest()}
