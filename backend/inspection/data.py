"""What a set of problems holds: how many, how long, which kinds of answers, and what is doubtful about them."""

from __future__ import annotations

import os
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from backend import words
from backend.settings import variables
from trainer import preflight
from trainer.config import Data, HubData, JsonlData, NamedData, ParquetData
from trainer.errors import DataError
from trainer.tasks import Item, load, settled
from trainer.tasks.items import conflicts
from trainer.tasks.tables import parquet_files

LARGEST = 64 * 2**20
"""Bytes of files that are read without being asked to: about a second's worth."""
_MOST_ITEMS = 200_000
"""Problems that an inspection looks at."""
_EXAMPLES = 3
_NUMBER = re.compile(r"[+-]?\d[\d,]*")
_DECIMAL = re.compile(r"[+-]?(\d[\d,]*)?\.\d+([eE][+-]?\d+)?%?")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z' -]*")


class DataCount(NamedTuple):
    """How many problems there are, as far as that is quick to say."""

    problems: int | None
    error: str = ""
    """Why they cannot be used."""
    later: str = ""
    """Why they are not counted now."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What a set of problems holds."""

    source: str
    problems: int
    lengths: tuple[int, int, int]
    """Characters of a problem: the shortest, the median, the longest."""
    answers: Mapping[str, int]
    """Problems by the kind of their answer, the most frequent first."""
    examples: Sequence[Item]
    conflicts: Sequence[tuple[Item, Item]]
    """Problems that stand there again with another answer, each after the first of its text."""


def count(data: Data) -> DataCount:
    """How many problems a data section holds; what is large, generated or on the hub is left for later. Read again only when a file has changed."""
    found = source_of(data)
    return _counted(found) if isinstance(found, Source) else found


def source_of(data: Data) -> Source | DataCount:
    """What stands for a data section in caches; where it cannot be read here and now, the words of `count` for that."""
    try:
        data = settled(data, {**os.environ, **variables()})
        if isinstance(data, HubData) and not Path(data.id).is_dir():
            return DataCount(None, later=f"{data.source} is fetched from the hub and read when the run is queued")
        found = Source(data.model_dump_json(), data.__class__, _stamp(data))
    except (DataError, OSError) as error:
        return DataCount(None, error=str(error))
    if found.size > LARGEST:
        return DataCount(None, later=f"{data.source} has {words.size(found.size)} and is read when the run is queued")
    return found


class _Part(NamedTuple):
    path: str
    size: int
    changed: int


class Source(NamedTuple):
    """A data section, and the files that it reads as they are now: equal for as long as reading it gives the same."""

    values: str
    kind: type
    files: tuple[_Part, ...]
    """None where it reads none, because its problems are generated."""

    @property
    def section(self) -> Data:
        """The section."""
        return self.kind.model_validate_json(self.values)  # type: ignore[attr-defined]

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(part.size for part in self.files)


def _stamp(data: Data) -> tuple[_Part, ...]:
    """The files that a data section reads, as they are now; none where it reads none."""
    if isinstance(data, ParquetData):
        files = [Path(path) for path in parquet_files(data)]
    elif isinstance(data, JsonlData):
        files = [Path(data.path)]
    elif isinstance(data, HubData | NamedData):
        folder = Path(data.id if isinstance(data, HubData) else data.folder or "")
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in (".arrow", ".jsonl"))
    else:
        files = []
    found = [file for file in files if file.exists()]  # what is missing is said by the reader, in its words
    return tuple(_Part(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in found)


@lru_cache(maxsize=64)
def _counted(source: Source) -> DataCount:
    problems, refused = preflight.count("data", source.section)
    if refused:
        return DataCount(None, error="; ".join(problem.message for problem in refused))
    return DataCount(problems)


def inspect_data(data: Data, items: Sequence[Item] | None = None) -> DataFacts:
    """Read a set of problems and say what is in it.

    Args:
        data: the section.
        items: its problems, where they have been read already.

    Raises:
        DataError: it cannot be read.
    """
    if items is None:
        items = load(settled(data, {**os.environ, **variables()}))
    lengths = sorted(len(item.problem) for item in items)
    looked_at = items[:_MOST_ITEMS]
    kinds = Counter(answer_kind(item) for item in looked_at)
    return DataFacts(
        source=data.source,
        problems=len(items),
        lengths=(lengths[0], round(statistics.median(lengths)), lengths[-1]),
        answers=dict(kinds.most_common()),
        examples=[items[place] for place in sorted({0, len(items) // 2, len(items) - 1})][:_EXAMPLES],
        conflicts=conflicts(looked_at),
    )


def answer_kind(item: Item) -> str:
    """integer, decimal, text or expression; `scored by the task` where answers are not compared as mathematics."""
    if item.scorer is not None:
        return "scored by the task"
    answer = item.answer.strip().strip("$").strip()
    if _NUMBER.fullmatch(answer):
        return "integer"
    if _DECIMAL.fullmatch(answer):
        return "decimal"
    return "text" if _PLAIN.fullmatch(answer) and len(answer) > 1 else "expression"
