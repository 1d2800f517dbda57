"""What training data and benchmarks have in common: planted problems are found, others are not called so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from trainer.config import NamedData
from trainer.evaluation.suites import resolve
from trainer.tasks import Item, load
from trainer.tasks.contamination import Measure, grams, normalised, overlaps
from trainer.tasks.named import benchmarks_folder

with_files = pytest.mark.skipif(
    benchmarks_folder(os.environ) is None, reason="no folder of benchmarks: set MTPRL_BENCHMARKS_DIR to one"
)

TRAINS = (
    "Cities $A$ and $B$ are $45$ miles apart. Alicia leaves $A$ at $18$ miles per hour. Brianna leaves $B$ at $12$ miles per hour. "
    "How far from City $A$ are they when they meet?"
)
OTHER = "A rectangle has a perimeter of $20$ and an area of $24$. How long is its diagonal?"
WRAPPED = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without "
    'quotes) where $Answer is the answer to the problem.\n\n{}\n\nRemember to put your answer on its own line after "Answer:".'
)


def items(*texts: str, name: str = "t") -> list[Item]:
    return [Item(f"{name}{place}", text, "1", text) for place, text in enumerate(texts)]


def found(training: str, problem: str = TRAINS) -> str:
    """What is said of a benchmark of one problem and training data of another problem and this one."""
    [overlap] = overlaps(items(OTHER, training), {"b": items(problem, name="b")})
    assert overlap.problems == 1
    if not overlap.matches:
        return "none"
    [match] = overlap.matches
    assert (match.problem.id, match.training.id) == ("b0", "t1")
    return "exact" if match.exact else "near"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        str.upper,
        lambda text: text.replace(" ", "\n  "),
        lambda text: text.replace("$", " $ ").replace(".", " ."),
        lambda text: text.replace("$", ""),
        lambda text: text.replace("A", "Ａ").replace("1", "１"),  # full-width letters and digits
        lambda text: f"{text} Express your answer in miles.",
        lambda text: f"{text} Please reason step by step, and put your final answer within \\boxed{{}}.",
        WRAPPED.format,
    ],
)
def test_the_same_problem_in_other_clothes_is_found_as_the_same(change: Callable[[str], str]):
    assert found(change(TRAINS)) == "exact"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("45", "60").replace("18", "21").replace("12", "9"),
        lambda text: " ".join(reversed(re.split(r"(?<=[.?]) ", text))),
        lambda text: text.replace("Alicia", "Berta").replace("Brianna", "Carla"),
        lambda text: text.replace("Cities $A$ and $B$", "The cities $P$ and $Q$"),
        lambda text: f"{OTHER} {text} {OTHER}",
    ],
)
def test_a_problem_with_other_numbers_names_or_order_is_found_as_near(change: Callable[[str], str]):
    assert found(change(TRAINS)) == "near"


@pytest.mark.parametrize(
    ("training", "problem"),
    [
        (OTHER, TRAINS),
        ("How far from City $A$ is the sea?", TRAINS),
        (
            "Find $x$. The answer is in the form \\frac{m}{n}, where gcd(m, n) = 1. Please provide the value of m + n.",
            "Find $y$ if $y^2=3$. The answer is in the form \\frac{m}{n}, where gcd(m, n) = 1. Please provide the value of m + n.",
        ),
        ("1+2345=", "12+345="),
        ("What is $5$?", "What is $7$?"),
    ],
)
def test_other_problems_are_not(training: str, problem: str):
    assert found(training, problem) == "none"


def test_each_problem_has_its_best_match_and_benchmarks_are_told_apart():
    near = TRAINS.replace("45", "60")
    benchmarks = {"one": items(TRAINS, "never seen before", name="x"), "two": items(OTHER, name="y"), "empty": []}
    one, two, empty = overlaps(items(near, TRAINS, near, OTHER), benchmarks)
    assert [(match.problem.id, match.training.id, match.score) for match in one.matches] == [("x0", "t1", 1.0)]
    assert [(match.problem.id, match.training.id, match.score) for match in two.matches] == [("y0", "t3", 1.0)]
    assert [(part.benchmark, part.problems, part.exact, part.near) for part in (one, two, empty)] == [
        ("one", 2, 1, 0),
        ("two", 1, 1, 0),
        ("empty", 0, 0, 0),
    ]


def test_the_measure_is_the_larger_of_jaccard_and_a_part_of_the_share():
    problem, training = "a b c d e f g h i j", "a b c d e f g h z y x w v u t s r q"  # 6 and 14 grams, 4 of them shared
    [match] = overlaps(items(training), {"b": items(problem)})[0].matches
    assert match.score == pytest.approx(0.75 * 4 / 6)
    [match] = overlaps(items(training), {"b": items(problem)}, Measure(contained=0.0, threshold=0.2))[0].matches
    assert match.score == pytest.approx(4 / (6 + 14 - 4))
    assert overlaps(items(training), {"b": items(problem)}, Measure(threshold=0.51))[0].matches == ()
    assert overlaps(items(training), {"b": items(problem)}, Measure(words=9))[0].matches == ()


def test_of_generated_problems_only_equal_ones_count():
    training = [
        replace(item, scorer=float) for item in items("Calculate 1 - 2 + 3 - 4 + 5.", "Calculate 5 - 3 + 3 - 4 + 5.")
    ]
    asked = [
        replace(item, scorer=float) for item in items("Calculate 1 + 2 + 3 - 4 + 5.", "Calculate 5 - 3 + 3 - 4 + 5.")
    ]
    [overlap] = overlaps(training, {"b": asked})
    assert [(match.training.id, match.exact) for match in overlap.matches] == [("t1", True)]


def test_what_normalising_keeps():
    assert normalised("Ｆind  $\\frac{1}{2}$, x² + 10 000!") == "findfrac1 2x2 10 000"
    assert normalised("设 p 是正实数. 12") == "设p是正实数12"
    assert normalised(normalised("a1 2b 3")) == normalised("a1 2b 3")
    assert len(grams("设 p 是正实数", 5)) == 2
    assert grams("one two three four") == frozenset()


# --- the real files ------------------------------------------------------------------------------------


@cache
def six() -> dict[str, list[Item]]:
    return {benchmark.name: load(benchmark.data) for benchmark in resolve("six", os.environ).benchmarks}


@with_files
def test_the_filtered_training_set_holds_no_problem_of_the_six_and_hardly_anything_near():
    result = overlaps(load(NamedData(language="all")), six())
    assert [overlap.exact for overlap in result] == [0] * 6
    assert sum(overlap.near for overlap in result) < 20


def _recall(change: Callable[[str], str]) -> dict[str, float]:
    planted = [replace(item, problem=change(item.problem)) for items in six().values() for item in items]
    return {overlap.benchmark: len(overlap.matches) / overlap.problems for overlap in overlaps(planted, six())}


@with_files
def test_planted_problems_of_the_six_are_all_found_in_the_wrapping_of_the_raw_training_set():
    planted = [replace(item, problem=WRAPPED.format(item.problem)) for items in six().values() for item in items]
    assert [overlap.exact for overlap in overlaps(planted, six())] == [30, 30, 40, 500, 272, 675]


@with_files
def test_planted_problems_with_other_spaces_order_or_numbers_are_mostly_found():
    spaced = _recall(lambda text: re.sub(r"\s+", "\n  ", text).replace("$", " $ "))
    turned = _recall(lambda text: " ".join(reversed(re.split(r"(?<=[.?!])\s+", text))))
    renumbered = _recall(lambda text: re.sub(r"[0-9]{1,9}", lambda number: str(int(number[0]) + 1), text))
    assert min(spaced.values()) == 1.0
    assert min(turned.values()) > 0.95
    assert renumbered["amc23"] > 0.75
    assert min(renumbered.values()) > 0.5


def test_the_same_grams_in_another_text_are_near_and_not_exact():
    assert found("a b c d e " * 3, "a b c d e " * 2) == "near"


def test_what_is_just_at_the_threshold_is_near():
    problem = "a b c d e f g h i"  # five grams, two of which are 0.75 of 0.4
    others = " q r s t u v w x y z"
    assert found("a b c d e f" + others, problem) == "near"
    assert found("a b c d e" + others, problem) == "none"


def test_problems_without_a_letter_or_digit_are_compared_as_they_are():
    assert found("∫ = ?", "∑ = ?") == "none"
    assert found("∑ = ?", "∑ = ?") == "exact"
