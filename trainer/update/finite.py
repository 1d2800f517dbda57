"""Names the tensor that is not finite, or that a gradient should reach and does not.

Numbers that are at hand anyway (losses, gradient norms) tell whether something is not finite; only then is it looked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from trainer.errors import NotFiniteError, TrainingError
from trainer.launch.sharding import local, whole
from trainer.models.joint import JointModel, Predictions
from trainer.update.losses import LossParts

Named = tuple[str, Tensor]


def check_losses(measured: Iterable[float], joint: JointModel, predictions: Predictions, parts: LossParts) -> None:
    """Pass over a (micro-)batch all of whose measured numbers are finite; else look through parameters, log-probs and losses.

    Raises:
        NotFiniteError: naming the first of them that is not finite, in the order in which they are computed.
    """
    if not all(map(math.isfinite, measured)):
        _refuse(_named_parameters(joint))
        _refuse(_log_probs(predictions))
        _refuse([("policy loss", parts.policy), ("MTP loss of the trunk", parts.regime)])
        _refuse([("MTP loss of the heads", parts.heads)])


def check_gradients(norm: float, joint: JointModel) -> None:
    """Pass where the norm of (some of) the model's gradients is finite, before they are clipped by it.

    Raises:
        NotFiniteError: naming the first gradient that is not finite in the order of the backward pass: in layers before that
            one (nearer to the input) everything is then spoilt, too.
    """
    if not math.isfinite(norm):
        backwards = reversed(list(joint.named_parameters()))
        _refuse((f"gradient of {name}", whole(tensor.grad)) for name, tensor in backwards if tensor.grad is not None)
        raise NotFiniteError("norm of the gradients", _kind(torch.tensor(norm)))


def check_trained(joint: JointModel) -> None:
    """Pass where every parameter that should train has a gradient, be it 0.

    Raises:
        TrainingError: naming the first that has none: the optimiser would leave it as it is, and say nothing.
    """
    without = [name for name, tensor in joint.named_parameters() if tensor.requires_grad and tensor.grad is None]
    if without:
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        raise TrainingError(
            f"no gradient reaches the parameter {without[0]}{more}, so that it would stay as it is and nothing would say so; set "
            "model.gradient_checkpointing to false if it is on, else use another model: this one leaves parameters out of its forward pass"
        )


def check_parameters(joint: JointModel) -> None:
    """Pass where every parameter is finite.

    Raises:
        NotFiniteError: naming the first that is not.
    """
    if not torch.stack([local(parameter).isfinite().all() for parameter in joint.parameters()]).all():
        _refuse(_named_parameters(joint))


def _named_parameters(joint: JointModel) -> Iterator[Named]:
    return ((f"parameter {name}", local(tensor)) for name, tensor in joint.named_parameters())


def _log_probs(predictions: Predictions) -> Iterator[Named]:
    yield "log-probs of the main head", predictions.log_probs
    for depth, log_probs in enumerate(predictions.mtp, start=1):
        yield f"log-probs of MTP depth {depth}", log_probs


def _refuse(tensors: Iterable[Named]) -> None:
    for name, tensor in tensors:
        if not tensor.isfinite().all():
            raise NotFiniteError(name, _kind(tensor))


def _kind(tensor: Tensor) -> str:
    return "NaN" if tensor.isnan().any() else "infinite"
