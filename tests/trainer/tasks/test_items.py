"""A JSONL file of problems: every line is validated and named by file and number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.config import JsonlData
from trainer.errors import DataError
from trainer.tasks import LONGEST_ID, check, load
from trainer.tasks.items import conflicts

GOOD = '{"id": "a", "problem": "1+1=", "answer": "2"}\n'


def data(folder: Path, text: str | bytes, template: str = "{problem}") -> JsonlData:
    path = folder / "problems.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return JsonlData(path=str(path), template=template)


def test_items_come_in_the_order_of_the_file_with_their_prompts(tmp_path):
    text = GOOD + '{"problem": "Use {braces} and {problem}.", "answer": "x", "source": "ignored"}\n'
    first, second = load(data(tmp_path, text, template="Solve: {problem}\nAnswer:"))
    assert (first.id, first.problem, first.answer, first.prompt) == ("a", "1+1=", "2", "Solve: 1+1=\nAnswer:")
    assert second.prompt == "Solve: Use {braces} and {problem}.\nAnswer:"
    assert second.id == "2", "without an id, the line number"
    assert second.scorer is None


@pytest.mark.parametrize(
    ("written", "text"),
    [("2", "2"), ("3.50", "3.50"), ("-1e400", "-1e400"), ("9" * 5000, "9" * 5000), ('" 7 "', " 7 ")],
)
def test_an_answer_given_as_a_number_is_the_text_that_was_written(tmp_path, written, text):
    (item,) = load(data(tmp_path, f'{{"id": 7, "problem": "p", "answer": {written}}}\n'))
    assert (item.id, item.answer) == ("7", text)


def test_blank_lines_a_byte_order_mark_and_a_missing_last_newline_are_no_errors(tmp_path):
    settings = data(tmp_path, "\ufeff" + GOOD + "\n  \r\n" + '{"problem": "p", "answer": "q"}')
    assert [item.id for item in load(settings)] == ["a", "4"]
    assert check(settings) == 2


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("not json", "is not valid JSON (Expecting value: line 1 column 1 (char 0)); write one"),
        ("[" * 100_000, "is not valid JSON ("),
        ("[1]", "is not a JSON object but list; write"),
        ("NaN", "is not a JSON object but float; write"),
        ('{"answer": "2"}', "has no 'problem'; add it"),
        ('{"problem": "p"}', "has no 'answer'; add it"),
        ('{"problem": "p", "answer": null}', "'answer' is null; give text or a number"),
        ('{"problem": "p", "answer": true}', "'answer' is true; give text or a number"),
        ('{"problem": "p", "answer": ["1", "2"]}', '\'answer\' is ["1", "2"]; give text or a number'),
        ('{"problem": "p", "answer": ""}', "'answer' is empty; fill it in or remove the line"),
        ('{"problem": " \\n", "answer": "2"}', "'problem' is empty; fill it in or remove the line"),
        ('{"id": null, "problem": "p", "answer": "2"}', "'id' is null; give text or a number"),
        (f'{{"id": "{"x" * 201}", "problem": "p", "answer": "2"}}', "'id' has 201 characters; give at most 200"),
        ('{"id": "a\\u0000b", "problem": "p", "answer": "2"}', "'id' is 'a\\x00b', with a NUL character; leave it out"),
        ('{"problem": "p", "answer": "2", "problem": "q"}', "'problem' is given twice; remove one"),
        ('{"problem": "a\\ud800", "answer": "2"}', "'problem' is not valid Unicode ('\\ud800' at character 1); write"),
        (
            '{"id": "\\udfff", "problem": "p", "answer": "2"}',
            "'id' is not valid Unicode ('\\udfff' at character 0); write",
        ),
        (
            '{"id": "a", "problem": "p", "answer": "2"}',
            "the id 'a' is already that of line 1; give each problem its own",
        ),
    ],
)
def test_a_line_that_is_no_item_is_named_by_file_and_number(tmp_path, line, says):
    settings = data(tmp_path, GOOD + "\n" + line + "\n" + GOOD)
    for use in (load, check):
        with pytest.raises(DataError) as refused:
            use(settings)
        assert str(refused.value).startswith(f"{settings.path}, line 3: {says}")


def test_the_longest_id_and_a_character_written_as_two_halves_are_accepted(tmp_path):
    (item,) = load(data(tmp_path, f'{{"id": "{"x" * LONGEST_ID}", "problem": "\\ud83d\\ude00", "answer": "2"}}\n'))
    assert (len(item.id), item.problem) == (LONGEST_ID, "😀")


def test_an_id_that_equals_another_lines_number_is_a_duplicate(tmp_path):
    with pytest.raises(DataError, match=r"line 2: the id '2' is already that of line 1"):
        load(data(tmp_path, '{"id": "2", "problem": "p", "answer": "q"}\n{"problem": "p", "answer": "q"}\n'))


def test_a_file_that_is_not_utf8_is_named_with_its_line(tmp_path):
    with pytest.raises(
        DataError, match=r"line 2: is not UTF-8 \(invalid start byte at byte 13\); save the file as UTF-8"
    ):
        load(data(tmp_path, GOOD.encode() + b'{"problem": "\xff", "answer": "2"}\n'))


def test_a_file_without_problems_or_without_a_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no problems; write one"):
        load(data(tmp_path, "\n\n"))
    with pytest.raises(
        DataError, match=r"none\.jsonl: cannot be read \(No such file or directory\); give the path of a JSONL file"
    ):
        load(JsonlData(path=str(tmp_path / "none.jsonl")))
    with pytest.raises(DataError, match="cannot be read \\(Is a directory\\)"):
        check(JsonlData(path=str(tmp_path)))


def test_equal_problems_with_different_answers_are_found(tmp_path):
    lines = [("a", "p", 2), ("b", "q", 2), ("c", "p", 3), ("d", "q", "2 "), ("e", "p", 2)]
    text = "".join(json.dumps({"id": i, "problem": p, "answer": a}) + "\n" for i, p, a in lines)
    assert [(first.id, other.id) for first, other in conflicts(load(data(tmp_path, text)))] == [("a", "c")]
