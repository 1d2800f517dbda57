"""Event files for TensorBoard, by its own record writer and protocol buffers; torch and TensorFlow are not needed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from db.reads.mirroring import StepValue
from trainer.errors import StoreError

_FILE = "events.out.tfevents.0.mtprl"
"""One file per run: what TensorBoard looks for by the middle part of its name."""


def require() -> None:
    """Make sure that TensorBoard is installed.

    Raises:
        StoreError: it is not, and how to install it.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise StoreError(
            "TensorBoard is not installed here; `pip install tensorboard` beside mtprl (its extra `tensorboard`) brings it"
        ) from None


class EventFile:
    """The event file of one run, open at a place up to which it is known to be right."""

    def __init__(self, folder: Path, size: int):
        """Open it; what stands behind the first `size` bytes is cut off.

        Raises:
            OSError: it cannot be written.
        """
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        file = open(folder / _FILE, "ab")  # noqa: SIM115
        file.truncate(size)
        self._records = RecordWriter(file)
        if size == 0:
            self._write(wall_time=time.time(), file_version="brain.Event:2")

    @staticmethod
    def size(folder: Path) -> int:
        """Bytes that are there; 0 where there is no file."""
        path = folder / _FILE
        return path.stat().st_size if path.exists() else 0

    def take_back(self, step: int) -> None:
        """Say that what was written of `step` and later ones is void."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._write(wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START))

    def add(self, values: Iterable[StepValue]) -> None:
        """Write values, which come by step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for step, some in groupby(values, key=lambda value: value.step):
            each = list(some)
            summary = Summary(value=[Summary.Value(tag=one.metric, simple_value=one.value) for one in each])
            self._write(wall_time=max(one.time for one in each), step=step, summary=summary)

    def close(self) -> int:
        """Write out what is pending; returns the bytes that the file has now."""
        self._records.close()
        return self.size(self._folder)

    def _write(self, **fields: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(**fields).SerializeToString())
