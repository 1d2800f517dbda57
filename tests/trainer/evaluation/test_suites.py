"""A suite's name stands for benchmarks: from a folder where there is one, else from the hub."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trainer.config import HubData, JsonlData
from trainer.errors import ConfigError
from trainer.evaluation.suites import miscounted, resolve
from trainer.tasks import load
from trainer.tasks.named import KNOWN, benchmarks_folder

FOLDER = benchmarks_folder(os.environ)
with_files = pytest.mark.skipif(FOLDER is None, reason="no folder of benchmarks: set MTPRL_BENCHMARKS_DIR to one")


def write(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"problem": f"{n}+1=", "answer": n + 1}) + "\n" for n in range(count)))
    return path


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(ConfigError) as refused:
        resolve(text, environment)
    [problem] = refused.value.problems
    return str(problem)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with all of the six, as many problems in each as it has."""
    for known in KNOWN.values():
        write(tmp_path / "benchmarks" / known.file, known.problems)
    return tmp_path / "benchmarks"


def test_the_six_come_from_the_folder_in_their_order(folder):
    suite = resolve("six", {"MTPRL_BENCHMARKS_DIR": str(folder)})
    assert suite.name == "six"
    assert suite.warnings == ()
    assert [benchmark.name for benchmark in suite.benchmarks] == list(KNOWN)
    assert [benchmark.data for benchmark in suite.benchmarks] == [
        JsonlData(path=str(folder / known.file)) for known in KNOWN.values()
    ]
    assert sum(known.problems for known in KNOWN.values()) == 1547


def test_what_the_folder_lacks_comes_from_the_hub(folder):
    (folder / "amc23.jsonl").unlink()
    suite = resolve("aime24, amc23", {"MTPRL_BENCHMARKS_DIR": str(folder)})
    first, second = suite.benchmarks
    assert suite.name == "aime24,amc23"
    assert isinstance(first.data, JsonlData)
    assert second.data == KNOWN["amc23"].hub
    assert isinstance(second.data, HubData)
    assert second.data.columns.problem == "question"


def test_a_file_with_another_number_of_problems_is_used_and_said_so(folder):
    write(folder / "aime25.jsonl", 29)
    suite = resolve("six", {"MTPRL_BENCHMARKS_DIR": str(folder)})
    assert suite.warnings == (
        "aime25 has 29 problems here and not the 30 of AIME 2025: its results are not comparable with those of others",
    )
    assert miscounted("aime25", 30) is None
    assert miscounted("held-out", 29) is None, "nobody knows how many problems a user's own file should have"


def test_a_damaged_file_of_the_folder_is_named_with_its_line(folder):
    (folder / "aime24.jsonl").write_text('{"problem": "p"}\n')
    says = refusal("aime24", MTPRL_BENCHMARKS_DIR=str(folder))
    assert says.startswith(f"suite: {folder / 'aime24.jsonl'}, line 1: has no 'answer'; add it")


def test_the_demos_additions_with_the_length_of_their_responses(tmp_path):
    write(tmp_path / "data" / "addition" / "test.jsonl", 3)
    suite = resolve("demo", {"MTPRL_HOME": str(tmp_path)})
    [benchmark] = suite.benchmarks
    assert (suite.name, benchmark.name, suite.max_response_tokens) == ("demo", "addition", 48)
    assert len(load(benchmark.data)) == 3


def test_the_demo_without_its_problems_says_how_to_make_them(tmp_path):
    says = refusal("demo", MTPRL_HOME=str(tmp_path))
    assert (
        says
        == f"suite: {tmp_path}/data/addition/test.jsonl does not exist; run `mtprl make-base` to make the demo's problems"
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("held_out.jsonl", "held_out"),
        ("My Problems (v2).jsonl", "my-problems-v2"),
        ("a,b.jsonl", "a-b"),
        ("plain", "plain"),
    ],
)
def test_a_file_of_ones_own_is_a_benchmark_called_by_its_name(tmp_path, file, name):
    path = write(tmp_path / file, 2)
    [benchmark] = resolve(str(path), {}).benchmarks
    assert (benchmark.name, benchmark.data) == (name, JsonlData(path=str(path)))


def test_a_relative_path_is_kept_absolute(tmp_path, monkeypatch):
    write(tmp_path / "own.jsonl", 2)
    monkeypatch.chdir(tmp_path)
    [benchmark] = resolve("own.jsonl", {}).benchmarks
    assert benchmark.data.path == str(tmp_path / "own.jsonl")


def test_what_is_no_suite_is_refused_with_the_choices(tmp_path):
    assert refusal("aime26") == (
        "suite: 'aime26' is not known; choose six, demo, one or several (with commas) of aime24, aime25, amc23, math500, minerva, "
        "olympiadbench, or the path of a JSONL file"
    )
    assert "'' is not known" in refusal("aime24,", MTPRL_BENCHMARKS_DIR=str(tmp_path))
    assert "has the benchmark aime24 twice" in refusal("aime24,aime24", MTPRL_BENCHMARKS_DIR=str(tmp_path))
    assert "none.jsonl: cannot be read (No such file or directory)" in refusal(str(tmp_path / "none.jsonl"))
    write(tmp_path / "数学.jsonl", 1)
    assert "makes no name for a benchmark" in refusal(str(tmp_path / "数学.jsonl"))


def test_a_variable_that_names_no_folder_is_refused(tmp_path):
    says = refusal("six", MTPRL_BENCHMARKS_DIR=str(tmp_path / "none"))
    assert says.startswith(
        f"suite: MTPRL_BENCHMARKS_DIR: '{tmp_path}/none' is no folder; give the one that holds aime24.jsonl"
    )


@with_files
def test_the_real_files_have_as_many_problems_as_the_benchmarks():
    suite = resolve("six", os.environ)
    assert suite.warnings == ()
    assert {benchmark.name: len(load(benchmark.data)) for benchmark in suite.benchmarks} == {
        name: known.problems for name, known in KNOWN.items()
    }
