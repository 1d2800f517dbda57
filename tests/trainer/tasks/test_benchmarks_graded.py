"""Every gold answer of the six benchmarks, graded against itself. Their folder is MTPRL_BENCHMARKS_DIR, else shared/benchmarks beside this one."""

from __future__ import annotations

import json
import os

import pytest

from trainer.tasks import Grader, answers
from trainer.tasks.named import benchmarks_folder

BENCHMARKS = {"aime24": 30, "aime25": 30, "amc23": 40, "math500": 500, "minerva": 272, "olympiadbench": 675}
FOLDER = benchmarks_folder(os.environ)


def golds(benchmark: str) -> list[str]:
    if FOLDER is None:
        pytest.skip("the benchmarks are not here: MTPRL_BENCHMARKS_DIR names their folder")
    path = FOLDER / f"{benchmark}.jsonl"
    return [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("form", ["Answer: {}", "so it is \\boxed{{{}}}.", "\\boxed{{${}$}}", "Answer: ${}$."])
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_gold_answer_is_right_for_itself(benchmark, form):
    wanted = golds(benchmark)
    assert len(wanted) == BENCHMARKS[benchmark]
    with Grader() as grader:
        grades = grader.grade_many([(form.format(gold), gold) for gold in wanted])
    assert [gold for gold, one in zip(wanted, grades, strict=True) if not one.correct] == []


def respelt(gold: str) -> str:
    """The same answer as another hand would write it."""
    if "\\text" not in gold and "\\mbox" not in gold:
        gold = gold.replace("(", r"\left( ").replace(")", r" \right)")
    return gold.replace(r"\frac", r"\dfrac").replace(r"\mbox", r"\mathrm").replace("-", "−").replace("{,}", ",")


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_gold_answer_is_right_in_another_spelling(benchmark):
    assert [gold for gold in golds(benchmark) if answers.equal(respelt(gold), gold) is not True] == []


@pytest.mark.parametrize("benchmark", ["aime24", "aime25", "amc23"])
def test_no_integer_is_right_for_another(benchmark):
    wanted = sorted(set(golds(benchmark)))
    assert not [(one, gold) for one in wanted for gold in wanted if one != gold and answers.equal(f"${one}$", gold)]
