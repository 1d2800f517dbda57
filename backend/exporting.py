"""Every value of some runs into a file: CSV, JSON lines or Parquet. Streamed: what is in memory at once does not grow with the runs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from db.reads import ExportRow
from trainer.events import encode_number

_ROW_GROUP = 50_000


def write_text(rows: Iterator[ExportRow], format: str, file: TextIO) -> None:
    """Write rows as `csv` with a line of names before them, or as `jsonl`, one object per line; what is not finite as a word."""
    if format == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(ExportRow._fields)
        writer.writerows((*row[:5], encode_number(row.value), row.time) for row in rows)
    else:
        for row in rows:
            file.write(json.dumps({**row._asdict(), "value": encode_number(row.value)}) + "\n")


def write_parquet(rows: Iterable[ExportRow], path: Path) -> None:
    """Write rows as Parquet; what is not finite stands there as what it is.

    Raises:
        OSError: the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    types = (pa.int64(), pa.int32(), pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.float64())
    schema = pa.schema(list(zip(ExportRow._fields, types, strict=True)))
    with parquet.ParquetWriter(path, schema, use_dictionary=["metric"]) as writer:
        each = iter(rows)
        while some := list(islice(each, _ROW_GROUP)):
            columns = [pa.array(column, type) for column, type in zip(zip(*some, strict=True), types, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))
