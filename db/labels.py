"""What users say about runs: their names, tags and notes, and which are put away.

Every function works in the caller's transaction, opened with `db.engine.writing`. Nothing here touches what a run has done, and nothing
deletes: a run that is put away is only left out of lists that do not ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from sqlalchemy import Connection, delete, select, update

from db import upsert
from db.statuses import ENDED
from db.tables import run_tags, runs
from trainer.config.rules import name_problems
from trainer.errors import StoreError

LONGEST_TAG, LONGEST_NAME, LONGEST_NOTE = 40, 80, 10_000
"""Characters."""

_TAG = re.compile(r"\w[\w.:/=+-]*")


def check_tags(tags: Collection[str]) -> None:
    """Refuse what cannot be a tag.

    Raises:
        StoreError: naming the first one.
    """
    for tag in tags:
        if len(tag) > LONGEST_TAG or not _TAG.fullmatch(tag):
            raise StoreError(
                f"tag {tag!r} is refused; give 1 to {LONGEST_TAG} letters, digits and . : / = + - _, beginning with a letter or a digit"
            )


def change_tags(connection: Connection, run_ids: Sequence[int], add: Collection[str], remove: Collection[str]) -> None:
    """Give runs tags and take others from them; what a run has already, or has not, stays so.

    Raises:
        StoreError: a tag to add is refused, or stands on both sides, or a run does not exist; nothing was changed.
    """
    check_tags(add)
    if both := sorted(set(add) & set(remove)):
        raise StoreError(f"tag {both[0]!r} is to be added and removed; give it once")
    _require(connection, run_ids)
    if remove:
        connection.execute(delete(run_tags).where(run_tags.c.run_id.in_(run_ids), run_tags.c.tag.in_(remove)))
    if rows := [{"run_id": run_id, "tag": tag} for run_id in run_ids for tag in sorted(set(add))]:
        connection.execute(upsert.insert(connection, run_tags).on_conflict_do_nothing(), rows)


def set_note(connection: Connection, run_ids: Sequence[int], note: str) -> None:
    """Give runs this note in the place of the one they have; "" takes it away.

    Raises:
        StoreError: it is too long, or a run does not exist.
    """
    if len(note) > LONGEST_NOTE:
        raise StoreError(f"note: {len(note):,} characters are too many; give at most {LONGEST_NOTE:,}")
    _require(connection, run_ids)
    kept = note.strip().replace("\0", "\ufffd")
    connection.execute(update(runs).where(runs.c.id.in_(run_ids)).values(note=kept))


def rename(connection: Connection, run_id: int, name: str) -> None:
    """Give a run another name. Its folder and its configuration keep the one that it was made with.

    Raises:
        StoreError: the name is empty or refused as that of a new run would be, or there is no such run.
    """
    kept = name.strip()
    if not kept:
        raise StoreError(f"name: {name[:40]!r} has 0 characters; give 1 to {LONGEST_NAME}")
    if problems := name_problems(kept):
        raise StoreError(str(problems[0]))
    _require(connection, [run_id])
    connection.execute(update(runs).where(runs.c.id == run_id).values(name=kept))


def archive(connection: Connection, run_ids: Sequence[int], now: float | None) -> None:
    """Put runs away that have ended, or with `now` None take them back.

    Raises:
        StoreError: one has not ended, or does not exist; nothing was changed.
    """
    _require(connection, run_ids)
    if now is None:
        connection.execute(update(runs).where(runs.c.id.in_(run_ids)).values(archived_at=None))
        return
    open_ones = select(runs.c.id, runs.c.status).where(runs.c.id.in_(run_ids), runs.c.status.not_in(ENDED))
    for run_id, status in connection.execute(open_ones.order_by(runs.c.id)):
        raise StoreError(f"run {run_id} is {status} and cannot be archived; stop it first with `mtprl stop {run_id}`")
    connection.execute(update(runs).where(runs.c.id.in_(run_ids), runs.c.archived_at.is_(None)).values(archived_at=now))


def _require(connection: Connection, run_ids: Sequence[int]) -> None:
    known = set(connection.execute(select(runs.c.id).where(runs.c.id.in_(run_ids))).scalars())
    for run_id in run_ids:
        if run_id not in known:
            raise StoreError(f"run {run_id} does not exist; `mtprl runs` lists those that do")
