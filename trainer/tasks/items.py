"""Items: problems with a verifiable answer, and how one row of a source becomes one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from trainer.config import Columns, Prompted

LONGEST_ID = 200
"""Characters of an id: what the store's columns hold. A longer one would lose every completion and evaluation it stands in."""

Scorer = Callable[[str], float]
"""Scores an extracted answer; 1.0 and above is right, partial credit is not. Must survive pickling: it runs in the
grader's worker process."""


@dataclass(frozen=True, slots=True)
class Item:
    """One problem. `prompt` is the problem in its template: the text that the model sees."""

    id: str
    problem: str
    answer: str
    prompt: str
    scorer: Scorer | None = None
    """The source's own scorer; none: answers are compared as mathematics."""
    chat: bool = False
    """Whether `prompt` is the user's message of a chat, to be put into the tokenizer's template."""
    system: str = ""
    """The system message of that chat; empty: it has none."""
    place: str = ""
    """Where it stands in its source, such as `line 3`; empty where it was generated."""


def conflicts(items: Iterable[Item]) -> list[tuple[Item, Item]]:
    """Problems that stand there again with another answer, each with the first of its text: at most one of the two is right."""
    first: dict[str, Item] = {}
    pairs = ((first.setdefault(item.problem, item), item) for item in items if item.scorer is None)
    return [(before, item) for before, item in pairs if before.answer.strip() != item.answer.strip()]


def from_row(values: Mapping[str, Any], number: int, place: str, columns: Columns, prompted: Prompted) -> Item:
    """One row of a source as an item; `number` is its id where it has none.

    Raises:
        ValueError: what is wrong with the row, in words.
    """
    problem = _text(values, "problem", columns.problem)
    identifier = str(number) if _has_no_id(values, columns) else _text(values, "id", columns.id)
    if len(identifier) > LONGEST_ID:
        raise ValueError(f"{columns.id!r} has {len(identifier)} characters; give at most {LONGEST_ID}")
    if "\0" in identifier:  # the store would put another character in its place, and two ids could become one
        raise ValueError(f"{columns.id!r} is {ascii(identifier)[:80]}, with a NUL character; leave it out")
    return Item(
        id=identifier,
        problem=problem,
        answer=_text(values, "answer", columns.answer),
        prompt=prompted.template.replace("{problem}", problem),
        chat=prompted.chat,
        system=prompted.system,
        place=place,
    )


def _has_no_id(values: Mapping[str, Any], columns: Columns) -> bool:
    return columns.id == Columns().id and columns.id not in values


def _text(values: Mapping[str, Any], what: str, column: str) -> str:
    """The text that the column holds; `what` is the setting of `columns` that named it."""
    try:
        value = _find(values, column)
    except LookupError:
        names = ", ".join(map(str, values)) or "nothing"
        raise ValueError(
            f"has no {column!r}; add it, or name the column that holds it in columns.{what} (there are {names})"
        ) from None
    if what == "problem" and _is_conversation(value):
        value = _last_of_user(value, column)
    text = _number_as_text(value)
    if not isinstance(text, str):
        shown = json.dumps(value, default=str, ensure_ascii=False)[:80]
        raise ValueError(f"{column!r} is {shown}; give text or a number")
    if not text.strip():
        raise ValueError(f"{column!r} is empty; fill it in or remove the line")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can escape half of a character, which no tokenizer and no store takes
        half = ascii(text[error.start])
        raise ValueError(
            f"{column!r} is not valid Unicode ({half} at character {error.start}); write the whole character"
        ) from None
    return text


def _find(values: Mapping[str, Any], column: str) -> Any:
    """The value under a column's name, which may go into mappings and lists (`a.b`, `a.0`).

    Raises:
        LookupError: there is none.
    """
    if column in values:
        return values[column]
    here: Any = values
    for part in column.split("."):
        here = here[int(part)] if isinstance(here, list) and part.isdecimal() else _entry(here, part)
    return here


def _entry(values: Any, name: str) -> Any:
    if not isinstance(values, Mapping):
        raise LookupError(name)
    return values[name]


def _is_conversation(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and "role" in turn and "content" in turn for turn in value)
    )


def _last_of_user(turns: list[Mapping[str, Any]], column: str) -> Any:
    said = [turn["content"] for turn in turns if turn["role"] == "user"]
    if not said:
        raise ValueError(f"{column!r} is a conversation without a message of the user; add it or remove the line")
    return said[-1]


def _number_as_text(value: Any) -> Any:
    """Numbers of tables as text; those of JSON files come as they were written."""
    if isinstance(value, bool) or (isinstance(value, float | Decimal) and not math.isfinite(value)):
        return None
    return str(value) if isinstance(value, int | float | Decimal) else value
