"""Loading and saving a model with its MTP heads.

A folder holds what transformers saves, and beside it `mtp.safetensors` with the heads (`depths.0.eh_proj.weight`, ...) and
`mtp_config.json` with their number: the trunk stays loadable by anything that reads Hugging Face models.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

from trainer.errors import ModelError
from trainer.models.joint import JointModel
from trainer.models.mtp import MtpDepth

hf_logging.disable_progress_bar()  # a tensor count is no progress worth showing, and it garbles the log

HEADS_FILE = "mtp.safetensors"
HEADS_CONFIG = "mtp_config.json"

# Configuration keys by which published checkpoints say that they carry heads of their own.
_FOREIGN_HEADS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")


def load_joint(path: str, depths: int, *, seed: int = 0) -> JointModel:
    """Load a causal LM in float32 and its MTP heads; a model without heads gets new ones, started from its last block.

    Args:
        path: folder, or name on the Hugging Face hub.
        depths: MTP depths to use (K).
        seed: of the small random part of new heads.

    Raises:
        ModelError: nothing loadable is there, or the heads that are there do not fit.
    """
    trunk = load_trunk(path)
    decoder = trunk.get_decoder()
    missing = [part for part in ("layers", "norm", "rotary_emb") if not hasattr(decoder, part)]
    if missing:
        raise ModelError(
            f"model.path: {path} ({type(trunk).__name__}) has no {' and no '.join(missing)} in its decoder; "
            "use a decoder with rotary embeddings, such as Qwen3 or Llama"
        )
    foreign = [key for key in _FOREIGN_HEADS if getattr(trunk.config, key, 0)]
    if foreign:
        raise ModelError(
            f"model.path: {path} carries MTP heads of its own ({foreign[0]}), in a layout that cannot be read yet; "
            "new heads would silently take their place. Use a model without heads"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        heads = [MtpDepth(decoder) for _ in range(depths)]
    joint = JointModel(trunk, heads)
    stored = _stored_depths(path)
    if stored:
        if depths > stored:
            raise ModelError(f"model.mtp_depths: {depths} asked for, but {path} has {stored}; use at most {stored}")
        _load_heads(joint, Path(path) / HEADS_FILE)
    return joint


def load_trunk(path: str) -> PreTrainedModel:
    """Load a causal LM in float32, without MTP heads.

    Raises:
        ModelError: nothing loadable is there.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model.path: {path} cannot be loaded as a causal language model: {reason}") from error


def has_heads(path: str) -> bool:
    """Whether the folder holds MTP heads that `load_joint` would read."""
    return _stored_depths(path) > 0


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        ModelError: there is none, or it has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model.path: no tokenizer can be loaded from {path}: {reason}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"model.path: the tokenizer of {path} has no end-of-sequence token; set eos_token in it")
    return tokenizer


def save_joint(joint: JointModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model, heads and tokenizer into `folder`, in the form that `load_joint` reads."""
    joint.trunk.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    heads = {f"depths.{name}": tensor.contiguous() for name, tensor in joint.mtp.state_dict().items()}
    save_file(heads, folder / HEADS_FILE)
    (folder / HEADS_CONFIG).write_text(json.dumps({"layout": "attached", "depths": joint.depths}) + "\n")


def _stored_depths(path: str) -> int:
    config = Path(path) / HEADS_CONFIG
    if not config.is_file():
        return 0
    try:
        return int(json.loads(config.read_text())["depths"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f'{config}: holds no number of depths ({error}); expected {{"depths": 1}}, for example'
        ) from error


def _load_heads(joint: JointModel, file: Path) -> None:
    try:
        tensors = {name.removeprefix("depths."): tensor for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: the MTP heads cannot be read ({error}); copy the file anew") from error
    wanted = joint.mtp.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ModelError(f"{file}: the tensor depths.{name} is missing")
        if tensors[name].shape != tensor.shape:
            raise ModelError(
                f"{file}: depths.{name} is {tuple(tensors[name].shape)}, the model needs {tuple(tensor.shape)}"
            )
    joint.mtp.load_state_dict({name: tensors[name] for name in wanted})
