r"""Comparing single answers: numbers, with their units, and expressions.

* An integer, a fraction, money and a percentage are exact.
* A gold answer with a point or an exponent (1.6, 3e8, 4 \times 10^{33}) was rounded: right is a number that rounds to its digits (halves
  away from zero) and is at most 5 % away. A closed form such as 2\sqrt{5} claims to be exact, and is not rounded.
* A decimal is right for a fraction, root or other constant only with `DIGITS` digits or more, all of them right; never for an integer.
* Arithmetic left undone is no answer, or copying `357+864`, `2^{10}` or `\sin 60^\circ` from the question would be right. Where the gold answer is an
  integer, only a number as one writes it is an answer, scientific notation and 10^n included; where it is another plain number, quotients and
  powers are, too; where it is another constant, no sum or product of rational numbers, no combined complex numbers and no function is
  that the gold answer has none of. A \sum, \prod, \int or \lim is none where the gold answer has none. With variables only the value counts.
* A unit may be left out, or added where the gold answer has none; a different one is wrong. 8% is 8 or 0.08; 50% is right for 1/2, and for 50.
  The base of 204_5 counts as a unit. Degrees are equal to the radians with \pi that they are worth.
* Expressions are equal where their values are (`trainer.tasks.values`).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from trainer.tasks import expressions, values
from trainer.tasks.expressions import FUNCTIONS, GREEK
from trainer.tasks.notation import tight
from trainer.tasks.trees import Call, Number, Tree, Unreadable, calls, symbols, words
from trainer.tasks.units import split_unit

DIGITS = 6
_FARTHEST = Fraction(1, 20)


class Quantity(NamedTuple):
    """An answer taken apart: its expression (None where it is not read here) and its unit."""

    text: str
    tree: Tree | None
    unit: str | None


_MONEY = re.compile(r"^([+-]?) ?(?:\\\$|\\text ?\{\\?\$\}) ?")
_BASE = re.compile(r"^(\d+) ?_ ?(?:\{ ?(?:\\text ?\{)? ?(\d+|[a-z]+) ?\}?\}|(\d+))$", re.ASCII)
_BASES = dict(
    zip(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
        range(2, 13),
        strict=True,
    )
)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])", re.ASCII)


def read(text: str, letters: bool = False) -> Quantity:
    """Take an answer in normalised form apart; `letters`: single letters after a space are units, too."""
    based = _BASE.match(text)
    if based:
        base = based[2] or based[3]
        return Quantity(based[1].lstrip("0"), _tree(based[1]), f"base {_BASES.get(base, base)}")
    unit: str | None = None
    text = _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    if _MONEY.match(text):
        text, unit = _MONEY.sub(r"\1", text), "dollar"
    text, found = split_unit(text, letters)
    return Quantity(text, _tree(text), unit or found)


def _tree(text: str) -> Tree | None:
    try:
        return expressions.parse(text)
    except Unreadable:
        return None


def is_plain(tree: Tree | None) -> bool:
    """Whether a tree is a number as one writes it: an integer, decimal, fraction, mixed number or in scientific notation."""
    match tree:
        case Number():
            return True
        case Call("neg", (one,)):
            return is_plain(one)
        case Call("/", (above, below)):
            return _is_literal(above) and _is_literal(below)
        case Call("mixed", (Number(), _)):
            return True
    return _is_scientific(tree)


def _is_literal(tree: Tree) -> bool:
    return isinstance(tree, Number) or (
        isinstance(tree, Call) and tree.name == "neg" and isinstance(tree.args[0], Number)
    )


def _is_scientific(tree: Tree | None) -> bool:
    match tree:
        case Call("*", (mantissa, Call("^", (Number(base), exponent)))) if base == 10:
            return _is_literal(mantissa) and _is_literal(exponent)
    return False


def written_unit(tree: Tree | None) -> Fraction | None:
    """What one unit of the last digit of a decimal, or of a number in scientific notation, is worth; None for other trees."""
    match tree:
        case Number(_, unit):
            return unit
        case Call("neg", (one,)):
            return written_unit(one)
        case Call("*", (mantissa, power)) if _is_scientific(tree):
            scale = values.exact(power)
            return (written_unit(mantissa) or Fraction(1)) * scale if scale is not None else None
    return None


def unevaluated(tree: Tree, whole: bool) -> bool:
    """Whether a tree is more than a number as one writes it; `whole`: for an integer a quotient or power is too much, except 10^n."""
    if not isinstance(tree, Call) or _is_scientific(tree):
        return False
    match tree:
        case Call("^", (Number(base), exponent)) if base == 10 and _is_literal(exponent):
            return False
    written = ("neg", "mixed") if whole else ("neg", "mixed", "/", "^")
    return tree.name not in written or (tree.name != "mixed" and any(unevaluated(arg, whole) for arg in tree.args))


_FAMILIES = (
    {"sin", "cos", "tan", "cot", "sec", "csc", "degrees"},
    {"arcsin", "arccos", "arctan"},
    {"sinh", "cosh", "tanh"},
    {"log", "lg"},
    {"floor", "ceil", "abs", "factorial", "binom"},
)


def _is_undone(got: Tree, want: Tree) -> bool:
    """Whether an answer to a constant leaves more undone than the gold answer: arithmetic, or a function that the gold answer has not."""
    if any(family & calls(got) and not family & calls(want) for family in _FAMILIES):
        return True
    return _has_arithmetic(got) and not _has_arithmetic(want)


def _has_arithmetic(tree: Tree) -> bool:
    """Whether a tree has a sum or product of two rational numbers, or two complex ones that are combined."""
    if not isinstance(tree, Call) or _is_scientific(tree):
        return False
    if tree.name in ("+", "-", "*", "/"):
        rational = all(values.exact(arg) is not None for arg in tree.args)
        if (rational and tree.name != "/") or all(values.is_complex(arg) for arg in tree.args):
            return True
    return any(map(_has_arithmetic, tree.args))


def same(answer: str, gold: str) -> bool | None:
    """Whether a single answer is right; None where one of the two is not read here, but may be elsewhere."""
    want, got = read(gold), read(answer)
    if want.unit == got.unit is None and tight(want.text) == tight(got.text):
        return True
    if is_plain(want.tree) and (got.tree is None or symbols(got.tree)):
        got = read(answer, letters=True)
    if _is_based(want) or _is_based(got):
        return want.text == got.text and (got.unit in (None, want.unit) or (want.unit, got.unit) == (None, "base 10"))
    if (_is_angle(want, got) or _is_angle(got, want)) and _same_angle(want, got):
        return True
    if want.unit and got.unit and want.unit != got.unit:
        return False
    if want.tree is None or got.tree is None:
        return None if _may_be_asked(want, got) else False
    if "percent" in (want.unit, got.unit):
        return _same_percentage(want.tree, want.unit == "percent", got.tree, got.unit == "percent")
    if is_plain(want.tree):
        return _same_number(want.tree, got.tree, rounded=want.unit not in ("dollar", "cent"))
    if symbols(want.tree):
        return values.same(want.tree, got.tree)
    if _is_undone(got.tree, want.tree):
        return False
    return values.same(want.tree, got.tree) or _approximates(got.tree, want.tree)


def _is_based(quantity: Quantity) -> bool:
    return (quantity.unit or "").startswith("base ")


LONGEST_ASKED = 300
_LIBRARY = words("int iint oint sum prod lim gcd lcm max min det arg Re Im bmod")
_NOTATION = words("frac sqrt cdot times binom pi infty rightarrow ldots cdots lfloor rfloor lceil rceil")
_KNOWN = FUNCTIONS.keys() | GREEK | _NOTATION | _LIBRARY
_UNDONE = re.compile(r"\\(?:sum|prod|i*nt|lim)(?![a-z])")
_RISKY = re.compile(
    r"[^\x20-\x7e]|\d{13}|\^ ?\{? ?\d{4}|\^[^^]*\^[^^]*\^[^^]*\^|!|boxed|(?<!_\{[a-z])(?<!_\{[a-z] )=|[<>]|\\text(?![a-z])|[\[({]{8}|(?:[\[({][^\])}]*){16}|(?<![\\a-z])[a-z]{5}"
)


def _may_be_asked(want: Quantity, got: Quantity) -> bool:
    """Whether a worker process is asked about texts not read here: only what has a command of `_LIBRARY` and none that is unknown.

    Longer than `LONGEST_ASKED`, unbalanced, deeply nested, towers of powers, numbers of 13 digits, factorials or words: not equal. Nor is
    anything for a plain number, nor a constant that has no value within the limits.
    """
    if is_plain(want.tree) or (_UNDONE.search(got.text) and not _UNDONE.search(want.text)):
        return False
    if got.tree is not None and not symbols(got.tree) and not values.is_defined(got.tree):
        return False
    unread = [one.text for one in (want, got) if one.tree is None]
    if any(text.count(opening) != text.count(closing) for text in unread for opening, closing in ("{}", "()", "[]")):
        return False
    commands = [set(re.findall(r"\\([a-zA-Z]+|.)", text)) for text in unread]
    if not all(found & _LIBRARY and found <= _KNOWN for found in commands):
        return False
    return not any(len(text) > LONGEST_ASKED or _RISKY.search(text) for text in (want.text, got.text))


def _is_angle(degrees: Quantity, radians: Quantity) -> bool:
    return (
        degrees.unit == "degree"
        and radians.unit in (None, "rad")
        and radians.tree is not None
        and "pi" in calls(radians.tree)
    )


def _same_angle(want: Quantity, got: Quantity) -> bool:
    """Whether two angles are equal, of which one is in degrees and the other in radians."""
    one, other = (Call("degrees", (of.tree,)) if of.unit == "degree" and of.tree else of.tree for of in (want, got))
    return one is not None and other is not None and values.same(one, other)


def _same_percentage(want: Tree, want_percent: bool, got: Tree, got_percent: bool) -> bool:
    hundred = Number(Fraction(100))
    if want_percent and got_percent:
        return _same_number(want, got, rounded=False)
    target = values.exact(want)
    if target is None:
        return values.same(want, Call("/", (got, hundred)) if got_percent else Call("*", (got, hundred)))
    if want_percent:
        return _same_number(want, got, rounded=False) or _equals(target / 100, got)
    return _equals(target * 100, got) or (abs(target) > 1 and _same_number(want, got, rounded=False))


def _equals(target: Fraction, got: Tree) -> bool:
    return not unevaluated(got, whole=False) and values.exact(got) == target


def _same_number(want: Tree, got: Tree, rounded: bool) -> bool:
    target = values.exact(want)
    if target is None or unevaluated(got, whole=target.denominator == 1 and is_whole(want)):
        return False
    try:
        found = values.value(got)
    except values.Undefined:
        return False
    if values.close(found, target):
        return True
    unit = written_unit(want)
    if unit is not None and rounded:
        return is_plain(got) and isinstance(found, Fraction) and _rounds(found, target, unit)
    return target.denominator != 1 and _approximates(got, want)


def _rounds(found: Fraction, target: Fraction, unit: Fraction) -> bool:
    """Whether a number rounds to a target of which one unit of the last digit is worth `unit`: halves away from zero."""
    if found * target < 0:
        return False
    difference = abs(found) - abs(target)
    return -unit / 2 <= difference < unit / 2 and abs(difference) <= abs(target) * _FARTHEST


def is_whole(tree: Tree) -> bool:
    """Whether a tree is an integer as written."""
    match tree:
        case Call("neg", (one,)):
            return is_whole(one)
    return isinstance(tree, Number) and tree.unit is None


def _approximates(got: Tree, want: Tree) -> bool:
    unit = written_unit(got)
    found = values.exact(got)
    if unit is None or found is None or abs(found) / unit < 10 ** (DIGITS - 1):
        return False
    try:
        target = values.real(values.value(want))
    except values.Undefined:
        return False
    return target is not None and target.denominator != 1 and abs(found - target) <= unit / 2
