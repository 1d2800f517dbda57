"""Heads alone, before a training: the configuration that `mtprl warm-heads` and the page of a new run begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from backend.inspection.models import inspect_model

EXPERIMENT = "warm-heads"
"""Where such runs stand together, unless another experiment is named."""
_STEPS = 100
_DEFAULTS: dict[str, Any] = {
    "rollout": {"prompts_per_step": 64, "samples_per_prompt": 4, "max_response_tokens": 1024},
    "update": {"mini_batches": 4},
    "optimizer": {"lr": 3e-4, "weight_decay": 0.0},
    "checkpoint": {"every": 50, "keep": 1},
}
"""What differs from a training's defaults."""


def warming_values(
    path: str, *, depths: int | None = None, loss: str = "distillation", steps: int = _STEPS
) -> dict[str, Any]:
    """A configuration without its data.

    Args:
        path: the model's folder, or its name on the hub.
        depths: MTP depths; None: all that the model carries, as far as its files here show, else 1.
        loss: `distillation` or `ce` (`trainer.config.method`, regime warm).
        steps: steps; each samples prompts and makes its updates.
    """
    if depths is None:
        heads = inspect_model(path).heads
        depths = heads.depths if heads else 1
    return {
        **_DEFAULTS,
        "name": f"warm-{_short(path)}",
        "steps": steps,
        "model": {"path": path, "mtp_depths": depths},
        "regime": {"kind": "warm", "loss": loss},
    }


def _short(path: str) -> str:
    """A name for a run, from a folder or a name on the hub."""
    return re.sub(r"[^\w.+-]+", "-", Path(path).name)[:60] or "heads"
