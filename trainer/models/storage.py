"""Loading and saving a model with its MTP heads.

A checkpoint in a published layout (trainer.models.layouts) is read with the heads that it carries and is written again name for name. A
model without heads gets new ones; they are saved beside it, in `mtp.safetensors` (`depths.0.eh_proj.weight`, ...) and `mtp_config.json`, and
the model stays loadable by anything that reads Hugging Face models.

transformers drops the heads of published layouts. Here their blocks are loaded as if they were further layers of the trunk, which they are
in all but name, and then taken off it: what transformers does to a layer's tensors on the way is done to them as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download, split_torch_state_dict_into_shards
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as hf_logging

import trainer.models.mimo  # noqa: F401  registers MiMo with the Auto classes
from trainer.errors import ModelError
from trainer.models.headers import HEADS_CONFIG, HEADS_FILE
from trainer.models.joint import JointModel
from trainer.models.layouts import ATTACHED, Carried
from trainer.models.mtp import MtpDepth
from trainer.models.published import mtp_tensors, published_tensors, unstored
from trainer.models.readable import carried_by, changed_logits, json_of, why_not_trained
from trainer.models.stored import Stored, look_at, write, write_index

__all__ = [
    "HEADS_FILE",
    "load_joint",
    "load_tokenizer",
    "load_trunk",
    "positions_of",
    "published_tensors",
    "save_joint",
    "stored_depths",
]

hf_logging.disable_progress_bar()  # a tensor count is no progress worth showing, and it garbles the log

# What a model consists of on the hub; other forms of its weights stay there.
_FETCHED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "LICENSE*")

# What transformers raises on damaged or strange folders.
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
)


def load_joint(path: str, depths: int, *, seed: int = 0) -> JointModel:
    """Load a causal LM in float32 and its MTP heads; a model without heads gets new ones, started from its last block.

    Args:
        path: folder, or name on the Hugging Face hub.
        depths: MTP depths to use (K).
        seed: of the small random part of new heads.

    Raises:
        ModelError: nothing loadable is there, or the heads that are there do not fit.
    """
    folder = _folder(path)
    if wrong := why_not_trained(folder):
        raise ModelError(f"model.path: {path}: {wrong}")
    stored, found = look_at(folder), carried_by(folder)
    count = found.depths if found else _attached_depths(folder)
    if count and depths > count:
        raise ModelError(f"model.mtp_depths: {depths} asked for, but {path} has {count}; use at most {count}")
    trunk = _load(path, folder, found, depths if found else 0)
    _check_decoder(path, trunk)
    if found is not None and stored is not None:
        joint = _with_published(trunk, path, stored, found)
    else:
        joint = _with_attached(trunk, stored, depths, seed)
        if count:
            _load_heads(joint, folder / HEADS_FILE)
    if stored is not None and (strange := unstored(joint, stored.tensors)):
        raise ModelError(
            f"model.path: {path} holds tensors in a form that could not be written again ({strange[0]}); "
            "save it with the installed transformers and use that copy"
        )
    return joint


def load_trunk(path: str) -> PreTrainedModel:
    """Load a causal LM in float32, without MTP heads.

    Raises:
        ModelError: nothing loadable is there.
    """
    return _load(path, _folder(path), None, 0)


def positions_of(path: str) -> int | None:
    """How many tokens a model was made for; None where it does not say.

    Raises:
        ModelError: nothing loadable is there.
    """
    try:
        config = AutoConfig.from_pretrained(path)
    except _UNREADABLE as error:
        raise ModelError(_not_loadable(path, error)) from error
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def stored_depths(path: str) -> int:
    """How many MTP depths a model has that `load_joint` would read; 0: none, so that it gets new ones.

    Raises:
        ModelError: nothing is there, or what says how many is damaged.
    """
    folder = _folder(path)
    found = carried_by(folder)
    return found.depths if found else _attached_depths(folder)


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The model's tokenizer.

    Raises:
        ModelError: there is none, or it has no end-of-sequence token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"model.path: no tokenizer can be loaded from {path}: {reason}") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"model.path: the tokenizer of {path} has no end-of-sequence token; set eos_token in it")
    return tokenizer


def save_joint(
    joint: JointModel, tokenizer: PreTrainedTokenizerBase, folder: Path, *, full_precision: bool = False
) -> None:
    """Write model, heads and tokenizer into `folder`, in the form that `load_joint` reads and in the layout that was loaded.

    Every tensor of the checkpoint that was loaded is written under its name, in its file and in its dtype; so are those that the model does
    not use (further depths, a vision part), and the files beside the weights. A model that was loaded from no folder is written as transformers
    does it.

    Args:
        joint: the model with its heads.
        tokenizer: saved where the model was loaded from no folder.
        folder: another one than that which the model was loaded from.
        full_precision: as the parameters are, so that training can go on from it, whatever the dtypes of the checkpoint.

    Raises:
        ModelError: it is the folder that the model was loaded from, or what must be copied from there is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = joint.stored
    if stored is None:
        _save_new(joint, folder)
        tokenizer.save_pretrained(folder)
    elif stored.folder.resolve() == folder.resolve():
        raise ModelError(f"{folder}: the model was loaded from there; save it into another folder")
    else:
        own = ((name, tensor) for name, tensor in published_tensors(joint) if name in stored.tensors)
        write(stored, own, folder, full_precision=full_precision, indexed=joint.layout is ATTACHED)
    if joint.layout is ATTACHED:
        # Beside an index, which does not name it: programs that read every file of weights would stumble over it.
        heads = {name: tensor.to("cpu").contiguous() for name, tensor in mtp_tensors(joint)}
        save_file(heads, folder / HEADS_FILE)
        (folder / HEADS_CONFIG).write_text(json.dumps({"layout": "attached", "depths": joint.depths}) + "\n")


