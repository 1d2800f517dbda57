"""Sizes of the models that presets name, as their authors published them: for a plan where a model's files are not on this machine."""

from __future__ import annotations

from dataclasses import replace

from backend.inspection.models import ModelFacts, Shape

PUBLISHED = {
    "Qwen/Qwen3-0.6B": Shape(1024, 3072, 28, 16, 8, 128, 151_936, tied=True),
    "XiaomiMiMo/MiMo-7B-RL": Shape(4096, 11_008, 36, 32, 8, 128, 151_680, tied=False),
    "zai-org/GLM-4.5-Air": Shape(4096, 1408, 46, 96, 8, 128, 151_552, tied=False, experts=128, active_experts=8),
}
"""By name on the hub."""


def with_published_sizes(model: ModelFacts) -> ModelFacts | None:
    """The model with its published sizes, where its files are not here and they are known; else None."""
    shape = PUBLISHED.get(model.path) if model.folder is None else None
    return None if shape is None else replace(model, shape=shape)
