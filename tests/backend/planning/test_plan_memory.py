"""The memory of a run by part, and what to lower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planned import lines, sized

from backend.inspection.models import inspect_model
from backend.planning import checks as service
from backend.planning import memory
from trainer.config import RunConfig
from trainer.config.schema import Vllm


def test_memory_by_hand(tmp_path: Path, values: dict[str, Any]) -> None:
    config = sized(tmp_path, values, regime={"kind": "occ"}, mtp={"head_loss": "ce"})
    facts = inspect_model(config.model.path)
    assert facts.shape is not None
    assert facts.shape.trunk == 151_936 * 1024 + 28 * facts.shape.block + 1024  # near 0.6 billion, as Qwen3-0.6B
    assert 595e6 < facts.shape.trunk < 597e6
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    trunk, depth = facts.trunk_parameters or 0, facts.shape.depth
    assert found.fixed["parameters"] == 4 * (trunk + depth)
    assert found.fixed["optimiser"] == 2 * found.update["gradients"] == 8 * (trunk + depth)
    layer = 6 * 1024 + 4 * 3072 + 4 * (2048 + 1024)
    assert found.update["activations"] == 4 * 4 * 1000 * (28 * layer + 3 * 1024)
    assert found.update["activations of the MTP heads"] == 4 * 4 * 1000 * 2 * (layer + 9 * 1024)
    assert found.update["logits"] == 4 * 4 * 2**26  # 4 x 900 x 151,936 are more than a chunk
    assert found.rollout["key-value cache"] == 4 * 16 * 1000 * 2 * 1024 * 29
    assert found.peak == sum(found.fixed.values()) + sum(found.update.values())
    on_processor = memory.estimate(config, facts, on_gpu=False)
    assert on_processor is not None
    passes = sum(size for name, size in found.update.items() if name != "gradients")
    assert on_processor.update == {**found.update, "held by the allocator": passes // 2}
    assert memory.checkpoint_bytes(config, facts) == 12 * (trunk + depth)


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({"regime": {"kind": "off"}}, 0),
        ({"regime": {"kind": "detach"}}, 1),
        ({"regime": {"kind": "warm"}}, 1),
        ({"regime": {"kind": "ce"}}, 1),
        ({"regime": {"kind": "ce"}, "mtp": {"head_loss": "ce"}}, 2),
    ],
)
def test_the_heads_passes_are_those_of_the_trainer(
    tmp_path: Path, values: dict[str, Any], changes: dict[str, Any], passes: int
) -> None:
    from trainer.update.losses import reaches

    config = sized(tmp_path, values, **changes)
    found = memory.estimate(config, inspect_model(config.model.path), on_gpu=False)
    assert found is not None
    assert len(reaches(config)) == passes
    shape = inspect_model(config.model.path).shape
    assert shape is not None
    layer = 6 * 1024 + 4 * 3072 + 4 * (2048 + 1024) + 9 * 1024
    assert found.update["activations of the MTP heads"] == 16_000 * passes * layer
    trunk = inspect_model(config.model.path).trunk_parameters or 0
    assert found.fixed["optimiser"] == 8 * (trunk * config.trains_trunk + shape.depth * config.trains_heads)


def test_what_to_lower_brings_the_peak_below_the_limit(tmp_path: Path, values: dict[str, Any]) -> None:
    config = sized(tmp_path, values, update={"mini_batches": 1})
    facts = inspect_model(config.model.path)
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    limit = found.peak // 2
    said = memory.what_to_lower(config, facts, limit, on_gpu=True)
    lower = int(said.split("update.micro_batch_sequences to ")[1].split()[0])
    fits = memory.estimate(
        sized(tmp_path, values, update={"mini_batches": 1, "micro_batch_sequences": lower}), facts, on_gpu=True
    )
    assert fits is not None
    assert fits.peak <= limit
    said = memory.what_to_lower(config, facts, found.fixed["parameters"], on_gpu=True)
    assert said.endswith("alone are more; use a smaller model, or a device with more memory")
    least = sum(found.fixed.values()) + found.update["gradients"]
    assert "launch.sharding full, launch.num_processes 2 or more" in memory.what_to_lower(
        config, facts, least, on_gpu=True
    )


def test_blocks_that_run_again_and_a_token_budget_are_found_where_fewer_sequences_do_not_help(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    long = {"prompts_per_step": 1, "samples_per_prompt": 4, "max_prompt_tokens": 1000, "max_response_tokens": 15_000}
    one = sized(tmp_path, values, rollout=long, update={"mini_batches": 1, "micro_batch_sequences": 1})
    facts = inspect_model(one.model.path)
    again = memory.estimate(memory._with(one, "model", gradient_checkpointing=True), facts, on_gpu=True)
    now = memory.estimate(one, facts, on_gpu=True)
    assert now is not None
    assert again is not None
    assert again.peak < now.peak / 2
    said = memory.what_to_lower(one, facts, again.peak, on_gpu=True)
    assert said == (
        "set update.micro_batch_sequences to 1 or less (now 1 at once) with model.gradient_checkpointing; the update does not depend on it"
    )
    budget = sized(tmp_path, values, rollout=long, update={"mini_batches": 1, "micro_batch_tokens": 64_000})
    wide = memory.estimate(memory._with(budget, "model", gradient_checkpointing=True), facts, on_gpu=True)
    assert wide is not None
    said = memory.what_to_lower(budget, facts, wide.peak, on_gpu=True)
    tokens = int(said.split("update.micro_batch_tokens to ")[1].split()[0])
    fits = memory._with(memory._with(budget, "update", micro_batch_tokens=tokens), "model", gradient_checkpointing=True)
    found = memory.estimate(fits, facts, on_gpu=True)
    assert found is not None
    assert 16_000 <= tokens <= 64_000
    assert found.peak <= wide.peak


def test_divided_parameters_are_a_part_on_each_device_and_whole_only_while_sampling(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    update = {"mini_batches": 1, "micro_batch_sequences": 1}
    config = sized(tmp_path, values, update=update, launch={"num_processes": 4, "sharding": "full"})
    facts = inspect_model(config.model.path)
    divided = memory.estimate(config, facts, on_gpu=True)
    whole = memory.estimate(sized(tmp_path, values, update=update, launch={"num_processes": 4}), facts, on_gpu=True)
    assert divided is not None
    assert whole is not None
    for part in ("parameters", "optimiser"):
        assert divided.fixed[part] == pytest.approx(whole.fixed[part] / 4, abs=1)
    assert divided.update["gradients"] == pytest.approx(whole.update["gradients"] / 4, abs=1)
    assert divided.rollout["the whole model"] == whole.fixed["parameters"]
    assert "parameters put together" not in whole.update


def test_too_much_for_the_machine_is_red_and_says_what_to_lower(
    home: Path, tmp_path: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sized(tmp_path, values)
    for limit, level in ((10**15, "good"), (10**8, "bad")):
        monkeypatch.setattr(service, "memory_of", lambda kind, limit=limit: limit)
        assert lines(config)["Memory"].level == level
    assert "smaller model" in lines(config)["Memory"].words


def test_vllm_has_the_parameters_once_more_and_a_cache_that_can_be_lowered(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    rollout = {"engine": "vllm", "vllm": {"cache_gib": 60}, "max_response_tokens": 512}
    config = sized(tmp_path, values, rollout={**values["rollout"], **rollout})
    facts = inspect_model(config.model.path)
    on_gpu, beside = (memory.estimate(config, facts, on_gpu=gpu) for gpu in (True, False))
    assert on_gpu is not None
    assert beside is not None
    assert on_gpu.rollout == {"vLLM's parameters": on_gpu.fixed["parameters"], "vLLM's key-value cache": 60 * 2**30}
    assert not on_gpu.in_update
    assert memory.what_to_lower(config, facts, on_gpu.peak - 10 * 2**30, on_gpu=True) == (
        "set rollout.vllm.cache_gib to 50 or less"
    )
    assert on_gpu.rollout.items() <= beside.fixed.items()  # on a processor it does not sleep
    assert beside.rollout == {}


def test_what_samples_too_much_is_told_how_many_responses_fit_at_once(tmp_path: Path, values: dict[str, Any]) -> None:
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 64, "max_prompt_tokens": 100, "max_response_tokens": 900}
    update = {"mini_batches": 4, "micro_batch_sequences": 1}
    config = sized(tmp_path, values, rollout=rollout, update=update)
    facts = inspect_model(config.model.path)
    found = memory.estimate(config, facts, on_gpu=True)
    assert found is not None
    assert not found.in_update
    said = memory.what_to_lower(config, facts, found.peak // 3, on_gpu=True)
    count = int(said.split("rollout.sequences_at_once to ")[1].split()[0])
    for fewer, fits in ((count, True), (count + 1, False)):
        tried = memory.estimate(memory._with(config, "rollout", sequences_at_once=fewer), facts, on_gpu=True)
        assert tried is not None
        assert (tried.peak <= found.peak // 3) == fits


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_grid_is_as_large_as_its_largest_method(
    home: Path, tmp_path: Path, values: dict[str, Any], order: slice
) -> None:
    small = sized(tmp_path, values, regime={"kind": "off"})
    large = sized(tmp_path, values, regime={"kind": "occ"}, mtp={"head_loss": "ce"})
    alone = [lines(one)["Memory"].words for one in (small, large)]
    assert alone[0] != alone[1]
    assert lines(*(small, large)[order])["Memory"].words == alone[1]


def test_heads_that_do_not_learn_are_in_a_checkpoint_without_moments(tmp_path: Path, values: dict[str, Any]) -> None:
    config = sized(tmp_path, values, regime={"kind": "off"})
    facts = inspect_model(config.model.path)
    assert facts.shape is not None
    trunk, depth = facts.trunk_parameters or 0, facts.shape.depth
    assert memory.checkpoint_bytes(config, facts) == 12 * trunk + 4 * depth


def test_answers_of_an_evaluation_are_counted_as_far_as_problems_go(tmp_path: Path, values: dict[str, Any]) -> None:
    def peak(**evaluation: Any) -> dict[str, int]:
        benchmark = {"name": "h", "data": values["data"], "limit": evaluation.pop("limit", None)}
        config = sized(tmp_path, values, evaluation={"benchmarks": [benchmark], "samples": 4, **evaluation})
        found = memory.estimate(config, inspect_model(config.model.path), on_gpu=True)
        assert found is not None
        return found.rollout

    none = memory.estimate(sized(tmp_path, values), inspect_model(str(tmp_path / "large")), on_gpu=True)
    assert none is not None
    assert peak(limit=2) == none.rollout, "fewer answers than a step's 16 responses"
    cache = [peak(limit=limit)["key-value cache"] for limit in (8, 16)]
    assert cache[1] == 2 * cache[0]
    # Sampling from a part of the probability sorts every row.
    assert sum(peak(limit=16, top_p=0.7).values()) > sum(peak(limit=16, top_p=1.0).values())


def test_on_a_processor_a_cache_of_vllm_that_is_too_large_is_what_is_lowered(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    config = sized(tmp_path, values)

    def with_cache(gib: float) -> RunConfig:
        return memory._with(config, "rollout", engine="vllm", vllm=Vllm(cache_gib=gib))

    facts = inspect_model(config.model.path)
    found = memory.estimate(with_cache(4), facts, on_gpu=False)
    assert found is not None
    limit = found.peak
    said = memory.what_to_lower(with_cache(400), facts, limit, on_gpu=False)
    assert said == "set rollout.vllm.cache_gib to 4 or less"
    least = limit - 4 * 2**30  # without any cache
    assert "cache_gib" not in memory.what_to_lower(with_cache(400), facts, least, on_gpu=False)


def test_drafts_of_the_built_in_sampler_are_counted(tmp_path: Path, values: dict[str, Any]) -> None:
    config = sized(tmp_path, values)
    facts = inspect_model(config.model.path)

    def rollout(speculative: str) -> dict[str, int]:
        found = memory.estimate(memory._with(config, "rollout", speculative=speculative), facts, on_gpu=True)
        assert found is not None
        return dict(found.rollout)

    off, auto, on = rollout("off"), rollout("auto"), rollout("on")
    assert auto.items() - off.items() == {("hidden states to draft from", 4 * 2 * 16 * 1000 * 1024)}
    [(name, drafts)] = on.items() - auto.items()
    keys, first, drawing = 16 * 1000 * 2 * 1024, 16 * 100 * (4 * 3072 + 10 * 1024), 16 * 151_936 * 24
    assert (name, drafts) == ("drafts", 4 * (keys + first) + 2 * drawing)
