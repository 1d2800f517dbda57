"""Names, tags, notes and the archive, as the command line and the pages use them: each call is one transaction and says what it did."""

from __future__ import annotations

import time
from collections.abc import Sequence

from backend import store, words
from db import labels
from trainer.errors import StoreError


def parse_changes(changes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Tags to add and to remove, from `+baseline` (or `baseline`) and `-old`.

    Raises:
        StoreError: there are none.
    """
    add = [change.removeprefix("+") for change in changes if not change.startswith("-")]
    remove = [change.removeprefix("-") for change in changes if change.startswith("-")]
    if not (add or remove):
        raise StoreError("no tag is given; `+baseline` adds one, `-old` takes one away")
    return add, remove


def tag(run_ids: Sequence[int], add: Sequence[str], remove: Sequence[str] = ()) -> str:
    """Give runs tags, take others from them.

    Raises:
        StoreError: a tag is refused, or a run does not exist; nothing was changed.
    """
    with store.writing() as connection:
        labels.change_tags(connection, run_ids, add, remove)
    said = [f"tagged {', '.join(add)}"] if add else []
    said += [f"no longer tagged {', '.join(remove)}"] if remove else []
    return f"{_named(run_ids)}: {'; '.join(said)}"


def note(run_ids: Sequence[int], text: str) -> str:
    """Give runs this note in the place of the one they have.

    Raises:
        StoreError: it is too long, or a run does not exist.
    """
    with store.writing() as connection:
        labels.set_note(connection, run_ids, text)
    return f"{_named(run_ids)}: {'noted' if text.strip() else 'the note is gone'}"


def rename(run_id: int, name: str) -> str:
    """Give a run another name.

    Raises:
        StoreError: the name is refused, or there is no such run.
    """
    with store.writing() as connection:
        labels.rename(connection, run_id, name)
    return f"run {run_id} is named {name.strip()}"


def archive(run_ids: Sequence[int], undo: bool = False) -> str:
    """Put runs away, or take them back. Nothing is deleted.

    Raises:
        StoreError: one has not ended, or does not exist; nothing was changed.
    """
    with store.writing() as connection:
        labels.archive(connection, run_ids, None if undo else time.time())
    return f"{_named(run_ids)}: {'back in the list' if undo else 'archived; nothing was deleted'}"


def _named(run_ids: Sequence[int]) -> str:
    return f"run {run_ids[0]}" if len(run_ids) == 1 else words.plural(len(run_ids), "run")
