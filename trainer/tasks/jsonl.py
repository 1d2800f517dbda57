"""JSONL files: one JSON object per line, each line named by its number where it is none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.config import JsonlData
from trainer.errors import DataError
from trainer.tasks.sources import Record


def records(data: JsonlData) -> Iterator[Record]:
    """The file's lines that are not blank.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object.
    """
    path = Path(data.path)
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                if not raw.strip():
                    continue
                try:
                    values = _json_object(raw)
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}") from None
                yield Record(str(path), f"line {number}", number, values)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a JSONL file") from None


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8-sig")  # a byte order mark is no reason to refuse the first line
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from None
    try:
        # Numbers stay as they are written: 3.50 is the answer "3.50", and a huge one costs nothing.
        values = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=_object)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f'is not valid JSON ({error}); write one {{"problem": ..., "answer": ...}} per line') from None
    if not isinstance(values, dict):
        raise ValueError(f'is not a JSON object but {type(values).__name__}; write {{"problem": ..., "answer": ...}}')
    return values


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; plain `json` lets the second of two equal keys win in silence."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"{twice!r} is given twice; remove one")
    return values
