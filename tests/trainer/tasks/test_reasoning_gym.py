"""reasoning-gym tasks by name, graded by the library's own scorers, where partial credit is not correct."""

from __future__ import annotations

import pytest

from trainer.config import ReasoningGymData
from trainer.errors import DataError
from trainer.tasks import Grader, Item, check, load


@pytest.fixture(scope="module")
def grader():
    with Grader(limit_s=0.5) as one:
        yield one


def items(task: str, **fields: object) -> list[Item]:
    return load(ReasoningGymData.model_validate({"task": task, **fields}))


def test_the_same_seed_gives_the_same_problems():
    first = items("chain_sum", size=5, seed=1, template="{problem}\nAnswer:")
    assert first == items("chain_sum", size=5, seed=1, template="{problem}\nAnswer:")
    assert [item.id for item in first] == [f"chain_sum-1-{index}" for index in range(5)]
    assert all(item.prompt == f"{item.problem}\nAnswer:" for item in first)


def test_another_seed_gives_other_problems():
    # The library itself seeds problem i with seed + i: seeds 0 and 1 would share 199 of these.
    training, evaluation = ({item.problem for item in items("spell_backward", size=200, seed=seed)} for seed in (0, 1))
    assert len(training & evaluation) < 20


def test_settings_reach_the_task():
    (item,) = items("chain_sum", size=1, settings={"min_terms": 6, "max_terms": 6})
    assert item.problem.count("+") + item.problem.count("-") >= 5


def test_partial_credit_is_not_correct(grader):
    (item,) = items("chain_sum", size=1)
    assert item.scorer is not None
    assert 0 < item.scorer(f"17{item.answer}") < 1
    assert grader.grade(f"Answer: {item.answer}", item).correct
    wrong = grader.grade(f"Answer: 17{item.answer}", item)
    assert not wrong.correct
    assert "where 1 is right" in wrong.reason


def test_any_of_many_right_answers_is_correct(grader):
    (item,) = items("countdown", size=1, settings={"min_numbers": 3, "max_numbers": 3, "operators": ["+"]})
    first, *others = item.answer.split(" + ")
    assert grader.grade(f"Answer: {' + '.join([*others, first])}", item).correct
    assert not grader.grade(f"Answer: {' - '.join([*others, first])}", item).correct


def test_a_task_that_names_no_answer_is_graded_by_its_scorer(grader):
    (item,) = items("graph_color", size=1)
    assert item.answer == ""
    grade = grader.grade("Answer: none", item)
    assert (grade.correct, grade.extracted) == (False, "none")


def test_a_scorer_that_hangs_is_cut_off(grader):
    (item,) = items("countdown", size=1)
    grade = grader.grade("Answer: 9**9**9**9", item)
    assert (grade.correct, grade.reason) == (False, "comparing took longer than 0.5 s of processor time")


def test_checking_generates_only_the_first_problem():
    assert check(ReasoningGymData(task="gcd", size=2_000_000_000)) == 2_000_000_000


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"task": "chain_summ"}, "task: reasoning-gym has no task 'chain_summ'; the nearest names are chain_sum,"),
        ({"task": "???"}, "task: reasoning-gym has no task '???'; the nearest names are"),
        ({"task": "gcd", "settings": {"nope": 1}}, 'settings: gcd cannot work with {"nope": 1}: '),
        (
            {"task": "gcd", "settings": {"min_numbers": -1}},
            'settings: gcd cannot work with {"min_numbers": -1}: min_numbers must be at least 2',
        ),
        ({"task": "gcd", "settings": {"seed": 1}}, "settings: seed belongs beside settings, not in it; move it there"),
        ({"task": "composite"}, "settings: composite cannot work with {}: "),
    ],
)
def test_a_task_or_setting_that_does_not_exist_is_refused_in_words(fields, says):
    settings = ReasoningGymData.model_validate(fields)
    for use in (load, check):
        with pytest.raises(DataError) as refused:
            use(settings)
        assert str(refused.value).startswith(says)
