"""Presets fit the devices that they are made for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_models import SIZES, write_model
from planned import lines

from backend import store, words
from backend.inspection.models import inspect_model
from backend.inspection.published import PUBLISHED
from backend.planning import checks as service
from backend.planning import memory
from db.workers import worker_heartbeat
from trainer.config import RunConfig, parse, resolve
from trainer.presets import presets

GPU_24, GPU_141 = 24 * 2**30, 141 * 10**9
MADE_FOR = {"small-gpu": (1, GPU_24), "paper-mimo-7b": (8, GPU_141), "paper-mimo-7b-gspo": (8, GPU_141)}


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


@pytest.mark.parametrize(
    ("preset", "bytes_each", "level"),
    [("paper-mimo-7b/occ", GPU_141, "good"), ("paper-mimo-7b/occ", GPU_24, "bad"), ("small-gpu/occ", GPU_24, "good")],
)
def test_a_preset_is_weighed_without_its_models_files_against_gpus_that_are_not_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, bytes_each: int, level: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr(service, "_data", lambda config: [])
    config = parse(resolve(presets()[preset].values, variables={"MTPRL_HOME": str(tmp_path)}))
    found = {check.name: check for check in service.checks([config], 1, None, elsewhere=bytes_each)}
    assert found["Memory"].level == level, found["Memory"].words
    assert f"a GPU has {words.size(bytes_each)}" in found["Memory"].words
    assert all(f"by the published sizes of {config.model.path}" in found[name].words for name in ("Memory", "Disk"))
    assert (found["Model"].level, found["Devices"].level) == ("note", "note")
    headers = preset_with_model(preset, tmp_path)
    with_files = {check.name: check for check in service.checks([headers], 1, None, elsewhere=bytes_each)}
    assert found["Memory"].words.startswith(with_files["Memory"].words)


def test_every_model_that_a_preset_names_has_its_published_sizes(tmp_path: Path) -> None:
    named = {preset.values["model"]["path"] for preset in presets().values()}
    assert {name for name in named if not name.startswith("$")} == PUBLISHED.keys()