def _save_new(joint: JointModel, folder: Path) -> None:
    """Weights and configuration of a model that was loaded from no folder."""
    named = {
        name: tensor.to("cpu").contiguous()
        for name, tensor in published_tensors(joint)
        if not (joint.layout is ATTACHED and name.startswith("depths."))
    }
    split = split_torch_state_dict_into_shards(named, filename_pattern="model{suffix}.safetensors")
    for file, names in split.filename_to_tensors.items():
        save_file({name: named[name] for name in names}, folder / file, metadata={"format": "pt"})
    if split.is_sharded or joint.layout is ATTACHED:
        write_index(folder, split.tensor_to_filename, split.metadata["total_size"])
    joint.trunk.config.save_pretrained(folder)
    if joint.trunk.generation_config is not None:
        joint.trunk.generation_config.save_pretrained(folder)


def _folder(path: str) -> Path:
    """Where a model's files are on this machine, fetched from the hub where they are not."""
    if Path(path).is_dir():
        return Path(path)
    try:
        return Path(snapshot_download(path, allow_patterns=list(_FETCHED), ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise ModelError(_not_loadable(path, error)) from error


def _check_decoder(path: str, trunk: PreTrainedModel) -> None:
    absent = [part for part in ("layers", "norm", "rotary_emb") if not hasattr(trunk.get_decoder(), part)]
    if absent:
        raise ModelError(
            f"model.path: {path} ({type(trunk).__name__}) has no {' and no '.join(absent)} in its decoder; "
            "use a decoder with rotary embeddings, such as Qwen3 or Llama"
        )


def _with_published(trunk: PreTrainedModel, path: str, stored: Stored, found: Carried) -> JointModel:
    """Take the blocks of the heads off the trunk, where they were loaded, and make depths of them."""
    decoder = trunk.get_decoder()
    blocks = list(decoder.layers[found.layers :])
    del decoder.layers[found.layers :]
    heads = [MtpDepth(decoder, found.layout, block) for block in blocks]
    for k, head in enumerate(heads):
        keys = found.layout.keys(k, found.layers)
        own = stored.read(keys.values())
        _fill(head, {name: own[key] for name, key in keys.items()}, f"{path}: ", keys)
    return JointModel(trunk, heads, found.layout, stored)


def _with_attached(trunk: PreTrainedModel, stored: Stored | None, depths: int, seed: int) -> JointModel:
    """New heads, started from the trunk's last block."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        heads = [MtpDepth(trunk.get_decoder()) for _ in range(depths)]
    return JointModel(trunk, heads, ATTACHED, stored)


def _load(path: str, folder: Path, found: Carried | None, depths: int) -> PreTrainedModel:
    """A causal LM in float32, with the blocks of its first MTP depths as further layers."""
    try:
        config = AutoConfig.from_pretrained(folder)
        mapping = _lengthen(config, found, depths) if found else None
        with _quietly():  # what it takes for superfluous is read here; what is missing is said below
            trunk, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                key_mapping=mapping,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
    except _UNREADABLE as error:
        raise ModelError(_not_loadable(path, error)) from error
    if report["mismatched_keys"]:
        name, stored, needed = min(report["mismatched_keys"])
        raise ModelError(
            f"model.path: {path}: {_stored_name(name, found)} is {tuple(stored)}, and the model that config.json describes needs {tuple(needed)}; "
            "fetch the model again, or correct config.json"
        )
    # Also where config.json leaves out what is the architecture's default.
    if wrong := changed_logits(trunk.config.get_text_config().to_dict()):
        raise ModelError(f"model.path: {path}: {wrong}")
    if getattr(trunk.get_output_embeddings(), "bias", None) is not None:
        raise ModelError(
            f"model.path: {path} has a bias in its lm_head, which is left out here; use a model without one"
        )
    if missing := sorted(report["missing_keys"]):
        shown = ", ".join(_stored_name(name, found) for name in missing[:5])
        raise ModelError(f"model.path: {path} lacks tensors ({len(missing)}): {shown}; fetch or make the model again")
    if found:
        for one in (config, trunk.config, trunk.get_decoder().config):
            _shorten(one.get_text_config(), found.layers)
        # The way back is taken by trainer.models.published, which knows the blocks as heads.
        trunk._weight_conversions = [
            step for step in trunk._weight_conversions if not set(step.source_patterns) & set(mapping or ())
        ]
    return trunk


@contextmanager
def _quietly() -> Iterator[None]:
    """Without warnings of transformers."""
    before = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(before)


def _lengthen(config: Any, found: Carried, depths: int) -> dict[str, str]:
    """Have a configuration count the depths as layers; how the names of their blocks must be read then."""
    text = config.get_text_config()
    text.num_hidden_layers = found.layers + depths
    if getattr(text, "layer_types", None):
        text.layer_types = [*text.layer_types, *["full_attention"] * depths]
    prefixes = {found.layout.prefix(k, found.layers): f"model.layers.{found.layers + k}." for k in range(depths)}
    return {"^" + old.replace(".", r"\."): new for old, new in prefixes.items() if old != new}


def _stored_name(name: str, found: Carried | None) -> str:
    """What a tensor that was loaded as one of a further layer is called in the checkpoint."""
    if found:
        for k in range(found.depths):
            name = name.replace(f"model.layers.{found.layers + k}.", found.layout.prefix(k, found.layers))
    return name


def _shorten(text: Any, layers: int) -> None:
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]


def _not_loadable(path: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return f"model.path: {path} cannot be loaded as a causal language model: {reason}"


def _attached_depths(folder: Path) -> int:
    config = folder / HEADS_CONFIG
    if not config.is_file():
        return 0
    depths = json_of(config).get("depths")
    if type(depths) is not int or depths < 0:
        raise ModelError(f'{config}: holds no number of depths; expected {{"depths": 1}}, for example')
    return depths


def _load_heads(joint: JointModel, file: Path) -> None:
    try:
        tensors = {name.removeprefix("depths."): tensor for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: the MTP heads cannot be read ({error}); copy the file anew") from error
    _fill(joint.mtp, tensors, f"{file}: ", {name: f"depths.{name}" for name in joint.mtp.state_dict()})


def _fill(module: nn.Module, tensors: Mapping[str, torch.Tensor], where: str, keys: Mapping[str, str]) -> None:
    """Put stored tensors into a module's parameters of the names in `keys`, which say what they are called in the file."""
    wanted = module.state_dict()
    for name, key in keys.items():
        if name not in tensors:
            raise ModelError(f"{where}the tensor {key} is missing")
        if tensors[name].shape != wanted[name].shape:
            raise ModelError(
                f"{where}{key} is {tuple(tensors[name].shape)}, the model needs {tuple(wanted[name].shape)}"
            )
    module.load_state_dict({name: tensors[name] for name in keys}, strict=False)
