r"""Where a completion's answer stands, and when two plain answers are equal."""

from __future__ import annotations

from fractions import Fraction

import pytest

from trainer.tasks.answers import TAIL, equal, extract, normalise, number


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        (r"So \boxed{42}.", "42"),
        (r"\boxed{1} and then \boxed{2}", "2"),
        (r"\boxed{ \frac{1}{\sqrt{2}} }", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed {7}", "7"),
        (r"\boxed{a\\}b}", r"a\\"),
        (r"\boxed{\boxed{5}}", "5"),
        ("\\boxed{1\n2}", "1\n2"),
        (r"\boxed{1} but \boxed{2", "1"),
        (r"} } \boxed{3} {", "3"),
        (r"\boxed{4", None),
        (r"\boxed 4", None),
        (r"\boxed{8} Answer: 9", "8"),
        ("7+4=11 5+6+1=12 Answer:1221", "1221"),
        ("Answer: 1\nAnswer: 2\nthe end", "2"),
        ("Answer: 1 Answer: 2", "2"),
        ("**Final Answer:** 42", "42"),
        ("**Answer**: **42**", "42"),
        ("answer : x_1", "x_1"),
        ("Answer: _ _ Q", "_ _ Q"),
        ("答案 Answer：5", "5"),
        ("Answer:", None),
        ("Answer:\n5", None),
        ("The answer is 5", None),
        ("", None),
    ],
)
def test_the_last_balanced_box_counts_else_the_last_answer_line(completion, answer):
    assert extract(completion) == answer


def test_only_the_end_of_a_completion_is_read():
    assert extract(r"\boxed{1}" + " " * TAIL) is None
    assert extract("x" * 10**6 + r"\boxed{1}") == "1"


@pytest.mark.parametrize(
    "completion",
    [
        "{" * 10**6,
        "}" * 10**6,
        "{}" * 500_000,
        r"\boxed{" * 150_000,
        "\\boxed" + " " * 10**6,
        "Answer:" * 150_000,
        "answer" + " " * 10**6,
        "\\" * 10**6,
    ],
    ids=["open", "close", "pairs", "boxes", "spaces", "answers", "label", "backslashes"],
)
@pytest.mark.timeout(30)  # milliseconds are usual; anything worse than linear would take hours
def test_a_megabyte_of_anything_is_read_in_linear_time(completion):
    extract(completion)
    extract(r"\boxed{" + completion)
    assert extract(completion + r"\boxed{5}") == "5"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" $42$. ", "42"),
        (r"\(x\)", "x"),
        (r"\[ x \]", "x"),
        ("$$x$$", "x"),
        ("$", "$"),
        ("$$", "$$"),
        (r"\left( \dfrac{1}{2},\, 3 \right)", r"( \frac{1}{2}, 3 )"),
        (r"a \leftarrow b", r"a \leftarrow b"),
        ("−5", "-5"),
        ("1  2\n3", "1 2 3"),
    ],
)
def test_normalising_removes_what_changes_no_meaning(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("-42", Fraction(-42)),
        ("+4", Fraction(4)),
        ("007", Fraction(7)),
        (".5", Fraction(1, 2)),
        ("5.", Fraction(5)),
        ("1,234,567.8", Fraction(12345678, 10)),
        ("1,23", None),
        ("1e3", Fraction(1000)),
        ("1e9999999", None),
        ("3/4", Fraction(3, 4)),
        ("-3 / 4", Fraction(-3, 4)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\frac{3}{4}", Fraction(-3, 4)),
        ("3/0", None),
        ("1 2", None),
        ("٣", None),
        ("5%", None),
        ("x", None),
        ("", None),
        ("1" * 101, None),
    ],
)
def test_a_plain_number_has_an_exact_value(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    ("answer", "gold", "verdict"),
    [
        ("1221", "1221", True),
        ("1,221.0", "1221", True),
        ("1222", "1221", False),
        ("0.1", r"\frac{1}{10}", True),
        ("12345678901234567890.1", "12345678901234567890.2", False),
        (r"$\dfrac{x}{2}$", r"\frac{x}{2}", True),
        ("x + 1", "1 + x", None),
        ("357+864", "1221", False),
        ("(357 + 864)", "1221", False),
        ("-1*-1221", "1221", False),
        ("(-5)", "-5", None),
        ("3 x 407", "1221", None),
        ("1 + 1", "x", None),
        ("x", "5", None),
        ("5", "x", None),
        ("1 2", "12", None),
    ],
)
def test_equal_texts_and_plain_numbers_are_decided_and_the_rest_is_not(answer, gold, verdict):
    assert equal(answer, gold) is verdict
