"""Pairs of gold answers of the six benchmarks and answers that a model could give, each judged by hand, and what the grader says."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.grading import known_wrong
from trainer.tasks import GRADER_VERSION, Grader

PAIRS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "hard_pairs.jsonl").read_text("utf-8").splitlines()
]


@pytest.fixture(scope="module")
def grader():
    with Grader() as one:
        yield one


def completion(answer: str) -> str:
    return f"Answer: {answer}" if "\\boxed" in answer else f"\\boxed{{{answer}}}"


@pytest.mark.parametrize("benchmark", ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench"])
def test_exactly_the_pairs_that_are_known_as_wrong_are_wrong(grader, benchmark):
    pairs = [pair for pair in PAIRS if pair["benchmark"] == benchmark]
    grades = grader.grade_many([(completion(pair["answer"]), pair["gold"]) for pair in pairs])
    wrong = [pair for pair, one in zip(pairs, grades, strict=True) if one.correct != pair["right"]]
    assert wrong == [pair for pair in pairs if pair.get("known_wrong")]


def test_the_table_is_large_balanced_and_says_nothing_twice():
    assert len(PAIRS) >= 300
    assert len({(pair["gold"], pair["answer"]) for pair in PAIRS}) == len(PAIRS)
    right = Counter(pair["right"] for pair in PAIRS)
    assert min(right.values()) > 0.4 * len(PAIRS)
    assert all(sum(pair["benchmark"] == name for pair in PAIRS) >= 30 for name in {pair["benchmark"] for pair in PAIRS})
    assert all(pair["why"] for pair in PAIRS)


def test_the_page_of_results_is_of_this_grader_and_lists_what_it_gets_wrong():
    page = (Path(__file__).parents[3] / "docs" / "results" / "grading.md").read_text("utf-8")
    assert f"Grader version {GRADER_VERSION}." in page
    assert "\n".join(known_wrong(PAIRS)) in page
