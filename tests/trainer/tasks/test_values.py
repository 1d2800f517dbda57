r"""What expressions are worth, within limits that no expression passes."""

from __future__ import annotations

import pytest

from trainer.tasks.expressions import parse
from trainer.tasks.values import Undefined, proportional, same, value


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9^9}}", "10^{10^{10}}!", "9^{999999999}", "9!!!!!", "1001!", r"\binom{9999}{50}", r"\exp(\exp(\exp(99)))", "1/0", r"\log 0", "0^{-1}", "0^0 - 0^{0.0}/0",
        r"\sin(10^{99})", r"\lfloor 10^{99}\pi \rfloor", r"(\sqrt{2})^{10^{99}}", r"e^{10^{9}\pi}", r"\infty - \infty", "x", "(-2)!", "2.5!", r"\lfloor i \rfloor",
    ],
)  # fmt: skip
def test_what_has_no_value_or_too_large_a_one_is_undefined(text):
    with pytest.raises(Undefined):
        value(parse(text))


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (r"\sqrt{8}", r"2\sqrt{2}", True),
        (r"e^{i\pi}", "-1", True),
        (r"e^{\pi \sqrt{163}}", "262537412640768744", False),
        ("2^{1009}", "2^{1009}+1", False),
        ("0.1+0.2", "0.3", True),
        ("(x+1)^2", "x^2+2x+1", True),
        (r"\sqrt{x^2}", "x", True),
        (r"\lfloor n/2 \rfloor + \lceil n/2 \rceil", "n", True),
        (r"\lfloor n/2 \rfloor", "n/2", False),
        ("(n+1)!", "n! (n+1)", True),
        (r"\frac{1}{x-x}", "x", False),
        ("1/0", "1/0", False),
        (r"\infty", r"-\infty", False),
        (r"\infty", r"\infty", True),
    ],
)
def test_expressions_are_equal_where_their_values_are(one, other, equal):
    assert same(parse(one), parse(other)) is equal


@pytest.mark.parametrize(
    ("one", "other", "positive", "expected"),
    [
        ("x-2y", "2y-x", False, True),
        ("x-2y", "2y-x", True, False),
        ("x-2y", "3x-6y", True, True),
        ("x-2y", "x^2-2xy", False, False),
        ("x-2y", "x-x", False, False),
        ("x-x", "y-y", False, False),
    ],
)
def test_a_fixed_factor_is_found(one, other, positive, expected):
    assert proportional(parse(one), parse(other), positive) is expected
