"""From a configuration's data section to items, whatever the kind of the source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.config import Columns, Data, HubData, JsonlData, NamedData, ParquetData, ReasoningGymData
from trainer.errors import DataError
from trainer.tasks.items import Item, from_row


class Record(NamedTuple):
    """One row of a source, as it stands there."""

    file: str
    place: str
    """Where in the file, such as `line 3`."""
    number: int
    """Counted from 1 over the whole source."""
    values: dict[str, Any]


def load(data: Data) -> list[Item]:
    """All items of a data section, in the order of the source.

    Raises:
        DataError: the source cannot be read, one of its lines or rows is no item (named by file and number), or the
            reasoning-gym task or its settings are refused.
    """
    if isinstance(data, ReasoningGymData):
        from trainer.tasks import gym  # reasoning-gym takes a second to import and is seldom needed

        return gym.load(data)
    return list(_items(data))


def check(data: Data) -> int:
    """Validate a data section as `load` does, without generating procedural problems; how many items it holds.

    Raises:
        DataError: as for `load`.
    """
    if isinstance(data, ReasoningGymData):
        from trainer.tasks import gym

        return gym.check(data)
    return sum(1 for _ in _items(data))


def settled(data: Data, environment: Mapping[str, str]) -> Data:
    """The same data section for a process in another folder or on another machine: with absolute paths, and named sets with their place.

    Raises:
        DataError: MTPRL_BENCHMARKS_DIR names no folder.
    """
    if isinstance(data, JsonlData | ParquetData):
        return data.model_copy(update={"path": str(Path(data.path).absolute())})
    if isinstance(data, HubData) and Path(data.id).is_dir():
        return data.model_copy(update={"id": str(Path(data.id).absolute())})
    if isinstance(data, NamedData):
        from trainer.tasks import named

        return named.settled(data, environment)
    return data


_Rows = JsonlData | ParquetData | HubData | NamedData


def _items(data: _Rows) -> Iterator[Item]:
    found: dict[str, tuple[str, str]] = {}  # id -> file and place
    for record, columns in _records(data):
        try:
            item = from_row(record.values, record.number, record.place, columns, data)
            if item.id in found:
                file, place = found[item.id]
                where = place if file == record.file else f"{file}, {place}"
                raise ValueError(f"the id {item.id!r} is already that of {where}; give each problem its own")
        except ValueError as error:
            raise DataError(f"{record.file}, {record.place}: {error}") from None
        found[item.id] = (record.file, record.place)
        yield item
    if not found:
        example = '; write one {"problem": ..., "answer": ...} per line' if isinstance(data, JsonlData) else ""
        raise DataError(f"{data.source}: holds no problems{example}")


def _records(data: _Rows) -> Iterator[tuple[Record, Columns]]:
    # Imported here, because each kind has readers of its own, and those of tables take their time.
    if isinstance(data, NamedData):
        from trainer.tasks import named

        for part in named.parts(data, os.environ):
            yield from _records(part)
        return
    if isinstance(data, JsonlData):
        from trainer.tasks import jsonl

        records = jsonl.records(data)
    else:
        from trainer.tasks import tables

        records = tables.parquet_records(data) if isinstance(data, ParquetData) else tables.hub_records(data)
    for record in records:
        yield record, data.columns
