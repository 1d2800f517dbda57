r"""What expressions are worth: exactly where they are rational, else to 60 digits. Every operation is bounded, so nothing can hang.

Two expressions with variables are taken as equal where they agree to 30 digits at `POINTS` drawn points. Variables stand for positive
numbers, and for positive integers where floors, ceilings, factorials or binomials occur. Beyond the limits (integers of `EXACT_BITS` bits,
powers of 10 with `LARGEST_EXPONENT` digits, factorials above `LARGEST_FACTORIAL`) a value is `Undefined`, and equal to nothing.
"""

from __future__ import annotations

import functools
import math
import random
import zlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from trainer.tasks.trees import Call, Number, Symbol, Tree, calls, symbols

POINTS = 6
INTEGER_POINTS = 16
EXACT_BITS = 20_000
LARGEST_EXPONENT = 1_000_000
LARGEST_FACTORIAL = 1_000

_mp: Any = mpmath.MPContext()  # of its own, so that nobody else's precision is changed
_mp.dps = 60
_CLOSE = _mp.mpf(10) ** -30


class Undefined(ArithmeticError):
    """The expression has no value here, or none within the limits."""


Value = Any
"""A Fraction where the value is exact, else a real or complex number of 60 digits."""


def value(tree: Tree, env: Mapping[str, Value] | None = None) -> Value:
    """The value of a tree, given that of its variables.

    Raises:
        Undefined: there is none, or it is beyond the limits, or a variable has no value.
    """
    match tree:
        case Number(exact, _):
            return exact
        case Symbol(name):
            if env is None or name not in env:
                raise Undefined(f"{name} has no value")
            return env[name]
        case Call(name, args):
            return _apply(name, [value(arg, env) for arg in args])


def exact(tree: Tree) -> Fraction | None:
    """The value of a tree where it is rational, else None."""
    try:
        found = value(tree)
    except Undefined:
        return None
    return found if isinstance(found, Fraction) else None


def is_defined(tree: Tree) -> bool:
    """Whether a tree has a value."""
    try:
        value(tree)
    except Undefined:
        return False
    return True


def is_complex(tree: Tree) -> bool:
    """Whether a tree has a value that is not real."""
    try:
        found = value(tree)
    except Undefined:
        return False
    return not isinstance(found, Fraction) and bool(abs(_mp.im(found)) > _CLOSE * abs(found))


def _apply(name: str, args: list[Value]) -> Value:
    try:
        if name.startswith("of:"):
            seed = zlib.crc32(name.encode())
            return (
                _mp.sin(_number(args[0]) * (1 + seed % 97) / 50) + 2 + seed % 89
            )  # any smooth function of its own will do
        result = _OPERATIONS[name](*args)
    except (ZeroDivisionError, ValueError, OverflowError, KeyError, TypeError, NotImplementedError) as error:
        raise Undefined(str(error)) from None
    if isinstance(result, Fraction):
        if max(result.numerator.bit_length(), result.denominator.bit_length()) > EXACT_BITS:
            raise Undefined("too large")
    elif _mp.isnan(result):
        raise Undefined("not a number")
    return result


def _number(of: Value) -> Value:
    return _mp.mpf(of.numerator) / of.denominator if isinstance(of, Fraction) else of


def _both(exactly: Any) -> Any:
    def operation(left: Value, right: Value) -> Value:
        if isinstance(left, Fraction) and isinstance(right, Fraction):
            return exactly(left, right)
        return exactly(_number(left), _number(right))

    return operation


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(exponent.numerator) * bits <= EXACT_BITS or base in (0, 1, -1):
                return base**exponent.numerator
        elif base >= 0 and exponent.denominator <= 16:
            root = _exact_root(base, exponent.denominator)
            if root is not None:
                return _power(root, Fraction(exponent.numerator))
    base, exponent = _number(base), _number(exponent)
    if base == 0:
        if _mp.re(exponent) <= 0:
            raise Undefined("zero to the power of zero or less")
        return _mp.mpf(0)
    return _exp(exponent * _mp.log(base)) if not _is_whole(exponent) else _whole_power(base, int(_mp.re(exponent)))


def _whole_power(base: Value, exponent: int) -> Value:
    if abs(exponent) * abs(_mp.log(abs(base))) > 3 * LARGEST_EXPONENT:
        raise Undefined("too large")
    return base**exponent


def _is_whole(of: Value) -> bool:
    return bool(_mp.im(of) == 0 and abs(of) < 10**6 and _mp.isint(_mp.re(of)))


def _exp(of: Value) -> Value:
    of = _number(of)
    if abs(of) > 3 * LARGEST_EXPONENT:
        raise Undefined("too large")
    return _mp.exp(of)


def _exact_root(of: Fraction, degree: int) -> Fraction | None:
    above, below = (_integer_root(part, degree) for part in (of.numerator, of.denominator))
    return Fraction(above, below) if above is not None and below is not None else None


