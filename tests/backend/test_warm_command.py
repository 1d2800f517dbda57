"""`mtprl warm-heads`: what it queues, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backend_harness import look
from fake_models import write_model

from backend.warming import warming_values

Mtprl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(f'{{"problem": "{n}+{n}", "answer": "{2 * n}"}}\n' for n in range(96)))
    return file


def test_a_run_of_regime_warm_is_queued_and_its_model_named(
    mtprl: Mtprl, values: dict[str, Any], prompts: Path
) -> None:
    model = values["model"]["path"]
    asked = ("--data", str(prompts), "--depths", "2", "--loss", "ce", "--steps", "7", "--set", "optimizer.lr=0.5")
    code, out, err = mtprl("warm-heads", model, *asked)
    assert code == 0, err
    run = look(1)
    assert (run.name, run.regime, run.experiment, run.total_steps) == ("warm-model", "warm", "warm-heads", 7)
    assert run.config["regime"]["loss"] == "ce"
    assert (run.config["model"]["path"], run.config["model"]["mtp_depths"]) == (model, 2)
    assert (run.config["optimizer"]["lr"], run.config["optimizer"]["weight_decay"]) == (0.5, 0.0)
    assert f"--set model.path={run.folder}/checkpoints/step-000007/model" in out


def test_a_run_per_seed_is_queued(mtprl: Mtprl, values: dict[str, Any], prompts: Path) -> None:
    model = values["model"]["path"]
    code, out, err = mtprl("warm-heads", model, "--data", str(prompts), "--seeds", "3,5", "--experiment", "heads")
    assert code == 0, err
    queued = [look(1), look(2)]
    assert [(run.name, run.seed, run.experiment) for run in queued] == [
        ("warm-model-seed3", 3, "heads"),
        ("warm-model-seed5", 5, "heads"),
    ]
    assert all(f"{run.folder}/checkpoints/step-000100/model" in out for run in queued)
    code, _, err = mtprl("warm-heads", model, "--data", str(prompts), "--seeds", "3,5", "--output", "out")
    assert (code, "--seeds: is for the queue" in err) == (1, True)


def test_what_cannot_work_is_refused_in_words(mtprl: Mtprl, values: dict[str, Any], prompts: Path) -> None:
    model, few = values["model"]["path"], values["data"]["path"]
    for words, said in {
        ("warm-heads", model): "data: is missing",
        ("warm-heads", model, "--data", few): "regime.held_out: 32 held out and 64 in a step",
        ("warm-heads", model, "--data", str(prompts), "--loss", "kl"): "regime.loss: 'kl' is not known",
        ("warm-heads", "/no/model", "--data", str(prompts)): "model.path: /no/model does not exist",
        ("warm-heads", model, "--data", str(prompts), "--set", "audit.every=2"): "audit.every: 2 is refused",
        ("warm-heads", model, "--data", "/no/file.jsonl"): "data.path: /no/file.jsonl",
    }.items():
        code, out, err = mtprl(*words)
        assert (code, out) == (1, ""), words
        assert said in err, words


def test_all_depths_that_a_model_carries_learn_unless_fewer_are_asked_for(tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "m", heads=2))
    assert warming_values(model)["model"]["mtp_depths"] == 2
    assert warming_values(model, depths=1)["model"]["mtp_depths"] == 1
    assert warming_values(str(write_model(tmp_path / "plain")))["model"]["mtp_depths"] == 1
