"""How far a run is copied. The cursor is written after the values that it speaks of, and names the length of the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.errors import StoreError

_CURSOR, _STORE, _LOCK = ".mtprl-cursor.json", ".mtprl-store.json", ".mtprl-lock"


@dataclass(frozen=True, slots=True)
class Cursor:
    """What of one run is copied."""

    run: int
    attempt: int
    """The newest attempt whose beginning was seen."""
    step: int
    """The last step that is copied; -1 before the first."""
    size: int
    """Bytes of the event file that hold it; what stands behind them is half of a copy."""


def read(folder: Path) -> Iterator[tuple[Path, Cursor]]:
    """The cursors of a mirror, each with the folder of its run."""
    for path in sorted(folder.glob(f"*/*/{_CURSOR}")):
        yield path.parent, Cursor(**json.loads(path.read_text()))


def keep(folder: Path, cursor: Cursor) -> None:
    """Write a run's cursor, all of it or nothing."""
    _replace(folder / _CURSOR, json.dumps(asdict(cursor)))


@contextmanager
def only_mirror(folder: Path, store: str) -> Iterator[None]:
    """Hold the folder of a mirror, which belongs to one store for good: run 3 of another one is another run.

    Args:
        folder: is made where it is absent.
        store: which store; no secret may stand in it, for it is written there.

    Raises:
        StoreError: another mirror writes there, or it holds a copy of another store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StoreError(
            f"{folder}: another mirror is writing there; wait for its end, or give another folder"
        ) from None
    with lock:
        named = folder / _STORE
        if not named.exists():
            _replace(named, json.dumps({"store": store}))
        if (of := json.loads(named.read_text())["store"]) != store:
            raise StoreError(f"{folder}: holds a copy of another store ({of}, not {store}); give another folder")
        yield


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