def _integer_root(of: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(of)
    elif of.bit_length() > 1_000:
        return None
    else:
        root = int(_mp.nint(_mp.root(of, degree)))
    return root if root**degree == of else None


def _root(of: Value, degree: Value) -> Value:
    if not (isinstance(degree, Fraction) and degree.denominator == 1 and 2 <= degree <= 100):
        return _power(of, 1 / degree)
    whole = degree.numerator
    if isinstance(of, Fraction):
        if of < 0 and whole % 2:
            return -_root(-of, degree)
        if of >= 0:
            found = _exact_root(of, whole)
            if found is not None:
                return found
    return _mp.sqrt(_number(of)) if whole == 2 else _mp.root(_number(of), whole)


def _log(of: Value, base: Value | None = None) -> Value:
    if of == 0:
        raise Undefined("the logarithm of zero")
    natural = _mp.log(_number(of))
    if base is None:
        return Fraction(0) if of == 1 else natural
    found = natural / _mp.log(_number(base))
    nearest = _mp.nint(_mp.re(found))
    return Fraction(int(nearest)) if abs(found - nearest) < _CLOSE and abs(nearest) < 10**6 else found


def _whole(of: Value) -> int:
    if not (isinstance(of, Fraction) and of.denominator == 1 and 0 <= of <= LARGEST_FACTORIAL):
        raise Undefined("not a small whole number")
    return of.numerator


def _step(of: Value, rounding: Any) -> Fraction:
    if isinstance(of, Fraction):
        return Fraction(rounding(of))
    if _mp.im(of) != 0 or abs(of) > 10**30:
        raise Undefined("not a small real number")
    nearest = _mp.nint(of)
    return Fraction(
        int(nearest if abs(of - nearest) < _CLOSE else (_mp.floor if rounding is math.floor else _mp.ceil)(of))
    )


def _of_angle(function: Any) -> Any:
    def operation(angle: Value) -> Value:
        angle = _number(angle)
        if abs(angle) > LARGEST_EXPONENT:
            raise Undefined("too large")
        return function(angle)

    return operation


def _of_number(function: Any) -> Any:
    return lambda argument: function(_number(argument))


_OPERATIONS: dict[str, Any] = {
    "+": _both(lambda a, b: a + b),
    "-": _both(lambda a, b: a - b),
    "*": _both(lambda a, b: a * b),
    "/": _both(lambda a, b: a / b),
    "mixed": _both(lambda a, b: a + b),
    "neg": lambda a: -a,
    "^": _power,
    "sqrt": lambda a: _root(a, Fraction(2)),
    "root": _root,
    "factorial": lambda n: Fraction(math.factorial(_whole(n))),
    "binom": lambda n, k: Fraction(math.comb(_whole(n), _whole(k))),
    "floor": lambda a: _step(a, math.floor),
    "ceil": lambda a: _step(a, math.ceil),
    "abs": lambda a: abs(a),
    "degrees": lambda a: _number(a) * _mp.pi / 180,
    "pi": lambda: +_mp.pi,
    "infty": lambda: _mp.inf,
    "e": lambda: +_mp.e,
    "i": lambda: _mp.mpc(0, 1),
    "log": _log,
    "lg": lambda a: _log(a, Fraction(10)),
    "exp": _exp,
    **{
        name: _of_angle(getattr(_mp, name))
        for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")
    },
    **{f"arc{name}": _of_number(getattr(_mp, f"a{name}")) for name in ("sin", "cos", "tan")},
}


def close(left: Value, right: Value) -> bool:
    """Whether two values are equal: exactly where both are rational, else to 30 digits."""
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    left, right = _number(left), _number(right)
    if _mp.isinf(left) or _mp.isinf(right):
        return bool(left == right)
    return bool(abs(left - right) <= _CLOSE * max(abs(left), abs(right)))


def real(of: Value) -> Fraction | None:
    """A value as an exact fraction, for rounding; None where it is complex or beyond 10^±400."""
    if isinstance(of, Fraction):
        return of
    if _mp.im(of) != 0 or _mp.isinf(of):
        return None
    of = _mp.re(of)
    if of != 0 and abs(_mp.mag(of)) > 1_300:
        return None
    mantissa, exponent = _mp.frexp(of)
    return Fraction(int(_mp.ldexp(mantissa, 240)), 1) * Fraction(2) ** (int(exponent) - 240)


_WHOLE = frozenset({"floor", "ceil", "factorial", "binom"})


def points(*trees: Tree) -> Iterator[dict[str, Value]]:
    """Values for the variables of trees: the same ones for the same names."""
    names = sorted(frozenset().union(*(symbols(tree) for tree in trees)))
    whole = any(_WHOLE & calls(tree) for tree in trees)
    for turn in range(4 * (INTEGER_POINTS if whole else POINTS)):
        yield {name: _draw(name, turn, whole) for name in names}


@functools.lru_cache(maxsize=4096)
def _draw(name: str, turn: int, whole: bool) -> Value:
    draw = random.Random(f"{name} {turn}")
    return Fraction(draw.randint(1, 40)) if whole else _mp.mpf(draw.randrange(2 * 10**15, 3 * 10**16)) / 10**16


def same(left: Tree, right: Tree) -> bool:
    """Whether two expressions are equal, for all values of their variables."""
    if not symbols(left) and not symbols(right):
        try:
            return close(value(left), value(right))
        except Undefined:
            return False
    return all_points(left, right, close)


def proportional(left: Tree, right: Tree, positive: bool = False) -> bool:
    """Whether one expression is a fixed number (above zero where `positive`), other than zero, times the other."""
    ratios: list[Value] = []

    def fits(one: Value, other: Value) -> bool:
        if close(one, other) and one == 0:
            return True
        if one == 0 or other == 0:
            return False
        ratios.append(_number(one) / _number(other))
        return close(ratios[0], ratios[-1])

    if not all_points(left, right, fits) or not ratios:
        return False
    return not positive or bool(_mp.im(ratios[0]) == 0 and _mp.re(ratios[0]) > 0)


def all_points(left: Tree, right: Tree, fits: Any) -> bool:
    """Whether two values fit at every drawn point where both have one, which must be enough points."""
    wanted = INTEGER_POINTS if _WHOLE & (calls(left) | calls(right)) else POINTS
    seen = 0
    for env in points(left, right):
        try:
            one, other = value(left, env), value(right, env)
        except Undefined:
            continue
        if not fits(one, other):
            return False
        seen += 1
        if seen == wanted:
            return True
    return seen >= wanted // 2
