"""Presets fit the devices that they are made for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_models import SIZES, write_model
from planned import lines

from backend import store
from backend.inspection.models import Shape, inspect_model
from backend.planning import checks as service
from backend.planning import memory
from db.workers import worker_heartbeat
from trainer.config import RunConfig, parse, resolve
from trainer.presets import presets

GPU_24, GPU_141 = 24 * 2**30, 141 * 10**9
MADE_FOR = {"small-gpu": (1, GPU_24), "paper-mimo-7b": (8, GPU_141), "paper-mimo-7b-gspo": (8, GPU_141)}
PUBLISHED = {
    "Qwen/Qwen3-0.6B": Shape(1024, 3072, 28, 16, 8, 128, 151_936, tied=True),
    "XiaomiMiMo/MiMo-7B-RL": Shape(4096, 11_008, 36, 32, 8, 128, 151_680, tied=False),
    "zai-org/GLM-4.5-Air": Shape(4096, 1408, 46, 96, 8, 128, 151_552, tied=False, experts=128, active_experts=8),
}


def preset_with_model(name: str, folder: Path) -> RunConfig:
    """A preset whose model is a folder of headers that say the published sizes."""
    config = parse(resolve(presets()[name].values, variables={"MTPRL_HOME": str(folder)}))
    shape = PUBLISHED[config.model.path]
    tensors: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (shape.vocabulary, shape.hidden),
        "model.norm.weight": (shape.hidden,),
        **{f"model.layers.{layer}.mlp.weight": (shape.block,) for layer in range(shape.layers)},
    }
    if not shape.tied:
        tensors["lm_head.weight"] = (shape.vocabulary, shape.hidden)
    sizes = {
        **SIZES,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_size,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
    }
    if shape.experts > 1:
        experts = {"moe_intermediate_size": shape.inner, "num_experts": shape.experts}
        sizes |= {**experts, "num_experts_per_tok": shape.active_experts}
    path = write_model(folder / name.replace("/", "-"), tensors, sizes)
    return config.model_copy(update={"model": config.model.model_copy(update={"path": str(path)})})


@pytest.mark.parametrize("regime", ["off", "occ", "occ-calibrated", "oracle"])
@pytest.mark.parametrize("recipe", MADE_FOR)
def test_a_preset_fits_the_devices_that_it_is_made_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, regime: str
) -> None:
    processes, limit = MADE_FOR[recipe]
    config = preset_with_model(f"{recipe}/{regime}", tmp_path)
    assert config.launch.num_processes == processes
    with store.writing() as connection:
        devices = [f"cuda:{index}" for index in range(processes)]
        worker_heartbeat(connection, "a", os.uname().nodename, 1, devices, time.time())
    monkeypatch.setattr(service, "memory_of", lambda kind: limit)
    monkeypatch.setattr(service, "_data", lambda config: [])
    found = lines(config)["Memory"]
    assert found.level == "good", found.words


def test_the_plan_of_glm_says_that_sampling_and_not_the_update_is_too_much(tmp_path: Path) -> None:
    config = preset_with_model("paper-glm-4.5-air/occ", tmp_path)
    facts = inspect_model(config.model.path)
    assert facts.trunk_parameters == pytest.approx(106e9, rel=0.05)
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    assert sum(found.fixed.values()) + sum(found.update.values()) < 0.9 * GPU_141
    assert found.rollout["the whole model"] > GPU_141
    said = memory.what_to_lower(config, facts, int(0.9 * GPU_141), on_gpu=True)
    assert (
        said
        == "sampling puts the whole model on every device, and that alone is too much; use a smaller model, or devices with more memory"
    )
