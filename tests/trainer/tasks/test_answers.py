r"""Where a completion's answer stands, and when two plain answers are equal."""

from __future__ import annotations

import pytest

from trainer.tasks.answers import TAIL, equal, extract


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
    ("answer", "gold", "verdict"),
    [
        ("1221", "1221", True),
        ("1222", "1221", False),
        ("-1221", "1221", False),
        ("1,221.0", "1221", True),
        ("01221", "1221", True),
        (r"$\dfrac{x}{2}$", r"\frac{x}{2}", True),
        ("x + 1", "1 + x", True),
        (r"\int_0^x t dt", r"\int_0^x s ds", None),
        ("1 2", "12", False),
    ],
)
def test_answers_are_compared_or_left_open(answer, gold, verdict):
    assert equal(answer, gold) is verdict
