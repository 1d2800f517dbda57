"""What a model's folder says of itself, before anything of it is loaded: its configuration, the heads it carries, and what speaks against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.models import headers
from trainer.models.layouts import Carried, carried, trouble

# What some architectures do to logits after the lm_head (Gemma 2, Cohere, Granite, Falcon-H1), with the value that does nothing.
_AFTER_THE_HEAD = {"final_logit_softcapping": None, "logit_scale": 1, "logits_scaling": 1, "lm_head_multiplier": 1}


def json_of(file: Path) -> dict[str, Any]:
    """A file of settings; empty where it cannot be read."""
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def config_of(folder: Path) -> dict[str, Any]:
    """config.json; empty where it cannot be read."""
    return json_of(folder / "config.json")


def carried_by(folder: Path) -> Carried | None:
    """The heads in a published layout that a folder carries; None where it carries none that can be read."""
    return carried(config_of(folder), headers.tensors(folder) or {})


def why_not_trained(folder: Path) -> str | None:
    """Why a model cannot be trained, in words with the fix; None where nothing speaks against it."""
    config = config_of(folder)
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else quantised
        return f"it is quantised ({method}), and what is quantised cannot be trained; use a copy in bfloat16"
    text = config.get("text_config")
    return changed_logits({**config, **(text if isinstance(text, dict) else {})}) or trouble(
        config, headers.tensors(folder) or {}
    )


def changed_logits(config: Mapping[str, Any]) -> str | None:
    """Why log-probs would not be the model's own: sampler and trainer take log softmax of hidden states x lm_head; None where those are its logits.

    Args:
        config: what config.json, or the loaded configuration, says of the text model.
    """
    for key, idle in _AFTER_THE_HEAD.items():
        value = config.get(key)
        if value is not None and value != idle:
            return f"it changes its logits after the lm_head ({key} = {value}), which is not done here, so that every log-prob would be wrong; use a model that does not"
    return None
