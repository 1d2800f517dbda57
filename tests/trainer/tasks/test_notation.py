r"""One spelling for what is written in many ways; and no digit more or less."""

from __future__ import annotations

import re

import pytest

from trainer.tasks.notation import normalise, split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" $42$. ", "42"),
        (r"\(x\)", "x"),
        (r"\[ x \]", "x"),
        ("$$x$$", "x"),
        ("$8$,$4$", "8 , 4"),
        (r"\$5", r"\$5"),
        (r"\left( \dfrac{1}{2},\, 3 \right)", r"( \frac{1}{2}, 3 )"),
        (r"a \leftarrow b", r"a \leftarrow b"),
        (r"a \\ b", r"a \\ b"),
        (r"a \\[2pt] b", r"a \\[2pt] b"),
        ("−5", "-5"),
        ("√(2)+√13", r"\sqrt{2}+\sqrt{13}"),
        ("1  2\n3", "1 2 3"),
        (r"11,\! 111,\! 111", "11111111"),
        ("10{,}080", "10080"),
        (r"10\,080", "10080"),
        (r"(1,\,234)", "(1, 234)"),
        (r"k \geqslant 2", r"k \ge 2"),
        (r"\mathrm{~m}", r"\text{ m}"),
        (r"50\%", "50%"),
        ("1...", "1..."),
        ("٣", "٣"),
    ],
)
def test_normalising_removes_what_changes_no_meaning(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1, 2,3", ["1", "2", "3"]),
        ("(1,2),(3,4]", ["(1,2)", "(3,4]"]),
        (r"\{1,2\},3", [r"\{1,2\}", "3"]),
        ("(1,2", ["(1,2"]),
        ("1),2", ["1),2"]),
        ("", [""]),
    ],
)
def test_only_separators_outside_of_brackets_separate(text, parts):
    assert split(text, re.compile(",")) == parts
