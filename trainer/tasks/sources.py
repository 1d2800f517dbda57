"""From a configuration's data section to items, whatever the kind of the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from trainer.config import Data, HubData, JsonlData, ReasoningGymData
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


def _items(data: JsonlData | HubData) -> Iterator[Item]:
    found: dict[str, Record] = {}
    for record in _records(data):
        try:
            item = from_row(record.values, record.number, data.columns, data.template)
            if item.id in found:
                first = found[item.id]
                where = first.place if first.file == record.file else f"{first.file}, {first.place}"
                raise ValueError(f"the id {item.id!r} is already that of {where}; give each problem its own")
        except ValueError as error:
            raise DataError(f"{record.file}, {record.place}: {error}") from None
        found[item.id] = record._replace(values={})
        yield item
    if not found:
        raise DataError(f'{data.source}: holds no problems; write one {{"problem": ..., "answer": ...}} per line')


def _records(data: JsonlData | HubData) -> Iterator[Record]:
    # Imported here, because each kind has readers of its own, and those of tables take their time.
    if isinstance(data, JsonlData):
        from trainer.tasks import jsonl

        return jsonl.records(data)
    from trainer.tasks import hub

    return hub.records(data)
