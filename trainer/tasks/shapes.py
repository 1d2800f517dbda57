r"""What kind of answer a text is: one expression, words, a tuple or interval, a list or set, a union, a matrix, an equation.

Only brackets, commas and signs outside of brackets are looked at; what stands between them is left as text. An inequality that says between
which numbers one variable lies is an interval; `a \pm b` is the two answers a + b and a - b.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from trainer.tasks.expressions import parse
from trainer.tasks.notation import split, wrapped
from trainer.tasks.trees import Call, Symbol, Tree, Unreadable, symbols

DEEPEST = 6
MOST = 200
"""Levels of brackets in brackets, and members of a list, beyond which a text is taken as one expression."""


class Words(NamedTuple):
    """An answer in words, such as a name or the letter of a choice."""

    text: str


class Single(NamedTuple):
    """One expression, as text."""

    text: str


class Ordered(NamedTuple):
    """A tuple, point, vector or interval: the brackets count."""

    items: tuple[Shape, ...]
    opening: str
    closing: str


class Many(NamedTuple):
    """A list or set: the order does not count, how often a member occurs does."""

    items: tuple[Shape, ...]
    is_set: bool


class Union(NamedTuple):
    """A union of sets."""

    items: tuple[Shape, ...]


class Matrix(NamedTuple):
    """Entries by row and column, and which brackets: a determinant is no matrix."""

    rows: tuple[tuple[Shape, ...], ...]
    is_determinant: bool


class Relation(NamedTuple):
    """Sides and the signs between them."""

    sides: tuple[str, ...]
    signs: tuple[str, ...]


Shape = Words | Single | Ordered | Many | Union | Matrix | Relation

_SEPARATOR = re.compile(
    r"[,;]|\\text ?\{,? ?(?:or|and),? ?\}|(?<![a-zA-Z\\])(?:or|and)(?![a-zA-Z])|\\lor(?![a-zA-Z])|\\vee(?![a-zA-Z])"
)
_UNION = re.compile(r"\\cup(?![a-zA-Z])")
_GROUPED = re.compile(r"([^,\d(\[{]*\d{1,3})((?:,\d{3})+)(?![\d,])([^,]*)", re.ASCII)
_MATRIX = re.compile(
    r"\\begin ?\{(?P<kind>[pbBv]?(?:small)?matrix|array)\} ?(?:\{[clr| ]*\})?(?P<body>(?:(?!\\begin|\\end).)*)\\end ?\{(?P=kind)\}"
)
_RELATION = re.compile(r"=|<|>|\\(?:le|ge|ne|approx|in)(?![a-zA-Z])")
_ONLY_WORDS = re.compile(r"(?:\\text ?\{[^{}]*\} ?)+")
_PLAIN_WORDS = re.compile(r"(?:[A-Za-z]{3,}|[Nn]o|NO)(?:[ -][A-Za-z]+)*", re.ASCII)
_TEXT = re.compile(r"\\text ?\{([^{}]*)\}")
_PLUS_MINUS = re.compile(r"\\(pm|mp)(?![a-zA-Z])")


def read(text: str, depth: int = 0) -> Shape:
    """The shape of an answer in normalised form."""
    if depth > DEEPEST:
        return Single(text)
    grouped = _GROUPED.fullmatch(text)
    if grouped:
        text = grouped[1] + grouped[2].replace(",", "") + grouped[3]
    if _ONLY_WORDS.fullmatch(text):
        return Words(" ".join(_TEXT.sub(r"\1", text).split()))
    if _PLAIN_WORDS.fullmatch(text) and _tree_of_word(text) is None:
        return Words(text)
    parts = [part for part in split(text, _SEPARATOR) if part]
    if 1 < len(parts) <= MOST:
        return _many([read(part, depth + 1) for part in parts], is_set=False)
    members = split(text, _UNION)
    if len(members) > 1 and all(members):
        return Union(tuple(read(part, depth + 1) for part in members))
    related = _relation(text, depth)
    if related is not None:
        return related
    if _PLUS_MINUS.search(text) and not text.startswith("\\{"):
        return Many(tuple(read(_signed(text, plus), depth + 1) for plus in (True, False)), is_set=False)
    return _bracketed(text, depth)


def _tree_of_word(text: str) -> Tree | None:
    try:
        tree = parse(text)
    except Unreadable:
        return None
    return tree if not isinstance(tree, Call) or tree.name in ("pi", "sqrt") else None


def _many(items: list[Shape], is_set: bool) -> Many:
    flat: list[Shape] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Many) and not item.is_set else (item,))
    return Many(tuple(flat), is_set)


def _signed(text: str, plus: bool) -> str:
    return _PLUS_MINUS.sub(lambda sign: "+" if (sign[1] == "pm") == plus else "-", text)


def _bracketed(text: str, depth: int) -> Shape:
    matrix = _MATRIX.fullmatch(text[1:-1].strip() if text[:1] in ("(", "[") and wrapped(text) else text)
    if matrix:
        rows = [row for row in re.split(r"\\\\", matrix["body"]) if row.strip()]
        cells = tuple(tuple(read(cell.strip(), depth + 1) for cell in row.split("&")) for row in rows)
        return Matrix(cells, matrix["kind"].startswith("v"))
    if text.startswith("\\{") and text.endswith("\\}") and wrapped(text[1:-2] + "}"):
        inside = text[2:-2].strip()
        members = [part for part in split(inside, _SEPARATOR) if part]
        return _many([read(part, depth + 1) for part in members], is_set=True) if len(members) <= MOST else Single(text)
    if wrapped(text) and text[0] != "{":
        parts = split(text[1:-1].strip(), _SEPARATOR)
        if 1 < len(parts) <= MOST:
            return Ordered(tuple(read(part, depth + 1) for part in parts), text[0], text[-1])
    if wrapped(text) and text[0] in "{(" and text[1:-1].strip():
        return read(text[1:-1].strip(), depth + 1)
    return Single(text)


def _relation(text: str, depth: int) -> Shape | None:
    sides = split(text, _RELATION)
    if len(sides) == 1 or not all(sides) or len(sides) > 6:
        return None
    signs, at = [], 0
    for side in sides[:-1]:
        at = text.index(side, at) + len(side)
        sign = _RELATION.search(text, at)
        assert sign is not None
        signs.append(sign[0].lstrip("\\"))
        at = sign.end()
    last = read(sides[-1], depth + 1)
    worded = isinstance(last, Words) and sides[-1].startswith("\\text")
    if "in" in signs:
        return last if signs == ["in"] and _is_variable(sides[0]) else Single(text)
    if (
        signs == ["="]
        and (worded or isinstance(last, Ordered | Many | Union | Matrix))
        and not _NO_NAME.search(sides[0])
    ):
        return _spread(sides[0], last) if isinstance(last, Many) and not last.is_set else last
    return _interval(sides, signs) or Relation(tuple(sides), tuple(signs))


def _spread(name: str, many: Many) -> Many:
    """x = 1 \\pm 2 is x = 1 + 2 and x = 1 - 2."""
    return Many(
        tuple(Relation((name, item.text), ("=",)) if isinstance(item, Single) else item for item in many.items), False
    )


_NO_NAME = re.compile(r"(?<!_)(?<!_\{)\d|[-^]", re.ASCII)
_SMALLER = {"<": "(", "le": "["}
_GREATER = {">": "(", "ge": "["}


def _interval(sides: list[str], signs: list[str]) -> Ordered | None:
    """The interval that an inequality describes, or None."""
    if all(sign in _GREATER for sign in signs):
        sides, signs = sides[::-1], [{">": "<", "ge": "le"}[sign] for sign in signs[::-1]]
    if not all(sign in _SMALLER for sign in signs):
        return None
    closes = {"(": ")", "[": "]"}
    match [(_is_variable(side), _is_constant(side)) for side in sides]:
        case [(_, True), (True, _)]:
            return Ordered((Single(sides[0]), Single("\\infty")), _SMALLER[signs[0]], ")")
        case [(True, _), (_, True)]:
            return Ordered((Single("-\\infty"), Single(sides[1])), "(", closes[_SMALLER[signs[0]]])
        case [(_, True), (True, _), (_, True)]:
            return Ordered((Single(sides[0]), Single(sides[2])), _SMALLER[signs[0]], closes[_SMALLER[signs[1]]])
    return None


def _is_variable(text: str) -> bool:
    try:
        return isinstance(parse(text), Symbol)
    except Unreadable:
        return False


def _is_constant(text: str) -> bool:
    try:
        return not symbols(parse(text))
    except Unreadable:
        return False
