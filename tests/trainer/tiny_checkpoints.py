"""Small random checkpoints in the published layouts, written by transformers and by hand, without the code that reads them.

The blocks of the MTP heads are made as further layers of the trunk, the names of which are then changed to the published ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    DeepseekV3Config,
    DeepseekV3ForCausalLM,
    Glm4MoeConfig,
    Glm4MoeForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3_5ForCausalLM,
    Qwen3_5TextConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from trainer.models.demo_base import character_tokenizer

LAYERS, HIDDEN = 2, 16
_Made = tuple[PreTrainedModel, dict, dict]
LAYOUTS = ("mimo", "deepseek_v3", "glm4_moe", "qwen3_next", "qwen3_5", "qwen3_5_vision")
"""Published layouts with MTP heads."""

_COMMON = {
    "hidden_size": HIDDEN,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": None,
}
_EXPERTS = {"moe_intermediate_size": 8, "num_experts_per_tok": 2}
_LATENT = {
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": 4,
}
_ROUTED = {"n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_DEPTH_OF_61 = {
    "model.layers.{layer}.enorm.weight": (HIDDEN,),
    "model.layers.{layer}.hnorm.weight": (HIDDEN,),
    "model.layers.{layer}.eh_proj.weight": (HIDDEN, 2 * HIDDEN),
    "model.layers.{layer}.shared_head.norm.weight": (HIDDEN,),
}
_DEPTH_OF_MIMO = {
    "model.mtp_layers.{depth}.token_layernorm.weight": (HIDDEN,),
    "model.mtp_layers.{depth}.hidden_layernorm.weight": (HIDDEN,),
    "model.mtp_layers.{depth}.input_proj.weight": (HIDDEN, 2 * HIDDEN),
    "model.mtp_layers.{depth}.final_layernorm.weight": (HIDDEN,),
}
_DEPTH_OF_QWEN = {
    "mtp.fc.weight": (HIDDEN, 2 * HIDDEN),
    "mtp.pre_fc_norm_embedding.weight": (HIDDEN,),
    "mtp.pre_fc_norm_hidden.weight": (HIDDEN,),
    "mtp.norm.weight": (HIDDEN,),
}


def write_tiny(
    layout: str,
    folder: Path,
    *,
    depths: int = 1,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    tied: bool = False,
    copies: bool = True,
    seed: int = 0,
    width: int = HIDDEN,
) -> Path:
    """Write a checkpoint of 2 layers; its folder.

    Args:
        layout: one of LAYOUTS, or qwen3 for a decoder without MTP.
        folder: is made.
        depths: MTP depths.
        dtype: of its tensors; the bias of the routers stays in float32, as it is published.
        shards: files of weights.
        tied: whether lm_head is the embeddings, and not stored.
        copies: whether the heads of DeepSeek-V3 and GLM-4.5 carry copies of both.
        seed: of all weights.
        width: of its hidden states, in two heads; what engines can compute with is wider than what tests need.
    """
    model, published, own = long_model(layout, depths=depths, tied=tied, seed=seed, width=width)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    tensors = {_published_name(layout, name): tensor for name, tensor in tensors.items()}
    for depth in range(depths):
        names = {
            key.format(depth=depth, layer=LAYERS + depth): tuple(side * width // HIDDEN for side in shape)
            for key, shape in own.items()
        }
        tensors |= {name: 0.3 * torch.randn(shape) + (len(shape) == 1) for name, shape in names.items()}
        if own is _DEPTH_OF_61 and copies:
            place = f"model.layers.{LAYERS + depth}."
            tensors[place + "embed_tokens.weight"] = tensors["model.embed_tokens.weight"].clone()
            tensors[place + "shared_head.head.weight"] = tensors["lm_head.weight"].clone()
    if layout == "qwen3_5_vision":  # a part that no run uses
        tensors["model.visual.patch_embed.proj.weight"] = torch.randn(8, 12)
    kept = {name: tensor if "e_score" in name else tensor.to(dtype) for name, tensor in tensors.items()}
    _write_shards(folder, kept, shards)
    values = json.loads((folder / "config.json").read_text()) | published | {"dtype": str(dtype).removeprefix("torch.")}
    if layout == "qwen3_5_vision":
        values = {"model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"], "text_config": values}
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n")
    tokenizer = character_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    (folder / "LICENSE").write_text("may be used for tests\n")
    return folder


def long_model(layout: str, *, depths: int = 1, tied: bool = False, seed: int = 0, width: int = HIDDEN) -> _Made:
    """The trunk with the blocks of the heads as further layers; what config.json says otherwise; the depths' own tensors."""
    torch.manual_seed(seed)
    model, published, own = _MAKERS[layout](depths, tied, width)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not (tied and name == "lm_head.weight"):
            tensor.add_(0.2 * torch.randn_like(tensor))
    return model.eval(), published, own


