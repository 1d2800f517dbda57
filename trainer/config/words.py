"""The schema's refusals as sentences that name the field, the value and the fix."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trainer.config import rules
from trainer.errors import Problem

_UNIONS = ("regime", "algorithm", "data")
_LONGEST_VALUE = 80

_PATTERNS = {
    rules.NAME: rules.NO_NAME,
    r"^[a-z0-9][a-z0-9_.-]*$": "is no short name; use lower-case letters, digits and the signs . _ -, beginning with a letter or digit",
}


def _written(limit: float) -> str:
    return str(limit) if isinstance(limit, int) else f"{limit:g}"


_FIXES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "bool_type": lambda _: "is neither true nor false; give one of them",
    "dict_type": lambda _: "is no mapping; write `name: value` below it",
    "finite_number": lambda _: "is no finite number; give one",
    "float_parsing": lambda _: "is no number; give one",
    "float_type": lambda _: "is no number; give one",
    "greater_than": lambda limits: f"is too small; give a number above {limits['gt']:g}",
    "greater_than_equal": lambda limits: f"is too small; give {limits['ge']:g} or more",
    "int_from_float": lambda _: "is no whole number; give one",
    "int_parsing": lambda _: "is no whole number; give one",
    "int_parsing_size": lambda _: "is too large; give a smaller number",
    "int_type": lambda _: "is no whole number; give one",
    "less_than": lambda limits: f"is too large; give a number below {limits['lt']:g}",
    "less_than_equal": lambda limits: f"is too large; give {_written(limits['le'])} or less",
    "literal_error": lambda limits: f"is not known; choose {limits['expected']}",
    "model_attributes_type": lambda _: "is no section; write its settings below it, such as `kind: ...`",
    "model_type": lambda _: "is no section; write its settings below it, as `name: value`",
    "string_pattern_mismatch": lambda limits: _PATTERNS[limits["pattern"]],
    "string_too_long": lambda limits: f"is too long; give at most {limits['max_length']} characters",
    "string_type": lambda _: "is no text; put it in quotes",
    "too_long": lambda limits: f"has too many parts; give {limits['max_length']}",
    "tuple_type": lambda _: "is no list; write it as [..., ...]",
}


def in_words(item: Any) -> Problem:
    """One error of pydantic's `ValidationError.errors()` as a Problem."""
    location = [str(part) for part in item["loc"]]
    # A discriminated union adds the chosen kind to the location; the user never wrote it there.
    path = ".".join(part for index, part in enumerate(location) if index == 0 or location[index - 1] not in _UNIONS)
    kind, given, context = item["type"], item["input"], item.get("ctx") or {}
    if kind == "union_tag_invalid":
        return Problem(f"{path}.kind", f"{context['tag']!r} is not known; choose one of {context['expected_tags']}")
    if kind == "union_tag_not_found":
        return Problem(f"{path}.kind", "is missing; say which kind, such as `kind: occ`")
    if kind == "missing":
        return Problem(path, "is missing; add it")
    if kind == "extra_forbidden":
        return Problem(path, "is not a setting here; check its spelling and the section it stands in")
    if kind == "string_too_short":
        return Problem(path, "is empty; give at least 1 character")
    if kind == "value_error":  # raised by a section's own rule, as "field: sentence"
        field, _, message = str(context["error"]).partition(": ")
        return Problem(f"{path}.{field}".strip("."), message)
    shown = repr(given)
    if len(shown) > _LONGEST_VALUE:
        shown = f"{shown[:_LONGEST_VALUE]}..."
    if kind in _FIXES:
        return Problem(path, f"{shown} {_FIXES[kind](context)}")
    return Problem(path, f"{shown} is refused: {item['msg'][0].lower()}{item['msg'][1:]}")
