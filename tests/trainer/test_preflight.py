"""A run that cannot work is refused before anything is queued, with every reason at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from trainer.config import parse, resolve
from trainer.errors import ConfigError
from trainer.preflight import check
from trainer.presets import presets


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def make_problems(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"problem": f"{n}+1=", "answer": n + 1}) + "\n" for n in range(count)))
    return path


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A home with the demo's model and problems, as `mtprl make-base` leaves it."""
    make_model(tmp_path / "models" / "addition")
    make_problems(tmp_path / "data" / "addition" / "train.jsonl", 64)
    make_problems(tmp_path / "data" / "addition" / "test.jsonl", 5)
    return tmp_path


def refusals(home: Path, *overrides: str) -> dict[str, str]:
    """What preflight says of the demo with these overrides, by field; empty where it is accepted."""
    config = parse(resolve(presets()["demo/occ"].values, overrides, {"MTPRL_HOME": str(home)}))
    try:
        check(config)
    except ConfigError as error:
        return dict(error.problems)
    return {}


def test_the_demo_passes_once_its_model_and_problems_are_made(demo):
    assert refusals(demo) == {}


def test_on_a_fresh_machine_the_demo_says_how_to_make_its_base(tmp_path):
    assert refusals(tmp_path) == {
        "model.path": f"{tmp_path}/models/addition does not exist; run `mtprl make-base` to make the demo base model",
        "data.path": f"{tmp_path}/data/addition/train.jsonl does not exist; run `mtprl make-base` to make the demo's problems",
        "evaluation.benchmarks.0.data.path": f"{tmp_path}/data/addition/test.jsonl does not exist; run `mtprl make-base` to make the demo's problems",
    }


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("config.json", "has no config.json; give the folder of a Hugging Face model"),
        ("model.safetensors", "has no weights (*.safetensors or pytorch_model*.bin); fetch or make the model again"),
        (
            "tokenizer.json",
            "has no tokenizer (one of tokenizer.json, tokenizer_config.json, tokenizer.model, vocab.json); save the tokenizer beside the model",
        ),
    ],
)
def test_a_model_folder_with_a_part_missing_is_refused(demo, file, says):
    folder = demo / "models" / "addition"
    (folder / file).unlink()
    assert refusals(demo) == {"model.path": f"{folder} {says}"}


@pytest.mark.parametrize(
    ("text", "says"), [("{", "cannot be read"), ("[]", "names no model_type"), ("{}", "names no model_type")]
)
def test_a_damaged_model_configuration_is_refused(demo, text, says):
    (demo / "models" / "addition" / "config.json").write_text(text)
    assert says in refusals(demo)["model.path"]


def test_a_model_path_that_is_neither_folder_nor_name_is_refused(demo):
    assert "does not exist; give a model's folder" in refusals(demo, "model.path=/nowhere/at/all")["model.path"]
    file = demo / "models" / "addition" / "config.json"
    assert refusals(demo, f"model.path={file}")["model.path"] == f"{file} is a file; give the folder that holds it"


def hub(monkeypatch: pytest.MonkeyPatch, cache: Path, offline: bool) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)


def test_a_hub_name_is_accepted_where_it_can_be_fetched(demo, monkeypatch):
    hub(monkeypatch, demo / "cache", offline=False)
    assert refusals(demo, "model.path=Qwen/Qwen3-0.6B") == {}


def test_offline_a_hub_name_is_accepted_only_from_the_cache(demo, monkeypatch):
    cache = demo / "cache"
    hub(monkeypatch, cache, offline=True)
    assert refusals(demo, "model.path=Qwen/Qwen3-0.6B") == {
        "model.path": "Qwen/Qwen3-0.6B is neither a folder nor in the local Hugging Face cache, and HF_HUB_OFFLINE forbids to fetch it; give a folder, or unset it"
    }
    repository = cache / "models--Qwen--Qwen3-0.6B"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "snapshots" / "abc" / "config.json").write_text("{}")
    assert refusals(demo, "model.path=Qwen/Qwen3-0.6B") == {}


def test_fewer_problems_than_a_step_needs_are_refused_with_both_numbers(demo):
    make_problems(demo / "data" / "addition" / "train.jsonl", 63)
    assert refusals(demo) == {
        "rollout.prompts_per_step": "64 is more than the 63 problems of the training data; use at most 63, or more data"
    }


def test_a_bad_line_is_named_by_field_file_and_line(demo):
    for name in ("train", "test"):
        with (demo / "data" / "addition" / f"{name}.jsonl").open("a") as file:
            file.write('{"problem": "1+1="}\n')
    assert refusals(demo) == {
        "data.path": f"{demo}/data/addition/train.jsonl, line 65: has no 'answer'; add it",
        "evaluation.benchmarks.0.data.path": f"{demo}/data/addition/test.jsonl, line 6: has no 'answer'; add it",
    }


def test_a_reasoning_gym_task_is_checked_without_generating_it_all(demo):
    assert refusals(demo, "data={kind: reasoning_gym, task: gcd, size: 2000000000}") == {}


def test_a_reasoning_gym_task_that_does_not_exist_names_near_ones_beside_its_field(demo):
    benchmarks: list[dict[str, Any]] = [
        {"name": "a", "data": {"kind": "reasoning_gym", "task": "gcd", "settings": {"nope": 1}}}
    ]
    said = refusals(demo, "data={kind: reasoning_gym, task: cdg}", f"evaluation.benchmarks={json.dumps(benchmarks)}")
    assert "gcd" in said["data.task"]
    assert "nope" in said["evaluation.benchmarks.0.data.settings"]
