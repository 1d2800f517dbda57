"""A run that cannot work is refused before anything is queued, with every reason at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from demo_homes import make_problems, refusals, safetensors
from tiny_checkpoints import write_tiny

from trainer.preflight import has_chat_template


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
    ("text", "says"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "names no model_type"),
        ("{}", "names no model_type"),
        ('{"model_type": ["qwen3"]}', "names no model_type"),
    ],
)
def test_a_damaged_model_configuration_is_refused(demo, text, says):
    (demo / "models" / "addition" / "config.json").write_text(text)
    assert says in refusals(demo)["model.path"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "is no safetensors file, or only the beginning of one"),
        (b"", "is no safetensors file, or only the beginning of one"),
        (b"abc", "is no safetensors file, or only the beginning of one"),
        (safetensors(100)[:40], "is no safetensors file, or only the beginning of one"),
        (safetensors(100)[:-30], "ends 30 bytes too early"),
        (safetensors(100) + b"more", "has 4 bytes behind its last tensor"),
        (b"\x02" + bytes(7) + b"[]", "has no safetensors header that can be read"),
        (b"\x02" + bytes(7) + b"\xff{", "has no safetensors header that can be read"),
        (b"\x0c" + bytes(7) + b'{"w":[1, 2]}', "has no safetensors header that can be read"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "mtp.safetensors"])
def test_a_damaged_weights_file_is_named(demo, name, content, says):
    file = demo / "models" / "addition" / name
    file.write_bytes(content)
    assert refusals(demo) == {"model.path": f"{file}: {says}; fetch or make the model again"}


def test_a_weights_file_that_is_elsewhere_and_gone_is_named(demo):
    file = demo / "models" / "addition" / "model-2.safetensors"
    file.symlink_to(demo / "gone")
    assert refusals(demo) == {
        "model.path": f"{file}: cannot be read (No such file or directory); fetch or make the model again"
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"weight_map": {"w": "model.safetensors"}}', None),
        (
            '{"weight_map": {"v": "a.safetensors", "w": "b.safetensors"}}',
            "names a.safetensors, b.safetensors, which are",
        ),
        ('{"weight_map": {"v": "../addition/model.safetensors"}}', "names ../addition/model.safetensors, which is"),
        ("[]", "says in no way that can be read which file holds which tensor"),
        ('{"weight_map": {"w": 1}}', "says in no way that can be read which file holds which tensor"),
        ("{", "says in no way that can be read which file holds which tensor"),
    ],
)
def test_an_index_that_names_what_is_not_there_is_refused(demo, text, says):
    index = demo / "models" / "addition" / "model.safetensors.index.json"
    index.write_text(text)
    said = refusals(demo)
    assert said == {} if says is None else said["model.path"].startswith(f"{index} {says}")


def test_heads_whose_file_is_missing_are_not_said_to_be_none(demo):
    folder = demo / "models" / "addition"
    (folder / "config.json").write_text('{"model_type": "mimo", "num_nextn_predict_layers": 1, "num_hidden_layers": 2}')
    assert "no tensors of MTP heads" in refusals(demo)["model.path"]
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "a.safetensors"}}')
    assert "MTP heads" not in refusals(demo)["model.path"]


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("tokenizer.json", "{", "tokenizer.json cannot be read"),
        ("tokenizer.json", '{"model": {"vocab": {"a": 0, "b": 1, "c": 2}}}', "has 3 tokens, and the model knows 2"),
        ("tokenizer.json", '{"model": {"vocab": [["a", 0.0], ["b", 0.0], ["c", 0.0]]}}', "has 3 tokens, and"),
        ("tokenizer.json", '{"model": {"vocab": {"a": 0, "b": 1}}}', None),
        ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast"}', "names no eos_token"),
        ("tokenizer_config.json", '{"tokenizer_class": "TokenizersBackend", "eos_token": "b"}', None),
        ("tokenizer_config.json", '{"tokenizer_class": "Qwen2Tokenizer"}', None),  # it has one by its class
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(demo, file, text, says):
    folder = demo / "models" / "addition"
    (folder / "config.json").write_text('{"model_type": "qwen3", "vocab_size": 2}')
    (folder / file).write_text(text)
    said = refusals(demo)
    assert said == {} if says is None else says in said["model.path"]


def test_heads_alone_are_no_weights(demo):
    folder = demo / "models" / "addition"
    (folder / "model.safetensors").rename(folder / "mtp.safetensors")
    assert "has no weights" in refusals(demo)["model.path"]


def add_heads(home: Path, config: str) -> Path:
    folder = home / "models" / "addition"
    (folder / "mtp.safetensors").write_bytes(safetensors(4))
    (folder / "mtp_config.json").write_text(config)
    return folder


def test_more_depths_than_the_model_has_are_refused(demo):
    folder = add_heads(demo, '{"layout": "attached", "depths": 2}')
    assert refusals(demo, "model.mtp_depths=2") == {}
    assert refusals(demo, "model.mtp_depths=3") == {
        "model.mtp_depths": f"3 asked for, but {folder} has 2; use at most 2"
    }


def test_heads_of_a_published_layout_are_counted(demo):
    folder = demo / "models" / "addition"
    write_tiny("mimo", folder, depths=2)
    assert refusals(demo, "model.mtp_depths=2") == {}
    assert refusals(demo, "model.mtp_depths=3") == {
        "model.mtp_depths": f"3 asked for, but {folder} has 2; use at most 2"
    }


def test_heads_without_their_file_are_refused(demo):
    folder = add_heads(demo, '{"layout": "attached", "depths": 2}')
    (folder / "mtp.safetensors").unlink()
    assert refusals(demo) == {
        "model.path": f"{folder} has mtp_config.json but no mtp.safetensors; fetch or make the model again"
    }


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "cannot be read ("),
        ("[" * 100_000, "cannot be read ("),
        ("[]", "gives no number of depths"),
        ("{}", "gives no number of depths"),
        ('{"depths": true}', "gives no number of depths"),
        ('{"depths": "2"}', "gives no number of depths"),
        ('{"depths": -1}', "gives no number of depths"),
    ],
)
def test_a_damaged_configuration_of_the_heads_is_refused_by_its_name(demo, config, says):
    folder = add_heads(demo, config)
    assert refusals(demo)["model.path"].startswith(f"{folder}/mtp_config.json {says}")


def test_a_path_that_no_file_system_takes_is_refused(demo):
    said = refusals(demo, f"model.path={'x' * 5000}", f"data.path={'x' * 5000}")
    assert all("cannot be read (File name too long)" in said[field] for field in ("model.path", "data.path"))


def test_a_problem_with_half_a_character_is_named_by_field_file_and_line(demo):
    file = demo / "data" / "addition" / "train.jsonl"
    with file.open("a") as stream:
        stream.write('{"problem": "\\ud800", "answer": "1"}\n')
    assert refusals(demo)["data.path"].startswith(f"{file}, line 65: 'problem' is not valid Unicode")


def test_a_name_that_the_hub_cannot_have_is_refused(demo):
    assert "nor a name on the Hugging Face hub" in refusals(demo, "model.path=a/b--c")["model.path"]


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
    fix = "has no 'answer'; add it, or name the column that holds it in columns.answer (there are problem)"
    assert refusals(demo) == {
        "data.path": f"{demo}/data/addition/train.jsonl, line 65: {fix}",
        "evaluation.benchmarks.0.data.path": f"{demo}/data/addition/test.jsonl, line 6: {fix}",
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


CHAT = ("data.chat=true", "evaluation.benchmarks.0.data.chat=true")


def test_a_chat_needs_a_template(demo):
    folder = demo / "models" / "addition"
    says = f"the tokenizer of {folder} has no chat template; set chat to false, or give a model that has one"
    assert refusals(demo, *CHAT) == {"data.chat": says, "evaluation.benchmarks.0.data.chat": says}
    (folder / "tokenizer_config.json").write_text('{"chat_template": ""}')
    assert refusals(demo, CHAT[0]) == {"data.chat": says}


@pytest.mark.parametrize(
    ("name", "text"),
    [("chat_template.jinja", "{{ messages }}"), ("tokenizer_config.json", '{"chat_template": "{{ messages }}"}')],
)
def test_a_chat_with_a_template_is_accepted(demo, name, text):
    (demo / "models" / "addition" / name).write_text(text)
    assert refusals(demo, *CHAT) == {}


def test_of_a_model_on_the_hub_a_template_is_known_once_it_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert has_chat_template("own/model") is None
    repository = tmp_path / "models--own--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer_config.json").write_text("{}")
    assert has_chat_template("own/model") is None, "it may lie in a file that was not fetched"
    (repository / ".no_exist" / ("a" * 40)).mkdir(parents=True)
    (repository / ".no_exist" / ("a" * 40) / "chat_template.jinja").touch()
    assert has_chat_template("own/model") is False
    (snapshot / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    assert has_chat_template("own/model") is True
    assert has_chat_template("no such/na/me") is None
