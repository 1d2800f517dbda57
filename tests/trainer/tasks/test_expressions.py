r"""What expressions are read as, in LaTeX, plain and numpy notation, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest

from trainer.tasks.expressions import DEEPEST, TALLEST, parse
from trainer.tasks.trees import LONGEST_NUMBER, Number, Unreadable, height, symbols
from trainer.tasks.values import exact, same


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("007", Fraction(7)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("1e3", Fraction(1000)),
        ("1.5E-2", Fraction(3, 200)),
        (r"\frac43", Fraction(4, 3)),
        (r"\frac 59", Fraction(5, 9)),
        (r"\frac{270}7", Fraction(270, 7)),
        (r"1\frac{4}{5}", Fraction(9, 5)),
        ("1 4/5", Fraction(9, 5)),
        (r"2\frac{5}{4}", Fraction(5, 2)),
        ("-1./3", Fraction(-1, 3)),
        ("--5", Fraction(5)),
        ("-2^2", Fraction(-4)),
        ("2^-1", Fraction(1, 2)),
        ("2^{3}^{2}", Fraction(64)),
        ("2**10", Fraction(1024)),
        ("1/2/2", Fraction(1, 4)),
        ("6/2(3)", Fraction(9)),
        (r"\sqrt[3]{-8}", Fraction(-2)),
        (r"\sqrt{\frac{9}{4}}", Fraction(3, 2)),
        (r"\log_2 8", Fraction(3)),
        (r"\log_10 100", Fraction(2)),
        (r"\lfloor -7/2 \rfloor", Fraction(-4)),
        (r"\binom{5}{2}", Fraction(10)),
        ("4!", Fraction(24)),
        ("|3-5|", Fraction(2)),
        (r"0.1\overline{6}", Fraction(1, 6)),
        ("np.sqrt(16)", Fraction(4)),
    ],
)
def test_numbers_have_their_exact_value(text, value):
    assert exact(parse(text)) == value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sin 2t", r"\sin(2t)"),
        (r"\sin \omega t / \omega", r"\frac{\sin(\omega t)}{\omega}"),
        (r"\sin^2 x", r"(\sin x)^2"),
        (r"\sin^{-1} x", r"\arcsin x"),
        (r"\cos x \sin x", r"(\cos x)(\sin x)"),
        ("x^10", "x^{10}"),
        ("abc", "a*b*c"),
        ("theta", r"\theta"),
        (r"r_{0}", "r_0"),
        (r"x^{\prime}", "x'"),
        (r"\dot{x}_0", "x_0'"),
        (r"\exp{a*t}", "e^{at}"),
        (r"\lambda_{\text{red}}", r"\lambda_{red}"),
        ("n 2^n", "2^n n"),
        ("I(0)", "I_0"),
    ],
)
def test_notations_of_one_expression_are_equal(one, other):
    assert same(parse(one), parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\sin 2t", r"2 \sin t"),
        ("a/bc", "a/(bc)"),
        ("x'", "x"),
        ("u(2t)", "2u(t)"),
        ("f(0)", "0"),
        ("I(2)", "2I"),
        ("x_1", "x_2"),
        ("X", "x"),
    ],
)
def test_different_expressions_are_not(one, other):
    assert not same(parse(one), parse(other))


@pytest.mark.parametrize(
    "text",
    ["", "1 2", "x2", "1+", "(1", "1)", "{", "x)", r"\text{a}", r"\int x", "a,b", "a=b", "#", "٣", "1" * (LONGEST_NUMBER + 1), r"\frac{1}", "__import__('os')", "\x00", "x;y"],
)  # fmt: skip
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(Unreadable):
        parse(text)


def test_depth_and_height_are_bounded():
    assert exact(parse("(" * DEEPEST + "1" + ")" * DEEPEST)) == 1
    assert height(parse("+".join("x" * TALLEST))) == TALLEST
    for text in (
        "(" * 60 + "1" + ")" * 60,
        "+".join("x" * (TALLEST + 1)),
        "-(" * 300 + "1" + ")" * 300,
        "2^" * 200 + "2",
    ):
        with pytest.raises(Unreadable):
            parse(text)


def test_a_written_number_knows_what_its_last_digit_is_worth():
    assert parse("4.50e3") == Number(Fraction(4500), Fraction(10))
    assert parse("450") == Number(Fraction(450), None)
    assert symbols(parse("3x_1 + e^{i y}")) == {"x_1", "y"}
