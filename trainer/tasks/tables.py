"""Tables of problems: Parquet files, and data sets of the Hugging Face hub.

Both are read a thousand rows at a time, and only the columns that are needed. Data sets are fetched once by the `datasets`
library, which runs no code of theirs, and are read from its cache from then on.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trainer.config import Columns, HubData, ParquetData
from trainer.errors import DataError
from trainer.tasks.sources import Record

_ROWS_AT_ONCE = 1000
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/)?[\w.-]+")
_COMMIT = re.compile("[0-9a-f]{40}")


def parquet_records(data: ParquetData) -> Iterator[Record]:
    """The rows of all files, file by file in the order of their names.

    Raises:
        DataError: there is no such file, or one cannot be read.
    """
    import pyarrow.parquet  # takes its time, and most runs need none

    before = 0
    for path in parquet_files(data):
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                columns = _needed(data.columns, file.schema_arrow.names)
                yield from _rows(path, file.iter_batches(_ROWS_AT_ONCE, columns=columns), before)
                before += file.metadata.num_rows
        except (OSError, pyarrow.ArrowException) as error:
            message = (
                f"{path}: cannot be read ({_first_line(error)}); give Parquet files, and fetch a damaged one again"
            )
            raise DataError(message) from error


def parquet_files(data: ParquetData) -> list[str]:
    """The files that the path stands for: one, those of a folder, or those that a pattern fits.

    Raises:
        DataError: there are none.
    """
    pattern = str(Path(data.path) / "*.parquet") if Path(data.path).is_dir() else data.path
    files = [data.path] if Path(data.path).is_file() else sorted(glob.glob(pattern, recursive=True))
    if not files:
        raise DataError(
            f"{data.path}: there is no such file; give a Parquet file, a folder of them, or a pattern such as data/train-*.parquet"
        )
    return files


def hub_records(data: HubData) -> Iterator[Record]:
    """The data set's rows.

    Raises:
        DataError: it cannot be fetched or read, or has no such configuration or split.
    """
    dataset = _dataset(data)
    dataset = dataset.select_columns(_needed(data.columns, dataset.column_names)).with_format("arrow")
    return _rows(data.source, dataset.iter(_ROWS_AT_ONCE), 0)


def _rows(file: str, tables: Iterable[Any], before: int) -> Iterator[Record]:
    row = 0
    for table in tables:
        for values in table.to_pylist():
            row += 1
            yield Record(file, f"row {row}", before + row, values)


def _needed(columns: Columns, present: list[str]) -> list[str]:
    """Those of the present columns that hold problem, answer and id."""
    asked = (columns.problem, columns.answer, columns.id)
    needed = [name for name in present if name in asked or any(text.startswith(f"{name}.") for text in asked)]
    # All of them where one is missing, so that the refusal of the first row can name them.
    return needed if len(needed) >= 2 else present


def _dataset(data: HubData) -> Any:
    if not Path(data.id).is_dir() and not _HUB_NAME.fullmatch(data.id):
        raise DataError(
            f"{data.id}: is neither a folder nor a name on the hub, such as HuggingFaceH4/MATH-500; give one"
        )
    import datasets  # takes a second, and most runs need none

    datasets.disable_progress_bars()
    try:
        if Path(data.id).is_dir():
            return _saved(data, datasets.load_from_disk(data.id))
        dataset = datasets.load_dataset(data.id, data.config, split=data.split, revision=data.revision)
        _check_commit(data, dataset)
        return dataset
    except DataError:
        raise
    except datasets.exceptions.DatasetNotFoundError as error:
        raise DataError(f"{data.source}: {_first_line(error)}; check the name, and the access to it") from error
    except FileNotFoundError as error:
        if not Path(data.id).is_dir():
            raise DataError(f"{data.source}: cannot be read ({_first_line(error)}); check config and split") from error
        fix = "give the folder that `save_to_disk` wrote, or its files as `kind: parquet` or `kind: jsonl`"
        raise DataError(f"{data.id}: is a folder without a saved data set; {fix}") from error
    except OSError as error:  # ConnectionError and a full disk, too
        message = f"cannot be fetched ({_first_line(error)}) and is not in the local cache"
        fix = "unset HF_HUB_OFFLINE or fetch it where there is a network, or give its files as `kind: parquet`"
        raise DataError(f"{data.source}: {message}; {fix}") from error
    except Exception as error:  # whatever the library makes of a configuration, a split or a damaged file
        message = f"cannot be read ({_first_line(error)})"
        raise DataError(f"{data.source}: {message}; check config, split and revision") from error


def _check_commit(data: HubData, dataset: Any) -> None:
    """Without a network the library takes whatever commit its cache has, also where another one was asked for."""
    commits = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    others = {commit for commit in commits if _COMMIT.fullmatch(commit) and commit != data.revision}
    if data.revision and _COMMIT.fullmatch(data.revision) and others:
        message = f"revision {data.revision} is not in the local cache, which has {', '.join(sorted(others))}"
        raise DataError(
            f"{data.source}: {message}; fetch it where there is a network, or ask for the one that is there"
        )


def _saved(data: HubData, saved: Any) -> Any:
    """The split of a data set that `save_to_disk` wrote: of several, or the one that it is."""
    for setting in ("config", "revision"):
        if getattr(data, setting):
            raise DataError(f"{data.id}: is a folder, which has no {setting}; leave {setting} out")
    splits = saved if isinstance(saved, dict) else {str(saved.split or data.split): saved}
    if data.split not in splits:
        raise DataError(f"{data.id}: has no split {data.split!r}; choose one of {', '.join(splits)}")
    return splits[data.split]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
