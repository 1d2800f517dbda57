"""The mirror itself: what is new in the store since the last look goes into the copy, each value once.

Values of whole steps are copied as soon as their step is complete; a resume takes back the steps that are trained again. Between two
looks nothing is held: no transaction, no lock of the store, no file of a run.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import make_url

from backend import store
from backend.mirror import cursor as cursors
from backend.mirror.cursor import Cursor
from backend.mirror.tensorboard import EventFile
from backend.settings import settings
from db.reads import mirroring
from db.reads.mirroring import Progress

_STEPS = 500
"""Steps of a run that are copied at once."""

log = logging.getLogger(__name__)


class Mirror:
    """A copy of the store's metrics in a folder, `EXPERIMENT/RUN-NAME` for each run."""

    def __init__(self, folder: Path, experiment: str | None = None):
        self._folder, self._experiment = folder, experiment
        self._known = {cursor.run: (path, cursor) for path, cursor in cursors.read(folder)}

    def look(self) -> int:
        """Copy what is new; returns of how many runs there was something."""
        with store.reading() as connection:
            rows = mirroring.progress(connection, experiment=self._experiment)
        return sum(self._follow(row) for row in rows)

    def _follow(self, row: Progress) -> bool:
        folder, cursor = self._known.get(row.run_id) or (self._place(row), Cursor(row.run_id, 0, -1, 0))
        if EventFile.size(folder) < cursor.size:
            log.warning("%s: is shorter than it was left; the run is copied anew", folder)
            cursor = Cursor(row.run_id, 0, -1, 0)
        before = cursor
        while True:
            after = self._copy(row, folder, cursor)
            if after == cursor:
                return after != before
            cursors.keep(folder, after)
            self._known[row.run_id] = folder, after
            cursor = after

    def _copy(self, row: Progress, folder: Path, cursor: Cursor) -> Cursor:
        """The next steps of a run; the same cursor where there are none."""
        if row.attempt == cursor.attempt and row.complete <= cursor.step:
            return cursor
        with store.reading() as connection:
            begun = mirroring.beginnings(connection, row.run_id, cursor.attempt)
            stayed = min([cursor.step, *(step for _, step in begun)])
            attempt = begun[-1][0] if begun else cursor.attempt
            # As far as this transaction knows: the run may have been taken up again since it was looked at.
            [now] = mirroring.progress(connection, run_id=row.run_id)
            last = min(now.complete, stayed + _STEPS)
            values = list(mirroring.step_values(connection, row.run_id, stayed + 1, last)) if last > stayed else []
        step = max(last, stayed)
        if not values and stayed == cursor.step:
            return Cursor(cursor.run, attempt, step, cursor.size)
        file = EventFile(folder, cursor.size)
        if stayed < cursor.step:
            file.take_back(stayed + 1)
        file.add(values)
        return Cursor(cursor.run, attempt, step, file.close())

    def _place(self, row: Progress) -> Path:
        """Made once: a run that is renamed later keeps it."""
        return self._folder / _slug(row.experiment) / f"{row.run_id:05d}-{_slug(row.name)}"


def mirror(
    folder: Path, experiment: str | None, every: float, tell: Callable[[str], None], *, once: bool = False
) -> None:
    """Copy what there is and, unless `once`, go on with what comes, until the process is ended.

    Raises:
        StoreError: the folder belongs to another mirror or store.
        OSError: it cannot be written.
    """
    address = make_url(settings().database_url).render_as_string(hide_password=True)
    with cursors.only_mirror(folder, address):
        copy = Mirror(folder, experiment)
        while True:
            try:
                if changed := copy.look():
                    tell(f"{changed} {'run' if changed == 1 else 'runs'} copied on")
            except store.UNREACHABLE as error:
                if once:
                    raise
                tell(f"the database does not answer, trying again: {store.cause(error)}")
            if once:
                return
            time.sleep(every)


def _slug(name: str) -> str:
    return re.sub(r"[^\w.=-]+", "-", name).strip("-.") or "run"
