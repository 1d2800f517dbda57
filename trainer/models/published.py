"""A model's tensors under the names of its checkpoint: those of the trunk, of the MTP heads, and the copies that heads may carry.

transformers keeps some tensors in another form than checkpoints do (the experts of a layer as one tensor, prefixes left out). It knows the
way back, which is taken a layer at a time, so that no second copy of the model ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, groupby
from typing import TYPE_CHECKING

from torch import Tensor, nn
from transformers.core_model_loading import revert_weight_conversion

from trainer.models.headers import TensorFacts
from trainer.models.layouts import ATTACHED, OWN

if TYPE_CHECKING:
    from trainer.models.joint import JointModel


def published_tensors(joint: JointModel) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of trunk and heads, each once, under its name in the checkpoint that was loaded, with its present values.

    Names and shapes are those of the checkpoint, dtype and device those of the model; nothing is copied where the form is the same.
    Tied weights come under the names that the checkpoint has, copies of embeddings and lm_head as well. Heads that this program attached
    come as `depths.<k>.*`. Tensors of the checkpoint that the model does not use are not among them.
    """
    left_out = _second_names(joint)
    if joint.stored is not None:
        left_out -= joint.stored.tensors.keys()
    for name, tensor in chain(trunk_tensors(joint), mtp_tensors(joint)):
        if name not in left_out:
            yield name, tensor


def trunk_tensors(joint: JointModel) -> Iterator[tuple[str, Tensor]]:
    """Those of the trunk; a tied weight under each of its names."""
    state = joint.trunk.state_dict()
    place = decoder_name(joint.trunk) + "layers."
    for _, group in groupby(state.items(), key=lambda item: _layer(item[0], place)):
        yield from revert_weight_conversion(joint.trunk, dict(group)).items()


def mtp_tensors(joint: JointModel) -> Iterator[tuple[str, Tensor]]:
    """Those of the heads, and the copies that their layout knows."""
    layout, layers = joint.layout, len(joint.trunk.get_decoder().layers)
    if layout is ATTACHED:
        yield from ((f"depths.{name}", tensor) for name, tensor in joint.mtp.state_dict().items())
        return
    shared = {
        "embeddings": joint.trunk.get_input_embeddings().weight.detach(),
        "lm_head": joint.trunk.get_output_embeddings().weight.detach(),
    }
    for k, depth in enumerate(joint.mtp):
        state, keys = depth.state_dict(), layout.keys(k, layers)
        yield from ((keys[name], state[name]) for name in OWN)
        yield from _block(joint.trunk, depth, layout.prefix(k, layers), layers + k)
        yield from ((key, shared[part]) for key, part in layout.copied(k, layers).items())


def _layer(name: str, place: str) -> str:
    """The layer that a tensor belongs to, as a text; empty outside the layers."""
    return name.removeprefix(place).split(".", 1)[0] if name.startswith(place) else ""


def decoder_name(trunk: nn.Module) -> str:
    """What the names of the decoder's tensors begin with, such as `model.`."""
    decoder = trunk.get_decoder()
    return next(f"{name}." if name else "" for name, module in trunk.named_modules() if module is decoder)


def _block(trunk: nn.Module, depth: nn.Module, prefix: str, number: int) -> Iterator[tuple[str, Tensor]]:
    """A depth's block as if it were a layer of the trunk, with the layer's prefix replaced."""
    place = f"{decoder_name(trunk)}layers.{number}."
    state = {place + name: tensor for name, tensor in depth.block.state_dict().items()}
    mark = f"layers.{number}."
    for name, tensor in revert_weight_conversion(trunk, state).items():
        yield prefix + name[name.index(mark) + len(mark) :], tensor


def tied_names(trunk: nn.Module) -> set[str]:
    """Names of parameters that are others under a second name."""
    first: dict[int, str] = {}
    parameters = trunk.named_parameters(remove_duplicate=False)
    return {name for name, parameter in parameters if first.setdefault(id(parameter), name) != name}


def unstored(joint: JointModel, has: Mapping[str, TensorFacts]) -> list[str]:
    """Tensors of the model that a checkpoint does not have under their name and in their shape; tied ones and copies apart."""
    spared = _second_names(joint)
    named = chain(trunk_tensors(joint), () if joint.layout is ATTACHED else mtp_tensors(joint))
    return [
        name
        for name, tensor in named
        if name not in spared and (name not in has or tuple(has[name].shape) != tuple(tensor.shape))
    ]


def _second_names(joint: JointModel) -> set[str]:
    """Names under which a checkpoint need not hold what it holds under another: tied weights, and copies."""
    layers = len(joint.trunk.get_decoder().layers)
    return tied_names(joint.trunk) | {key for k in range(joint.depths) for key in joint.layout.copied(k, layers)}
