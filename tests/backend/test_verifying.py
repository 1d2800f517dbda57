"""`mtprl inspect` and `mtprl verify`, and what is kept of a verdict."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import torch
from fake_models import write_model
from safetensors.torch import load_file, save_file
from tiny_checkpoints import write_drafting, write_tiny
from typer.testing import CliRunner

from backend import verified
from backend.cli import app
from trainer.config import Model
from trainer.errors import ModelError
from trainer.models.export import export
from trainer.models.storage import load_joint, load_tokenizer, save_joint
from trainer.preflight import model_problems


@pytest.fixture
def without_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTPRL_HOME", str(tmp_path / "home"))


def mtprl(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"})
    return done.exit_code, done.output


@pytest.mark.usefixtures("without_store")
def test_a_folder_is_inspected_without_a_store(tmp_path: Path) -> None:
    code, said = mtprl("inspect", str(write_model(tmp_path / "m", heads=2)))
    assert code == 0
    assert "2 depths, attached layout (mtp.safetensors)" in said
    assert "Memory to train" in said


@pytest.mark.usefixtures("without_store")
def test_of_a_model_that_is_not_here_nothing_is_said_and_the_exit_code_is_1() -> None:
    code, said = mtprl("inspect", "nobody/nothing-like-this")
    assert code == 1
    assert "nobody/nothing-like-this is not on this machine, so that nothing is known of it" in said
    assert "none" not in said
    assert "Projection" not in said
    assert mtprl("inspect", "nobody/nothing-like-this", "--json")[0] == 1


@pytest.mark.usefixtures("without_store")
def test_a_verdict_is_printed_kept_and_outdated_by_other_weights(tmp_path: Path) -> None:
    folder = write_drafting("mimo", tmp_path / "m")
    assert verified.last(folder) is None
    code, said = mtprl("verify", str(folder), "--prompt", "12+30=", "--prompt", "5+5=", "--device", "cpu")
    assert code == 0, said
    assert "nothing is wrong" in said
    kept = verified.last(folder)
    assert kept is not None
    assert (kept.alarms, kept.changed) == ((), False)
    assert kept.words(time.time()).startswith("just now: nothing is wrong. Losses on what it wrote: main head ")
    os.utime(folder / "model.safetensors", (1, 1))
    kept = verified.last(folder)
    assert kept is not None
    assert kept.changed
    assert "the weights have changed since" in kept.words(time.time())


@pytest.mark.usefixtures("without_store")
def test_alarms_end_with_exit_code_1_and_are_kept(tmp_path: Path) -> None:
    folder = write_drafting("mimo", tmp_path / "m", head="exchanged")
    code, said = mtprl("verify", str(folder), "--json", "--device", "cpu")
    assert code == 1
    assert json.loads(said)["depths"][0]["exchanged_loss"] < 1
    kept = verified.last(folder)
    assert kept is not None
    assert "in the other order than the layout says" in kept.words(time.time())
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    code, _ = mtprl("verify", str(folder))
    assert code == 1
    kept = verified.last(folder)
    assert kept is not None
    assert "lacks tensors (1): model.norm.weight" in kept.words(time.time())


@pytest.mark.usefixtures("without_store")
def test_a_checkpoint_in_float32_is_exported_in_the_dtype_it_came_from(tmp_path: Path) -> None:
    base = write_tiny("mimo", tmp_path / "base", dtype=torch.bfloat16)
    joint = load_joint(str(base), 1)
    save_joint(joint, load_tokenizer(str(base)), tmp_path / "checkpoint", full_precision=True)
    code, said = mtprl("models", "export", str(tmp_path / "checkpoint"), str(tmp_path / "export"))
    assert code == 0, said
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "export"))
    assert all(after[name].dtype == torch.bfloat16 and torch.equal(before[name], after[name]) for name in before)
    done = CliRunner().invoke(app, ["models", "export", str(base), str(tmp_path / "export")])
    assert "is not empty; give one that is" in str(done.exception)


@pytest.mark.usefixtures("without_store")
def test_an_export_that_fails_leaves_nothing_and_one_that_was_interrupted_is_no_model(tmp_path: Path) -> None:
    base, target = write_tiny("mimo", tmp_path / "base", depths=2, shards=2), tmp_path / "export"
    joint, tokenizer = load_joint(str(base), 1), load_tokenizer(str(base))
    (base / "model-00002-of-00002.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="put the model back"):  # the first file is written by then
        export(joint, tokenizer, target)
    assert list(target.iterdir()) == []
    (tmp_path / "elsewhere").rename(base / "model-00002-of-00002.safetensors")
    (target / ".unfinished").mkdir()
    save_joint(joint, tokenizer, target / ".unfinished")
    assert "has no config.json" in model_problems(Model(path=str(target)))[0].message
    words = "another export writes into .*/export, or was interrupted there; wait for it, or remove the folder"
    with pytest.raises(ModelError, match=words):
        export(joint, tokenizer, target)
    done = CliRunner().invoke(app, ["models", "export", str(base), str(target)])
    assert re.search(words, str(done.exception))
    shutil.rmtree(target / ".unfinished")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="was filled meanwhile"):
        export(joint, tokenizer, target)
    assert [file.name for file in target.iterdir()] == ["notes.txt"]


@pytest.mark.usefixtures("without_store")
def test_an_index_that_is_none_is_said_and_kept_as_the_verdict(tmp_path: Path) -> None:
    folder = write_tiny("mimo", tmp_path / "m", shards=2)
    (folder / "model.safetensors.index.json").write_text("[]")
    done = CliRunner().invoke(app, ["verify", str(folder), "--device", "cpu"])
    assert "which file holds which tensor" in str(done.exception)
    verified.keep(folder, {"alarms": ["damaged"]})
    kept = verified.last(folder)
    assert kept is not None
    assert (kept.alarms, kept.changed) == (("damaged",), False)


@pytest.mark.usefixtures("without_store")
def test_a_verdict_is_of_one_folder_and_of_the_heads_beside_it(tmp_path: Path) -> None:
    here, there = (write_model(tmp_path / place / "m", heads=1) for place in ("a", "b"))
    verified.keep(here, {"alarms": ["of a"]})
    assert verified.last(there) is None
    os.utime(here / "mtp.safetensors", (1, 1))
    kept = verified.last(here)
    assert kept is not None
    assert (kept.alarms, kept.changed) == (("of a",), True)


@pytest.mark.usefixtures("without_store")
def test_all_attached_heads_are_exported_and_a_model_without_any_is_refused(tmp_path: Path) -> None:
    plain = write_tiny("qwen3", tmp_path / "plain")
    done = CliRunner().invoke(app, ["models", "export", str(plain), str(tmp_path / "no")])
    assert "has no MTP heads, and nothing else that a copy of it would not have" in str(done.exception)
    assert not (tmp_path / "no").exists()
    save_joint(load_joint(str(plain), 2), load_tokenizer(str(plain)), tmp_path / "with")
    code, said = mtprl("models", "export", str(tmp_path / "with"), str(tmp_path / "export"))
    assert code == 0, said
    assert "with 2 MTP depths is in" in said
    before, after = (load_file(tmp_path / name / "mtp.safetensors") for name in ("with", "export"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
