"""What a model's folder says of itself, before anything of it is loaded: its configuration, the heads it carries, and what speaks against it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.models import headers
from trainer.models.headers import TensorFacts
from trainer.models.layouts import Carried, carried, text_of, trouble

# What some architectures do to logits after the lm_head (Gemma 2, Cohere, Granite, Falcon-H1), with the value that does nothing.
_AFTER_THE_HEAD = {"final_logit_softcapping": None, "logit_scale": 1, "logits_scaling": 1, "lm_head_multiplier": 1}
_NARROW_FLOATS = ("F8_", "F6_", "F4")
_BY_VOCABULARY = ("model.embed_tokens.weight", "model.language_model.embed_tokens.weight", "lm_head.weight")


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


def text_settings(path: str) -> Mapping[str, Any]:
    """What config.json says of the text model; empty where a model's files are not at hand."""
    return text_of(config_of(Path(path)) if Path(path).is_dir() else {})


def stated_positions(path: str) -> int | None:
    """Tokens that a model was made for, as config.json says; None where its files are not at hand, or do not say."""
    found = text_settings(path).get("max_position_embeddings")
    return found if isinstance(found, int) else None


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
    sizes = {**config, **text_of(config)}
    tensors = headers.tensors(folder) or {}
    return changed_logits(sizes) or _narrow(tensors) or trouble(config, tensors) or _misfit(config, sizes, tensors)


def _narrow(tensors: Mapping[str, TensorFacts]) -> str | None:
    """What is quantised although config.json does not say so."""
    for name, tensor in tensors.items():
        if tensor.dtype.startswith(_NARROW_FLOATS) or (tensor.dtype in ("I8", "U8") and len(tensor.shape) == 2):
            return (
                f"{name} is stored in {tensor.dtype}, and what is quantised cannot be trained; use a copy in bfloat16"
            )
    return None


def _misfit(config: Mapping[str, Any], sizes: Mapping[str, Any], tensors: Mapping[str, TensorFacts]) -> str | None:
    """A tensor of another size than config.json says, or layers that it counts in two ways."""
    types, layers = sizes.get("layer_types"), sizes.get("num_hidden_layers")
    if isinstance(types, list) and isinstance(layers, int) and len(types) != layers:
        return f"config.json says num_hidden_layers = {layers}, and has {len(types)} layer_types; fetch the model again"
    hidden, vocabulary = sizes.get("hidden_size"), sizes.get("vocab_size")
    if not isinstance(hidden, int) or not isinstance(vocabulary, int):
        return None
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(_BY_VOCABULARY, (vocabulary, hidden))
    if found := carried(config, tensors):
        for depth in range(found.depths):
            keys = found.layout.keys(depth, found.layers)
            wanted |= {key: (hidden, 2 * hidden) if "proj" in own else (hidden,) for own, key in keys.items()}
    for name, shape in wanted.items():
        if name in tensors and tensors[name].shape != shape:
            return (
                f"{name} is {tensors[name].shape}, and {shape} by config.json (hidden_size = {hidden}, vocab_size = {vocabulary}); "
                "fetch the model again, or correct config.json"
            )
    return None


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
