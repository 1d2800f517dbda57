"""Configurations to plan, and what their plans say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fake_models import SIZES, write_model

from backend import store
from backend.planning import checks as service
from backend.planning.check import Check
from trainer.config import RunConfig, parse


def lines(*configs: RunConfig, seeds: int = 1) -> dict[str, Check]:
    with store.reading() as connection:
        return {check.name: check for check in service.checks(configs, seeds, connection)}


def sized(folder: Path, values: dict[str, Any], **changes: Any) -> RunConfig:
    large = {
        **SIZES,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    }
    large |= {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936}
    path = folder / "large"
    if not path.exists():
        write_model(path, config=large)
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_prompt_tokens": 100, "max_response_tokens": 900}
    return parse({**values, "model": {"path": str(path)}, "rollout": rollout, **changes})
