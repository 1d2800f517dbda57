"""Training sets by name: read from the folder where they lie, and settled so that another process reads the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trainer.config import HubData, JsonlData, NamedData, ParquetData, ReasoningGymData
from trainer.errors import DataError
from trainer.tasks import check, load, settled
from trainer.tasks.named import KNOWN, benchmarks_folder

FOLDER = benchmarks_folder(os.environ)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "train").mkdir()
    for language in ("en", "zh"):
        line = {"id": f"dapo-{language}-1", "problem": language, "answer": "2"}
        (tmp_path / "train" / f"dapo_math_17k_{language}.jsonl").write_text(json.dumps(line))
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("language", "problems"), [("en", ["en"]), ("zh", ["zh"]), ("all", ["en", "zh"])])
def test_the_folders_file_is_read_where_it_is(folder, language, problems):
    data = NamedData(language=language, template="{problem}!")
    assert [item.prompt for item in load(data)] == [f"{problem}!" for problem in problems]


def test_settled_it_names_its_folder_and_is_read_without_the_variable(folder, monkeypatch):
    data = settled(NamedData(language="zh"), os.environ)
    assert data == NamedData(language="zh", folder=str(folder))
    assert settled(data, {}) == data
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(folder / "train"))
    assert [item.problem for item in load(data)] == ["zh"]


@pytest.mark.parametrize(("language", "config"), [("en", "en"), ("zh", "cn"), ("all", "all")])
def test_without_its_file_it_is_the_hubs_data_set_with_the_same_template(folder, language, config):
    for file in (folder / "train").iterdir():
        file.unlink()
    data = settled(NamedData(language=language, template="Q: {problem}"), os.environ)
    assert isinstance(data, HubData)
    assert (data.id, data.config, data.split) == ("open-r1/DAPO-Math-17k-Processed", config, "train")
    assert (data.columns.problem, data.columns.answer, data.template) == ("prompt", "solution", "Q: {problem}")


def test_a_folder_of_ones_own_without_the_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"train/dapo_math_17k_en\.jsonl: cannot be read \(No such file"):
        check(NamedData(folder=str(tmp_path)))
    with pytest.raises(DataError, match=r"MTPRL_BENCHMARKS_DIR: '.*/none' is no folder; give the one that holds"):
        settled(NamedData(), {"MTPRL_BENCHMARKS_DIR": str(tmp_path / "none")})


def test_a_benchmark_is_the_folders_file_with_its_own_prompting(folder, monkeypatch):
    (folder / "aime24.jsonl").write_text(json.dumps({"problem": "1+1=", "answer": 2}))
    data = NamedData(name="aime24", chat=True, template="{problem}?")
    there = JsonlData(path=str(folder / "aime24.jsonl"), chat=True, template="{problem}?")
    assert settled(data, os.environ) == there
    assert [item.prompt for item in load(data)] == ["1+1=?"]
    monkeypatch.delenv("MTPRL_BENCHMARKS_DIR")
    assert settled(data.model_copy(update={"folder": str(folder)}), {}) == there


def test_a_benchmark_that_the_folder_lacks_is_its_data_set_on_the_hub_with_its_own_prompting(folder):
    data = settled(NamedData(name="aime25", chat=True), os.environ)
    assert data == KNOWN["aime25"].hub.model_copy(update={"chat": True})


def test_a_benchmark_has_no_other_language():
    with pytest.raises(ValueError, match="language: zh is for dapo-math-17k alone; leave it out with aime24"):
        NamedData(name="aime24", language="zh")


def test_paths_are_settled_as_absolute_ones(tmp_path, monkeypatch):
    (tmp_path / "saved").mkdir()
    monkeypatch.chdir(tmp_path)
    assert settled(JsonlData(path="x.jsonl"), {}) == JsonlData(path=f"{tmp_path}/x.jsonl")
    assert settled(ParquetData(path="x/*.parquet"), {}) == ParquetData(path=f"{tmp_path}/x/*.parquet")
    assert settled(HubData(id="saved"), {}) == HubData(id=f"{tmp_path}/saved")
    assert settled(HubData(id="own/maths"), {}) == HubData(id="own/maths")
    gym = ReasoningGymData(task="gcd")
    assert settled(gym, {}) == gym


@pytest.mark.skipif(FOLDER is None, reason="no folder of benchmarks: set MTPRL_BENCHMARKS_DIR to one")
def test_the_real_files():
    assert {language: check(NamedData(language=language)) for language in ("en", "zh", "all")} == {
        "en": 13_140,
        "zh": 2_910,
        "all": 16_050,
    }
