"""What the program prints. On a full disk a log loses lines, and the training goes on, as it does where its events cannot be written."""

from __future__ import annotations

import io
import sys
from typing import Any


class _Forgiving(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def never_fail_to_print() -> None:
    """Let prints, warnings and progress bars of this process be lost where they cannot be written, instead of raising an error in whatever
    it does. For programs of their own: whoever captured the streams before sees nothing more."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # as under `>&-`
            raw = _Forgiving(stream.fileno(), "w", closefd=False)
            kept = io.TextIOWrapper(raw, stream.encoding, "backslashreplace", write_through=True)
            setattr(sys, name, kept)
