"""Expressions as trees."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

LONGEST_NUMBER = 100
"""Digits of one number as written."""


def words(text: str) -> frozenset[str]:
    """The words of a text, as a set: vocabularies are written so."""
    return frozenset(text.split())


class Unreadable(ValueError):
    """The text is no expression of this grammar."""


class Number(NamedTuple):
    """A number as written; `unit` is the value of one unit of its last digit where it has a point or an exponent."""

    value: Fraction
    unit: Fraction | None = None


class Symbol(NamedTuple):
    """A variable, with its subscript, primes and accents in its name."""

    name: str


class Call(NamedTuple):
    """An operation or function on trees: + - * / ^ neg mixed sqrt root log sin ... and `of:f` for an unknown f."""

    name: str
    args: tuple[Tree, ...]


Tree = Number | Symbol | Call


def number(text: str) -> Number:
    """The value of digits with a point or an exponent."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > LONGEST_NUMBER:
        raise Unreadable("a number is too long")
    whole, _, decimals = mantissa.partition(".")
    scale = Fraction(10) ** (int(exponent or 0) - len(decimals))
    value = int(whole + decimals or "0") * scale
    return Number(value, scale if decimals or exponent else None)


def symbols(tree: Tree) -> frozenset[str]:
    """The names of the variables of a tree."""
    match tree:
        case Symbol(name):
            return frozenset({name})
        case Call(_, args):
            return frozenset().union(*(symbols(arg) for arg in args))
    return frozenset()


def calls(tree: Tree) -> frozenset[str]:
    """The names of the operations of a tree."""
    if not isinstance(tree, Call):
        return frozenset()
    return frozenset({tree.name}).union(*(calls(arg) for arg in tree.args))


def height(tree: Tree) -> int:
    """The levels of a tree, counted without recursion: it may be of any height."""
    levels, row = 0, [tree]
    while row:
        levels += 1
        row = [arg for one in row if isinstance(one, Call) for arg in one.args]
    return levels
