"""A run's log, read within bounds however large it is: its end, and where a text stands in it."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SEARCHED = 64 * 2**20
"""Bytes that a search reads, from the end."""
MOST_PLACES = 100
AROUND = 2
"""Lines shown before and after a hit."""
_CHUNK = 2**20
_LONGEST_PLACE, _LONGEST_LINE = 40, 600


class Part(NamedTuple):
    """The end of a log."""

    text: str
    size: int
    """Bytes of the whole log."""
    whole: bool
    """Whether the text is all of it."""


@dataclass(slots=True)
class Place:
    """Lines of a log with at least one hit among them."""

    first: int
    """Number of the first line, counted from 1 where the search began."""
    lines: list[str]
    hits: list[int]
    """Indices of the lines that hold the text."""


@dataclass(slots=True)
class Found:
    """What a search came to."""

    hits: int = 0
    """Lines that hold the text."""
    searched: int = 0
    """Bytes, from the end of the log."""
    size: int = 0
    """Bytes of the whole log."""
    places: deque[Place] = field(default_factory=lambda: deque(maxlen=MOST_PLACES))
    """The last ones, in their order."""

    @property
    def whole(self) -> bool:
        """Whether all of the log was searched."""
        return self.searched == self.size

    @property
    def shown(self) -> int:
        """Hits among the places."""
        return sum(len(place.hits) for place in self.places)


def end(path: Path, most: int) -> Part:
    """The last `most` bytes of a log, from the beginning of a line.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - most, 0))
        text = file.read(most).decode("utf-8", "replace")
    return Part(text, size, True) if size <= most else Part(text.partition("\n")[2], size, False)


def search(path: Path, text: str, *, most: int = SEARCHED) -> Found:
    """Where a text stands in the last `most` bytes of a log, upper and lower case alike.

    Raises:
        OSError: it cannot be read.
    """
    wanted, found = text.lower(), Found()
    before: deque[str] = deque(maxlen=AROUND)
    place: Place | None = None
    number = 1
    for chunk in _chunks(path, most, found):
        if place is None and wanted not in chunk.lower():  # nearly all of a large log
            number += chunk.count("\n") + 1
            before.extend(chunk.rsplit("\n", AROUND)[-AROUND:])
            continue
        for line in chunk.split("\n"):
            hit = wanted in line.lower()
            if hit and place is None:
                place = Place(number - len(before), [*before], [])
                found.places.append(place)
                before.clear()
            if hit:
                found.hits += 1
            if place is None:
                before.append(line)
            else:
                if hit:
                    place.hits.append(len(place.lines))
                place.lines.append(_around(line, wanted) if hit else line[:_LONGEST_LINE])
                if len(place.lines) - place.hits[-1] > AROUND or len(place.lines) >= _LONGEST_PLACE:
                    place = None
            number += 1
    return found


def _chunks(path: Path, most: int, found: Found) -> Iterator[str]:
    """Whole lines, many at once, without the last line end; tells `found` how much is searched."""
    with open(path, "rb") as file:
        found.size = file.seek(0, io.SEEK_END)
        found.searched = min(most, found.size)
        file.seek(found.size - found.searched)
        if not found.whole:
            file.readline(_CHUNK)
        rest = b""
        while file.tell() < found.size and (data := file.read(_CHUNK)):
            whole, line_end, after = data.rpartition(b"\n")
            if line_end:
                yield (rest + whole).decode("utf-8", "replace")
                rest = after
            elif len(rest) > _CHUNK:  # a line without an end is searched in pieces
                yield (rest + data).decode("utf-8", "replace")
                rest = b""
            else:
                rest += data
        if rest:
            yield rest.decode("utf-8", "replace")


def _around(line: str, wanted: str) -> str:
    """A line, of a long one the part around the hit."""
    if len(line) <= _LONGEST_LINE:
        return line
    start = max(line.lower().find(wanted) - _LONGEST_LINE // 2, 0)
    stop = start + _LONGEST_LINE
    return ("…" if start else "") + line[start:stop] + ("…" if stop < len(line) else "")
