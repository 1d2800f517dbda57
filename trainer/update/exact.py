"""Exact gradients over the parameters that policy and MTP losses share: what c_hat and v2_hat stand for.

    c = <g_RL, g_MTP>        v2 = ||g_MTP||^2        (arXiv 2605.28184, section 3; docs/method.md)

Shared are trunk, embeddings and lm_head; the heads' own parameters receive no policy gradient and take no part. Each gradient is a
flat vector as long as the trunk has parameters, in its own memory: nothing stays in any parameter's `.grad`, which must be empty before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from trainer.launch.sharding import local
from trainer.launch.world import World
from trainer.models.joint import JointModel, Predictions
from trainer.objectives.coefficient import Sums
from trainer.update.minibatch import MiniBatch

_AT_ONCE = 2**26
"""Numbers that are copied into float64 at once."""

Terms = Callable[[MiniBatch, Predictions], Sequence[Tensor]]
"""Scalars with gradient: a (micro-)batch's shares of several losses."""


def shared_gradients(
    model: nn.Module, joint: JointModel, pieces: Iterable[MiniBatch], temperature: float, terms: Terms, world: World
) -> list[Tensor]:
    """The gradient of each term, summed over the pieces of all processes.

    Args:
        model: the joint model as it is called in training.
        joint: the same model, unwrapped.
        pieces: this process's micro-batches of one mini-batch, or of a part of it.
        temperature: what the logits are divided by.
        terms: the losses, given a piece and the model's predictions for it (reach "trunk").
        world: the processes that the pieces are divided among.

    Returns:
        One [P] vector per term; P counts the shared parameters, or this process's part of them where they are divided.
    """
    shared = [parameter for parameter in joint.trunk.parameters() if parameter.requires_grad]
    gradients_of = _divided if world.is_sharded else _whole
    totals: list[Tensor] = []
    for piece in pieces:
        values = terms(piece, model(piece.sequences, temperature, ("trunk",)))
        for index, value in enumerate(values):
            gradient = gradients_of(value, shared, index + 1 < len(values))
            if index < len(totals):
                totals[index] += gradient
            else:
                totals.append(gradient)
    if world.is_sharded:  # summed already, in the backward pass
        return totals
    count = max(world.gather(len(totals)))
    if not totals:  # another process has all the pieces
        nothing = _flat([None] * len(shared), shared)
        totals = [nothing.clone() for _ in range(count)]
    world.add_up(totals)
    return totals


def dot(first: Tensor, second: Tensor) -> float:
    """Inner product in float64: the terms of a sum over millions of parameters nearly cancel."""
    parts = zip(first.split(_AT_ONCE), second.split(_AT_ONCE), strict=True)
    return sum(float(torch.dot(mine.double(), theirs.double())) for mine, theirs in parts)


Dot = Callable[[Tensor, Tensor], float]
"""As `dot`, of vectors that may be divided among processes."""


def dot_in(world: World) -> Dot:
    """The inner product of what `shared_gradients` gives in this world."""
    return lambda first, second: world.over_shards(dot(first, second))


def exact_sums(rl: Tensor, mtp: Tensor, product: Dot = dot) -> Sums:
    """c and v2 of one depth, in the place of c_hat and v2_hat; there are no tokens behind them."""
    nothing = torch.zeros((), dtype=torch.float64)
    c, v2 = (torch.tensor(value, dtype=torch.float64) for value in (product(rl, mtp), product(mtp, mtp)))
    return Sums(c, v2, nothing, nothing)


def _whole(value: Tensor, shared: list[nn.Parameter], keep_graph: bool) -> Tensor:
    if not value.requires_grad:  # no token counts
        return _flat([None] * len(shared), shared)
    return _flat(torch.autograd.grad(value, shared, retain_graph=keep_graph, allow_unused=True), shared)


def _divided(value: Tensor, shared: list[nn.Parameter], keep_graph: bool) -> Tensor:
    """This process's part. Only a backward pass that ends in `.grad`, which is empty before and after, puts divided parameters together."""
    value.backward(retain_graph=keep_graph)
    gradients = _flat([parameter.grad for parameter in shared], shared)
    for parameter in shared:
        parameter.grad = None
    return gradients


def _flat(gradients: Sequence[Tensor | None], shared: list[nn.Parameter]) -> Tensor:
    return torch.cat(
        [
            torch.zeros_like(local(parameter)).flatten() if gradient is None else local(gradient).flatten()
            for parameter, gradient in zip(shared, gradients, strict=True)
        ]
    )
