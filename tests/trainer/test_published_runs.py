"""Whole runs on checkpoints of every published layout: what they sample, train, save, resume and write back."""

import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_checkpoints import LAYOUTS, write_tiny

from trainer.config import parse
from trainer.events import MemorySink
from trainer.loop import train
from trainer.models.readable import carried_by
from trainer.models.storage import load_joint, load_tokenizer, save_joint
from trainer.tasks.addition import draw_pairs, write_problems


@pytest.fixture
def settings(tmp_path):
    """Of a run of some steps on a layout, stored in bfloat16."""
    write_problems(tmp_path / "train.jsonl", [*draw_pairs(6, 0), (1, 1), (2, 30)])

    def settings(layout, steps):
        base = tmp_path / "base"
        if not base.exists():
            write_tiny(layout, base, dtype=torch.bfloat16, shards=2)
        return {
            "steps": steps,
            "model": {"path": str(base)},
            "regime": {"kind": "occ"},
            "mtp": {"head_loss": "ce"},
            "data": {"kind": "jsonl", "path": str(tmp_path / "train.jsonl")},
            "rollout": {"prompts_per_step": 4, "samples_per_prompt": 3, "max_response_tokens": 10},
            "reward": {"overlong_buffer": 9},
            "update": {"mini_batches": 2},
            "optimizer": {"lr": 1e-2, "warmup_steps": 0},
            "checkpoint": {"every": 1, "keep": 1},
        }

    return settings


def run(settings, folder):
    """Train in a folder; the events."""
    folder.mkdir(exist_ok=True)
    sink = MemorySink()
    train(parse(settings), folder, sink)
    return sink.events


def tensors(folder):
    return {name: tensor for file in folder.glob("model*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_warmed_heads_are_all_that_differs_in_what_is_exported(layout, settings, tmp_path):
    steps = {name: value for name, value in settings(layout, 2).items() if name not in ("mtp", "reward")}
    run({**steps, "regime": {"kind": "warm", "held_out": 3}}, tmp_path / "run")
    joint = load_joint(str(tmp_path / "run" / "checkpoints" / "step-000002" / "model"), 1)
    save_joint(joint, load_tokenizer(str(tmp_path / "base")), tmp_path / "export")
    base, exported = tensors(tmp_path / "base"), tensors(tmp_path / "export")
    assert base.keys() == exported.keys()
    found = carried_by(tmp_path / "base")
    moved = {name for name in base if not torch.equal(base[name], exported[name])}
    assert moved
    of_heads = set(found.layout.keys(0, found.layers).values())
    block = found.layout.prefix(0, found.layers)
    assert not [name for name in moved if name not in of_heads and not name.startswith(block)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_samples_what_it_trains_and_saves_all_it_loaded(layout, settings, tmp_path):
    events = run(settings(layout, 2), tmp_path / "run")
    metrics = [
        event["values"] for event in events if event["type"] == "metrics" and "rollout/log_prob_gap" in event["values"]
    ]
    assert len(metrics) == 2
    assert all(
        values["rollout/log_prob_gap"] < 1e-5 for values in metrics
    )  # prompts are padded on the left, responses on the right
    assert not [event for event in events if event["type"] == "alarm" and event["name"] == "new_heads"]
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000002" / "model"
    base, saved = tensors(tmp_path / "base"), tensors(checkpoint)
    assert base.keys() == saved.keys()
    assert {saved[name].dtype for name in saved if "visual" not in name} == {torch.float32}
    save_joint(load_joint(str(checkpoint), 1), load_tokenizer(str(checkpoint)), tmp_path / "export")
    exported = tensors(tmp_path / "export")
    assert {name: one.dtype for name, one in exported.items()} == {name: one.dtype for name, one in base.items()}
    moved = {name for name in base if not torch.equal(exported[name], base[name])}
    heads = [name for name in moved if "mtp" in name or "layers.2." in name]
    assert len(heads) > 10
    assert len(moved) > len(heads) + 15


def test_a_resumed_run_on_weights_in_bfloat16_is_the_uninterrupted_one(settings, tmp_path):
    run(settings("mimo", 2), tmp_path / "whole")
    run(settings("mimo", 1), tmp_path / "parts")
    run(settings("mimo", 2), tmp_path / "parts")
    whole, parts = (tensors(tmp_path / name / "checkpoints" / "step-000002" / "model") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["mimo", "deepseek_v3"])
def test_divided_among_two_processes_a_run_is_that_of_one(layout, settings, tmp_path):
    alone = settings(layout, 2)
    alone["optimizer"]["lr"] = 1e-3
    divided = {**alone, "launch": {"num_processes": 2, "sharding": "full"}}
    divided["model"] = {**alone["model"], "gradient_checkpointing": True}
    saved = []
    for name, values in {"alone": alone, "divided": divided}.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "trainer", str(tmp_path / f"{name}.yaml"), "--output", str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        saved.append(tensors(tmp_path / name / "checkpoints" / "step-000002" / "model"))
    torch.testing.assert_close(*saved, rtol=1e-5, atol=1e-6)
