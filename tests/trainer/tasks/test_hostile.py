"""10,000 hostile completions: each gets a grade, none hangs or kills the grader, and none is right that is not."""

from __future__ import annotations

import pytest

from benchmarks.hostile import GOLDS, completions
from trainer.tasks import Grade, Grader

RIGHT = [
    ("((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))", "1"),
    ("np.0", "0"),
    ("-1/3", "-1./3"),
    ("f(x)=x,f(x)=2-$x", "f(x)=x,f(x)=2-x"),
]
"""What is right among these completions and not the gold answer's own text: looked at by hand."""


@pytest.mark.timeout(280)  # some 15 s are usual; a single hang is cut off by the limit of a comparison
def test_ten_thousand_hostile_completions_are_graded_and_wrong():
    right = []
    with Grader(limit_s=1.0) as grader:
        for completion, gold in completions(10_000, seed=2):
            graded = grader.grade(completion, gold)
            assert type(graded) is Grade
            assert graded.reason
            if graded.correct and graded.extracted != gold:
                right.append((graded.extracted, gold))
        assert [pair for pair in right if pair[0].strip("$") != pair[1]] == RIGHT
        assert all(grader.grade(f"\\boxed{{{gold}}}", gold).correct for gold in GOLDS)


@pytest.mark.parametrize(
    "nested",
    [
        "(",
        r"\sqrt{",
        r"\frac{1}{",
        "-(",
        r"\sin(",
        "2^{",
        "|",
        r"\{",
        "x_{",
        r"\text{",
        "1+",
        "x",
        "1,",
        r"\pm ",
        "=",
        "!",
        "'",
    ],
)
@pytest.mark.parametrize("gold", ["7", "x^2", "1,2"])
def test_nesting_of_any_kind_and_depth_is_wrong_without_the_worker(nested, gold, monkeypatch):
    monkeypatch.setattr(Grader, "_score", lambda *_: pytest.fail("the worker was asked"))
    with Grader() as grader:
        for depth in (10, 39, 41, 100, 119, 121, 300, 900):
            assert not grader.grade(f"Answer: {(nested * depth)[:990]}", gold).correct
            assert not grader.grade(f"Answer: {(nested * depth)[:990]}8", gold).correct
