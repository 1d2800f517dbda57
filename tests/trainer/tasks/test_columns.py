"""Problems under other names: a mapping of columns, names with dots in them, and conversations."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from trainer.config import Columns, JsonlData, Prompted
from trainer.errors import DataError
from trainer.tasks import Item, load
from trainer.tasks.items import from_row

USER = {"role": "user", "content": "1+1="}


def item(values: dict[str, Any], **columns: str) -> Item:
    return from_row(values, 5, "row 5", Columns(**columns), Prompted())


def refusal(values: dict[str, Any], **columns: str) -> str:
    with pytest.raises(ValueError, match="; ") as refused:
        item(values, **columns)
    return str(refused.value)


def test_other_names_of_columns():
    read = item({"question": "p", "gold": "2", "uid": 7}, problem="question", answer="gold", id="uid")
    assert (read.id, read.problem, read.answer, read.prompt) == ("7", "p", "2", "p")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"reward_model": {"ground_truth": "2", "style": "rule"}}, "reward_model.ground_truth"),
        ({"final_answer": ["2"]}, "final_answer.0"),
        ({"a": [{"b": ["1", "2"]}]}, "a.0.b.1"),
        ({"a.b": "2", "a": {"b": "3"}}, "a.b"),
    ],
)
def test_a_name_with_dots_goes_into_mappings_and_lists_unless_a_column_is_called_so(values, name):
    assert item({"problem": "p", **values}, answer=name).answer == "2"


@pytest.mark.parametrize("name", ["reward_model.truth", "answer.1", "answer.x", "problem.0", "gold", "answer."])
def test_a_column_that_is_not_there_is_refused_with_those_that_are(name):
    values = {"problem": "p", "answer": ["2"], "reward_model": {}}
    assert refusal(values, answer=name) == (
        f"has no {name!r}; add it, or name the column that holds it in columns.answer (there are problem, answer, reward_model)"
    )


def test_of_a_conversation_the_last_message_of_the_user_is_the_problem():
    system, reply = {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "3"}
    turns = [system, {"role": "user", "content": "first"}, reply, USER]
    assert item({"prompt": turns, "answer": "2"}, problem="prompt").problem == "1+1="
    says = refusal({"prompt": [system, reply], "answer": "2"}, problem="prompt")
    assert says == "'prompt' is a conversation without a message of the user; add it or remove the line"


def test_lists_and_conversations_are_no_answers():
    assert refusal({"problem": "p", "answer": ["2"]}) == "'answer' is [\"2\"]; give text or a number"
    assert refusal({"problem": "p", "answer": [USER]}).startswith("'answer' is [{")
    assert refusal({"problem": [], "answer": "2"}) == "'problem' is []; give text or a number"


@pytest.mark.parametrize(
    ("value", "text"), [(27, "27"), (-0.5, "-0.5"), (10**30, "1" + "0" * 30), (Decimal("3.50"), "3.50")]
)
def test_numbers_of_tables_are_answers(value, text):
    assert item({"problem": "p", "answer": value}).answer == text


@pytest.mark.parametrize("value", [None, True, float("nan"), float("inf"), Decimal("nan"), b"2", {"a": 1}])
def test_what_is_neither_text_nor_number_is_no_answer(value):
    assert refusal({"problem": "p", "answer": value}).endswith("; give text or a number")


def test_an_id_is_asked_for_only_where_its_column_is_named():
    assert item({"problem": "p", "answer": "2"}).id == "5"
    assert refusal({"problem": "p", "answer": "2"}, id="uid").startswith("has no 'uid'; add it, or name")


def test_a_file_with_other_names_is_read_and_its_lines_are_named(tmp_path):
    path = tmp_path / "verl.jsonl"
    good = {"prompt": [USER], "reward_model": {"ground_truth": 2}, "extra_info": {"index": "a"}}
    path.write_text(json.dumps(good) + "\n")
    columns = Columns(problem="prompt", answer="reward_model.ground_truth", id="extra_info.index")
    data = JsonlData(path=str(path), columns=columns, template="Q: {problem}")
    [read] = load(data)
    assert (read.id, read.answer, read.prompt, read.place) == ("a", "2", "Q: 1+1=", "line 1")
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "reward_model": {}}) + "\n")
    with pytest.raises(DataError, match=r"verl\.jsonl, line 2: has no 'reward_model\.ground_truth'; add it"):
        load(data)
