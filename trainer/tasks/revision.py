"""Which problems these are: a hash of what they say, so that results on other problems are never taken for the same benchmark."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from trainer.tasks.items import Item

LENGTH = 12
"""Hexadecimal digits of a revision."""


def revision(items: Sequence[Item]) -> str:
    """The revision of a benchmark: problems and answers with their ids, whatever their order and wherever they come from."""
    said = sorted([item.id, item.problem, item.answer] for item in items)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:LENGTH]
