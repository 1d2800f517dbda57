"""Which checkpoints a run has, what is best, and what is broken, at a glance."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest

from backend import checkpoints
from trainer.manifest import seal

CONFIG = {"evaluation": {"every": 5, "samples": 4}}


def save(folder: Path, step: int, accuracy: float | None, config: dict | None = None) -> Path:
    path = folder / "checkpoints" / f"step-{step:06d}"
    (path / "model").mkdir(parents=True)
    (path / "model" / "model.safetensors").write_bytes(b"w" * 100)
    (path / "state.pt").write_bytes(b"s" * 50)
    (path / "about.json").write_text(json.dumps({"step": step, "accuracy": accuracy, "config": config or CONFIG}))
    seal(path)
    return path


def test_checkpoints_are_listed_newest_first_with_the_best_and_their_sizes(tmp_path):
    for step, accuracy in ((5, 0.7), (10, 0.7), (15, None), (20, 0.5)):
        save(tmp_path, step, accuracy)
    (tmp_path / "checkpoints" / ".step-000025.partial").mkdir()
    found = checkpoints.listed(tmp_path, CONFIG)
    assert [(one.step, one.accuracy, one.best, one.newest, one.flaw) for one in found] == [
        (20, 0.5, False, True, None),
        (15, None, False, False, None),
        (10, 0.7, True, False, None),
        (5, 0.7, False, False, None),
    ]
    assert found[0].model_size == 100
    assert found[0].size == sum(path.stat().st_size for path in found[0].path.rglob("*") if path.is_file())


def test_what_another_evaluation_asked_is_not_the_best_and_how_often_it_asked_does_not_matter(tmp_path):
    save(tmp_path, 5, 0.9, {"evaluation": {"every": 5, "samples": 1}})
    save(tmp_path, 10, 0.4, {"evaluation": {"every": 1, "samples": 4}})
    assert [(one.step, one.accuracy, one.best) for one in checkpoints.listed(tmp_path, CONFIG)] == [
        (10, 0.4, True),
        (5, None, False),
    ]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: (path / "model" / "model.safetensors").write_bytes(b"w"), "has 1 bytes instead of 100"),
        (lambda path: (path / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda path: (path / "about.json").write_text("["), "about.json has 1 bytes instead of"),
    ],
)
def test_a_broken_checkpoint_is_neither_the_newest_nor_the_best(damage, says, tmp_path):
    save(tmp_path, 5, 0.4)
    damage(save(tmp_path, 10, 0.9))
    broken, whole = checkpoints.listed(tmp_path, CONFIG)
    assert says in broken.flaw
    assert (broken.best, broken.newest, whole.best, whole.newest) == (False, False, True, True)


def test_a_folder_without_checkpoints_lists_none(tmp_path):
    assert checkpoints.listed(tmp_path / "nowhere", CONFIG) == []


def test_a_model_is_zipped_as_it_lies_there(tmp_path):
    path = save(tmp_path, 5, None)
    with zipfile.ZipFile(io.BytesIO(checkpoints.zipped(path / "model"))) as archive:
        assert archive.namelist() == ["model/model.safetensors"]
        assert archive.read("model/model.safetensors") == b"w" * 100
