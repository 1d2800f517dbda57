"""Folders that look like models: headers of safetensors files and JSON, with no numbers behind them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SIZES = {
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}
TRUNK = {
    "model.embed_tokens.weight": (100, 8),
    "lm_head.weight": (100, 8),
    "model.norm.weight": (8,),
    **{f"model.layers.{layer}.mlp.up_proj.weight": (16, 8) for layer in range(2)},
}


def write_model(
    folder: Path,
    tensors: Mapping[str, tuple[int, ...]] = TRUNK,
    config: Mapping[str, Any] = SIZES,
    heads: int = 0,
    dtype: str = "BF16",
) -> Path:
    """Make one; with `heads` depths as this program saves them."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer", "chat_template": "{{x}}"}')
    (folder / "tokenizer.json").write_text("{}")
    _write(folder / "model.safetensors", tensors, dtype)
    if heads:
        _write(folder / "mtp.safetensors", {f"depths.{depth}.eh_proj.weight": (8, 16) for depth in range(heads)}, "F32")
        (folder / "mtp_config.json").write_text(json.dumps({"layout": "attached", "depths": heads}))
    return folder


def _write(file: Path, tensors: Mapping[str, tuple[int, ...]], dtype: str) -> None:
    header = {name: {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]} for name, shape in tensors.items()}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)
