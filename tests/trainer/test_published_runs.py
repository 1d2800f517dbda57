"""Whole runs on checkpoints of every published layout: what they sample, train, save, resume and write back."""

import pytest
import torch
from safetensors.torch import load_file
from tiny_checkpoints import LAYOUTS, write_tiny

from trainer.config import parse
from trainer.events import MemorySink
from trainer.loop import train
from trainer.models.storage import load_joint, load_tokenizer, save_joint
from trainer.tasks.addition import draw_pairs, write_problems


@pytest.fixture
def run(tmp_path):
    """Train steps on a layout, stored in bfloat16, in a folder; its events."""
    write_problems(tmp_path / "train.jsonl", [*draw_pairs(6, 0), (1, 1), (2, 30)])

    def go(layout, folder, steps, **sections):
        base = tmp_path / "base"
        if not base.exists():
            write_tiny(layout, base, dtype=torch.bfloat16, shards=2)
        config = {
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
        folder.mkdir(exist_ok=True)
        sink = MemorySink()
        train(parse({**config, **sections}), folder, sink)
        return sink.events

    return go


def tensors(folder):
    return {name: tensor for file in folder.glob("model*.safetensors") for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_samples_what_it_trains_and_saves_all_it_loaded(layout, run, tmp_path):
    events = run(layout, tmp_path / "run", 2)
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


def test_a_resumed_run_on_weights_in_bfloat16_is_the_uninterrupted_one(run, tmp_path):
    run("mimo", tmp_path / "whole", 2)
    run("mimo", tmp_path / "parts", 1)
    run("mimo", tmp_path / "parts", 2)
    whole, parts = (tensors(tmp_path / name / "checkpoints" / "step-000002" / "model") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
