"""Heads that are random, exchanged, damaged or right are told apart by what the model writes."""

import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_checkpoints import LAYOUTS, write_drafting, write_tiny

from trainer.errors import ModelError, TrainingError
from trainer.verify import DepthFound, _of_heads, verify


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_head_that_knows_what_the_main_head_knows_is_right(layout, tmp_path):
    found = verify(str(write_drafting(layout, tmp_path)))
    assert found.alarms == ()
    assert not found.new
    assert found.loss < 0.5 * found.chance
    depth = found.depths[0]
    assert depth.greedy > 0.99
    assert depth.sampled > 0.99
    assert depth.exchanged_loss > depth.loss + 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exchanged_halves_are_said_to_be_so(layout, tmp_path):
    found = verify(str(write_drafting(layout, tmp_path, head="exchanged")))
    assert len(found.alarms) == 1
    assert "they are stored in the other order than the layout says" in found.alarms[0]
    assert found.depths[0].exchanged_loss < found.depths[0].loss - 1


def test_a_random_head_guesses(tmp_path):
    found = verify(str(write_drafting("mimo", tmp_path, head="random")))
    assert len(found.alarms) == 1
    assert "depth 1: its loss is" in found.alarms[0]
    assert "near or above ln V = 4.61: it guesses" in found.alarms[0]


def test_a_random_trunk_guesses(tmp_path):
    found = verify(str(write_tiny("mimo", tmp_path)))
    assert "the main head's loss on its own samples is" in found.alarms[0]


def test_every_depth_is_judged(tmp_path):
    folder = write_drafting("mimo", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    first = {name: tensor for name, tensor in tensors.items() if ".mtp_layers.0." in name}
    tensors |= {name.replace("layers.0.", "layers.1."): tensor.clone() for name, tensor in first.items()}
    projection = "model.mtp_layers.1.input_proj.weight"
    tensors[projection] = tensors[projection].roll(16, dims=1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    found = verify(str(folder))
    assert len(found.depths) == 2
    assert len(found.alarms) == 1
    assert "depth 2: its loss is" in found.alarms[0]
    assert "stored in the other order" in found.alarms[0]


@pytest.mark.parametrize(
    ("loss", "exchanged", "says"),
    [
        (1.0, 0.95, None),
        (1.0, 0.85, "the other order"),
        (4.1, 4.4, None),
        (4.2, 4.4, "it guesses"),
        (9.0, 4.2, "it guesses"),
        (9.0, 4.1, "the other order"),
        (math.nan, math.nan, "it guesses"),
    ],
)
def test_where_alarms_of_a_head_begin(loss, exchanged, says):
    alarms = list(_of_heads([DepthFound(loss, exchanged, 0.0, 0.0)], math.log(100)))
    assert [says in alarm for alarm in alarms] == ([] if says is None else [True])


def test_a_model_that_says_nothing_is_no_verdict(tmp_path):
    folder = write_drafting("mimo", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][:] = 1.0
    tensors["model.norm.weight"][:] = 1.0
    tensors["lm_head.weight"][:] = 0.0
    tensors["lm_head.weight"][1] = 10.0
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingError, match="ends every response at once, so that no head can be measured"):
        verify(str(folder), ["1"])


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_what_is_not_finite_is_named_before_anything_is_sampled(tmp_path, number):
    folder = write_drafting("mimo", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.mtp_layers.0.mlp.up_proj.weight"][3, 3] = number
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert verify(str(folder)).alarms == (
        "there are NaN or infinite numbers in model.mtp_layers.0.mlp.up_proj.weight; fetch the model again",
    )


@pytest.mark.parametrize(
    "name",
    ["model.mtp_layers.0.self_attn.k_proj.bias", "model.mtp_layers.0.final_layernorm.weight", "model.norm.weight"],
)
def test_a_missing_tensor_is_named(name, tmp_path):
    folder = write_tiny("mimo", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"(lacks tensors \(1\)|are missing): " + re.escape(name)):
        verify(str(folder))


def test_new_heads_of_a_model_without_any_are_no_alarm(tmp_path):
    folder = write_tiny("qwen3", tmp_path)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] *= 8
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    found = verify(str(folder))
    assert (found.new, found.alarms, len(found.depths)) == (True, (), 1)
