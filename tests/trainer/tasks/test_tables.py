"""Parquet files, and data sets of the Hugging Face library: every row is validated and named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pyarrow
import pyarrow.parquet
import pytest

from trainer.config import Columns, HubData, ParquetData
from trainer.errors import DataError
from trainer.tasks import check, load, tables

VERL = Columns(problem="prompt", answer="reward_model.ground_truth", id="extra_info.index")
COMMIT, OTHER = "a" * 40, "b" * 40


def rows(first: int, count: int) -> list[dict[str, Any]]:
    """Rows as verl writes them."""
    return [
        {
            "data_source": "sums",
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": f"{number}+1="}],
            "reward_model": {"ground_truth": str(number + 1), "style": "rule"},
            "extra_info": {"index": f"sum-{number}"},
        }
        for number in range(first, first + count)
    ]


def write(path: Path, values: list[dict[str, Any]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), path, **options)
    return path


def refusal(data: ParquetData | HubData) -> str:
    with pytest.raises(DataError) as refused:
        check(data)
    with pytest.raises(DataError):
        load(data)
    return str(refused.value)


# --- Parquet ---------------------------------------------------------------------------------------------


def test_rows_of_a_file_in_their_order(tmp_path):
    data = ParquetData(path=str(write(tmp_path / "x.parquet", rows(0, 3))), columns=VERL, template="{problem} ?")
    assert [(item.id, item.problem, item.answer, item.prompt) for item in load(data)] == [
        ("sum-0", "0+1=", "1", "0+1= ?"),
        ("sum-1", "1+1=", "2", "1+1= ?"),
        ("sum-2", "2+1=", "3", "2+1= ?"),
    ]
    assert check(data) == 3


@pytest.mark.parametrize("path", ["", "train-*.parquet", "train-0000[01].parquet", "../*/train-*.parquet"])
def test_shards_of_a_folder_or_a_pattern_follow_one_another_by_name(tmp_path, path):
    folder = tmp_path / "shards"
    write(folder / "train-00001.parquet", rows(2, 2))
    write(folder / "train-00000.parquet", rows(0, 2))
    (folder / "README.md").write_text("no table")
    assert [item.problem for item in load(ParquetData(path=str(folder / path), columns=VERL))] == [
        f"{number}+1=" for number in range(4)
    ]


def test_without_ids_rows_are_counted_over_all_shards(tmp_path):
    for shard in range(2):
        write(tmp_path / f"{shard}.parquet", [{"problem": "p", "answer": 1.5}, {"problem": "q", "answer": 2.0}])
    assert [item.id for item in load(ParquetData(path=str(tmp_path)))] == ["1", "2", "3", "4"]


def test_a_row_that_is_no_item_is_named_by_shard_and_row(tmp_path):
    broken = rows(1500, 1200)
    broken[1100]["reward_model"]["ground_truth"] = None
    write(tmp_path / "0.parquet", rows(0, 1500))
    write(tmp_path / "1.parquet", broken)
    says = refusal(ParquetData(path=str(tmp_path), columns=VERL))
    assert says == f"{tmp_path}/1.parquet, row 1101: 'reward_model.ground_truth' is null; give text or a number"


def test_an_id_that_is_given_twice_names_both_shards(tmp_path):
    write(tmp_path / "0.parquet", rows(0, 2))
    write(tmp_path / "1.parquet", rows(1, 2))
    says = refusal(ParquetData(path=str(tmp_path), columns=VERL))
    assert says == (
        f"{tmp_path}/1.parquet, row 1: the id 'sum-1' is already that of {tmp_path}/0.parquet, row 2; give each problem its own"
    )


def test_a_file_without_the_columns_names_those_that_it_has(tmp_path):
    says = refusal(ParquetData(path=str(write(tmp_path / "x.parquet", rows(0, 1)))))
    assert says.endswith(
        "row 1: has no 'problem'; add it, or name the column that holds it in columns.problem "
        "(there are data_source, prompt, reward_model, extra_info)"
    )


def test_files_that_are_absent_empty_or_no_tables_are_refused(tmp_path):
    assert "there is no such file; give a Parquet file, a folder of them, or a pattern" in refusal(
        ParquetData(path=str(tmp_path / "none.parquet"))
    )
    assert "there is no such file" in refusal(ParquetData(path=str(tmp_path)))
    (tmp_path / "page.parquet").write_text("<html>" * 10)
    assert "page.parquet: cannot be read (Parquet magic bytes not found" in refusal(ParquetData(path=str(tmp_path)))
    pyarrow.parquet.write_table(
        pyarrow.table({"problem": ["p"], "answer": ["2"]}).slice(0, 0), tmp_path / "page.parquet"
    )
    assert refusal(ParquetData(path=str(tmp_path))) == f"{tmp_path}: holds no problems"


def test_a_damaged_shard_is_named(tmp_path):
    whole = write(tmp_path / "0.parquet", rows(0, 3000), compression="none").read_bytes()
    (tmp_path / "0.parquet").write_bytes(whole[:200] + bytes(20_000) + whole[20_200:])
    assert f"{tmp_path}/0.parquet: cannot be read (" in refusal(ParquetData(path=str(tmp_path), columns=VERL))


def test_a_large_file_is_read_piece_by_piece(tmp_path):
    path = write(tmp_path / "x.parquet", rows(0, 2500), row_group_size=500)
    records = tables.parquet_records(ParquetData(path=str(path), columns=VERL))
    first = next(records)
    assert (first.place, first.number, sorted(first.values)) == ("row 1", 1, ["extra_info", "prompt", "reward_model"])
    assert [record.number for record in records] == list(range(2, 2501))


# --- data sets of the Hugging Face library -------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the library with the split `test` of own/maths in it, and no network."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    lines = [{"question": f"{number}+1=", "final_answer": [str(number + 1)]} for number in range(3)]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, lines)))
    datasets.disable_progress_bars()
    datasets.load_dataset("json", data_files={"test": str(tmp_path / "test.jsonl")}, cache_dir=str(folder))
    [made] = (folder / "json").glob("*/*/*/json-test.arrow")
    # As the library leaves a data set of the hub: the name of its folder is the commit.
    target = folder / "own___maths" / "default" / "0.0.0" / COMMIT
    shutil.copytree(made.parent, target)
    (target / made.name).rename(target / "maths-test.arrow")
    about = target / "dataset_info.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "dataset_name": "maths"}))
    return folder


def maths(**changes: Any) -> HubData:
    columns = Columns(problem="question", answer="final_answer.0")
    return HubData(**{"id": "own/maths", "split": "test", "columns": columns, **changes})


def test_a_data_set_of_the_hub_comes_from_the_cache_where_there_is_no_network(cache):
    for data in (maths(), maths(revision=COMMIT), maths(config="default")):
        assert [(item.id, item.problem, item.answer) for item in load(data)] == [
            ("1", "0+1=", "1"),
            ("2", "1+1=", "2"),
            ("3", "2+1=", "3"),
        ]


def test_another_commit_than_the_one_asked_for_is_not_taken_for_it(cache):
    assert refusal(maths(revision=OTHER)) == (
        f"own/maths (test): revision {OTHER} is not in the local cache, which has {COMMIT}; "
        "fetch it where there is a network, or ask for the one that is there"
    )


def test_an_unknown_split_configuration_or_data_set_is_refused_in_words(cache):
    assert "own/maths (train): cannot be read (Unknown split" in refusal(maths(split="train"))
    assert "own/maths (hard, test): cannot be read (Couldn't find cache" in refusal(maths(config="hard"))
    says = refusal(maths(id="own/other"))
    assert says.startswith("own/other (test): cannot be fetched (Couldn't reach 'own/other' on the Hub")
    assert says.endswith(
        "and is not in the local cache; unset HF_HUB_OFFLINE or fetch it where there is a network, or give its files as `kind: parquet`"
    )
    assert refusal(maths(id="no/such/name")) == (
        "no/such/name: is neither a folder nor a name on the hub, such as HuggingFaceH4/MATH-500; give one"
    )


def test_a_row_of_a_data_set_is_named(cache):
    assert refusal(maths(columns=Columns(problem="question", answer="final_answer"))) == (
        "own/maths (test), row 1: 'final_answer' is [\"1\"]; give text or a number"
    )


def test_a_data_set_saved_to_a_folder(tmp_path):
    saved = datasets.Dataset.from_list([{"problem": "p", "answer": 2, "id": "a"}])
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": saved}).save_to_disk(tmp_path / "several")
    assert [item.id for item in load(HubData(id=str(tmp_path / "one")))] == ["a"]
    assert [item.id for item in load(HubData(id=str(tmp_path / "several"), split="test"))] == ["a"]
    assert refusal(HubData(id=str(tmp_path / "several"))).endswith("has no split 'train'; choose one of test")
    assert refusal(HubData(id=str(tmp_path / "one"), revision="main")).endswith(
        "is a folder, which has no revision; leave revision out"
    )
    assert "is a folder without a saved data set; give the folder that `save_to_disk` wrote" in refusal(
        HubData(id=str(tmp_path))
    )
