"""Data sets of the Hugging Face hub, read with the `datasets` library, which fetches them once and runs no code of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.config import Columns, HubData
from trainer.errors import DataError
from trainer.tasks.sources import Record

_ROWS_AT_ONCE = 1000


def records(data: HubData) -> Iterator[Record]:
    """The data set's rows, counted from 1.

    Raises:
        DataError: it cannot be fetched or read, or has no such configuration or split.
    """
    dataset = _dataset(data)
    dataset = dataset.select_columns(needed(data.columns, dataset.column_names)).with_format("arrow")
    number = 0
    for table in dataset.iter(_ROWS_AT_ONCE):
        for values in table.to_pylist():
            number += 1
            yield Record(data.source, f"row {number}", number, values)


def needed(columns: Columns, present: list[str]) -> list[str]:
    """Those of the present columns that hold problem, answer and id."""
    asked = {columns.problem, columns.answer, columns.id}
    # All of them where none fits, so that the refusal can name them.
    return [name for name in present if name in asked or any(text.startswith(f"{name}.") for text in asked)] or present


def _dataset(data: HubData) -> Any:
    if Path(data.id).is_dir():
        raise DataError(f"{data.id} is a folder; give its files as `kind: jsonl`, or the name of a data set on the hub")
    import datasets  # takes a second, and most runs need none

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(data.id, data.config, split=data.split, revision=data.revision)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(f"{data.source}: {_first_line(error)}; check the name, and the access to it") from error
    except OSError as error:  # ConnectionError and a full disk, too
        message = f"cannot be fetched ({_first_line(error)}) and is not in the local cache"
        fix = "unset HF_HUB_OFFLINE, fetch it where there is a network, or give a file as `kind: jsonl`"
        raise DataError(f"{data.source}: {message}; {fix}") from error
    except Exception as error:  # whatever the library makes of a configuration, a split or a damaged file
        message = f"cannot be read ({_first_line(error)})"
        raise DataError(f"{data.source}: {message}; check config, split and revision") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