def _write_shards(folder: Path, tensors: dict[str, torch.Tensor], count: int) -> None:
    names = sorted(tensors)
    if count == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    files = {
        name: f"model-{place * count // len(names) + 1:05}-of-{count:05}.safetensors"
        for place, name in enumerate(names)
    }
    for file in set(files.values()):
        part = {name: tensors[name] for name in names if files[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _published_name(layout: str, name: str) -> str:
    behind = re.match(r"model\.layers\.(\d+)\.(.*)", name)
    if behind and int(behind[1]) >= LAYERS:
        place = {
            "mimo": "model.mtp_layers.",
            "qwen3_next": "mtp.layers.",
            "qwen3_5": "mtp.layers.",
            "qwen3_5_vision": "mtp.layers.",
        }
        if layout in place:
            return f"{place[layout]}{int(behind[1]) - LAYERS}.{behind[2]}"
    if layout == "qwen3_5_vision" and name.startswith("model."):
        return "model.language_model." + name.removeprefix("model.")
    return name


def _build(
    kind: type[PreTrainedModel], config: type[PreTrainedConfig], depths: int, tied: bool, width: int, **settings
) -> PreTrainedModel:
    vocabulary = len(character_tokenizer())
    sizes = {"hidden_size": width, "head_dim": width // 2}
    values = {
        **_COMMON,
        **sizes,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "num_hidden_layers": LAYERS + depths,
    }
    return kind(config(**{**values, **settings}))


def _mimo(depths: int, tied: bool, width: int) -> _Made:
    model = _build(Qwen2ForCausalLM, Qwen2Config, depths, tied, width)
    published = {
        "architectures": ["MiMoForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_mimo.MiMoConfig",
            "AutoModelForCausalLM": "modeling_mimo.MiMoForCausalLM",
        },
        "model_type": "mimo",
        "attention_bias": True,
        "num_hidden_layers": LAYERS,
        "num_nextn_predict_layers": depths,
        "layer_types": ["full_attention"] * LAYERS,
    }
    return model, published, _DEPTH_OF_MIMO


def _deepseek_v3(depths: int, tied: bool, width: int) -> _Made:
    settings = {**_EXPERTS, **_ROUTED, **_LATENT, "num_key_value_heads": 2}
    model = _build(DeepseekV3ForCausalLM, DeepseekV3Config, depths, tied, width, **settings)
    return model, {"num_hidden_layers": LAYERS, "num_nextn_predict_layers": depths}, _DEPTH_OF_61


def _glm4_moe(depths: int, tied: bool, width: int) -> _Made:
    model = _build(Glm4MoeForCausalLM, Glm4MoeConfig, depths, tied, width, **_EXPERTS, **_ROUTED, use_qk_norm=True)
    return model, {"num_hidden_layers": LAYERS, "num_nextn_predict_layers": depths}, _DEPTH_OF_61


def _qwen3_next(depths: int, tied: bool, width: int) -> _Made:
    types = ["linear_attention", "full_attention"]
    settings = {**_EXPERTS, **_LINEAR, "num_experts": 4, "shared_expert_intermediate_size": 8}
    settings["layer_types"] = types + ["full_attention"] * depths
    model = _build(Qwen3NextForCausalLM, Qwen3NextConfig, depths, tied, width, **settings)
    return model, {"num_hidden_layers": LAYERS, "layer_types": types}, _DEPTH_OF_QWEN


def _qwen3_5(depths: int, tied: bool, width: int) -> _Made:
    types = ["linear_attention", "full_attention"]
    settings = {**_LINEAR, "layer_types": types + ["full_attention"] * depths}
    model = _build(Qwen3_5ForCausalLM, Qwen3_5TextConfig, depths, tied, width, **settings)
    published = {"num_hidden_layers": LAYERS, "layer_types": types, "mtp_num_hidden_layers": depths}
    return model, published, _DEPTH_OF_QWEN


def _qwen3(depths: int, tied: bool, width: int) -> _Made:
    return _build(Qwen3ForCausalLM, Qwen3Config, 0, tied, width), {}, {}


_MAKERS: dict[str, Callable[[int, bool, int], _Made]] = {
    "mimo": _mimo,
    "deepseek_v3": _deepseek_v3,
    "glm4_moe": _glm4_moe,
    "qwen3_next": _qwen3_next,
    "qwen3_5": _qwen3_5,
    "qwen3_5_vision": _qwen3_5,
    "qwen3": _qwen3,
}


def write_drafting(layout: str, folder: Path, *, head: str = "right") -> Path:
    """Write a checkpoint of one depth that predicts each token from the one before it alone, with a head that knows as much; its folder.

    Attention and feed-forward parts add nothing, so that the main head reads the last token's embedding, and the MTP head that of the token
    which is joined to its hidden state.

    Args:
        layout: one of LAYOUTS.
        folder: is made.
        head: `right`; `exchanged`: the halves of its projection stand in the other order; `random`: its tensors were never trained.
    """
    write_tiny(layout, folder, copies=False)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in tensors:
        if re.search(r"\.(o_proj|out_proj|down_proj)\.", name):
            tensors[name] = torch.zeros_like(tensors[name])
    tensors["lm_head.weight"] = 1.5 * torch.randn_like(tensors["lm_head.weight"])
    own = [key.format(depth=0, layer=LAYERS) for key in _MAKERS[layout](1, False, HIDDEN)[2]]
    if head == "random":
        tensors |= {name: torch.randn_like(tensors[name]) for name in own}
    else:
        flat, whole = torch.eye(HIDDEN), torch.zeros(HIDDEN, HIDDEN)
        embedding_first = (layout != "mimo") == (head == "right")
        norms = [name for name in own if tensors[name].dim() == 1]
        projection = next(name for name in own if tensors[name].dim() == 2)
        tensors |= {name: torch.full_like(tensors[name], 0.0 if "mtp." in name else 1.0) for name in norms}
        tensors[projection] = torch.cat([flat, whole] if embedding_first else [whole, flat], dim=1)
        final = next(name for name in norms if re.search(r"final_layernorm|shared_head\.norm|mtp\.norm", name))
        prefix = "model.language_model." if layout == "qwen3_5_vision" else "model."
        tensors[final] = tensors[prefix + "norm.weight"].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    return folder
