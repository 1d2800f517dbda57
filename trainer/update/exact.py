"""Exact gradients over the parameters that policy and MTP losses share: what c_hat and v2_hat stand for.

    c = <g_RL, g_MTP>        v2 = ||g_MTP||^2        (arXiv 2605.28184, section 3; docs/method.md)

Shared are trunk, embeddings and lm_head; the heads' own parameters receive no policy gradient and take no part. Each gradient is a
flat vector in its own memory: nothing stays in any parameter's `.grad`, which must be empty before.

The oracle's update is made of the same gradients, g_RL + mean_k lambda_k g_k, so that one forward pass does for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from trainer.launch.sharding import divided_as, local
from trainer.launch.world import World
from trainer.models.joint import JointModel, Predictions
from trainer.objectives.coefficient import Sums
from trainer.update.minibatch import MiniBatch

_AT_ONCE = 2**26
"""Numbers that are copied into float64 at once."""

Terms = Callable[[MiniBatch, Predictions], Sequence[Tensor]]
"""Scalars with gradient: a (micro-)batch's shares of several losses."""


class Gradients:
    """The gradients of several losses over the same parameters, each summed over pieces of a mini-batch."""

    def __init__(self, parameters: Sequence[nn.Parameter], world: World):
        """`world`: the processes that the pieces are divided among."""
        self.parameters = list(parameters)
        self.totals: list[Tensor] = []
        """One [P] vector per loss; P counts the parameters, or this process's part of them where they are divided."""
        self._world = world
        self._take = _divided if world.is_sharded else _whole
        self._reached = [False] * len(self.parameters)

    def add(self, values: Sequence[Tensor]) -> None:
        """Add the gradients of a piece's share of each loss. This is the piece's backward pass."""
        for index, value in enumerate(values):
            found = self._take(value, self.parameters, index + 1 < len(values))
            self._reached = [was or now is not None for was, now in zip(self._reached, found, strict=True)]
            gradient = _flat(found, self.parameters)
            if index < len(self.totals):
                self.totals[index] += gradient
            else:
                self.totals.append(gradient)

    def add_up(self) -> None:
        """Make them the sums over the pieces of all processes, which must call this alike."""
        if self._world.is_sharded:  # summed already, in the backward pass
            return
        of_all = self._world.gather((len(self.totals), self._reached))
        if not self.totals:  # other processes have all the pieces
            nothing = _flat([None] * len(self.parameters), self.parameters)
            self.totals = [nothing.clone() for _ in range(max(count for count, _ in of_all))]
        self._reached = [any(reached) for reached in zip(*(reached for _, reached in of_all), strict=True)]
        self._world.add_up(self.totals)

    def of(self, count: int) -> list[Tensor]:
        """The part of each gradient that belongs to the first parameters; no copies."""
        numbers = sum(local(parameter).numel() for parameter in self.parameters[:count])
        return [total[:numbers] for total in self.totals]

    def weigh(self, weights: Sequence[float]) -> None:
        """Put the sum of the gradients, each with its weight, into `.grad` of the parameters that any of them reaches.

        The sum takes the place of the first gradient: there may be no memory for another.
        """
        total = self.totals[0].mul_(weights[0])
        for gradient, weight in zip(self.totals[1:], weights[1:], strict=True):
            total.add_(gradient, alpha=weight)
        parts = total.split([local(parameter).numel() for parameter in self.parameters])
        for parameter, part, reached in zip(self.parameters, parts, self._reached, strict=True):
            if reached:
                parameter.grad = divided_as(part.view_as(local(parameter)), parameter)


def shared_gradients(
    model: nn.Module, joint: JointModel, pieces: Iterable[MiniBatch], temperature: float, terms: Terms, world: World
) -> list[Tensor]:
    """The gradient of each term over the shared parameters, summed over the pieces of all processes.

    Args:
        model: the joint model as it is called in training.
        joint: the same model, unwrapped.
        pieces: this process's micro-batches of one mini-batch, or of a part of it.
        temperature: what the logits are divided by.
        terms: the losses, given a piece and the model's predictions for it (reach "trunk").
        world: the processes that the pieces are divided among.

    Returns:
        One [P] vector per term.
    """
    gradients = Gradients(trained(joint.trunk), world)
    for piece in pieces:
        gradients.add(terms(piece, model(piece.sequences, temperature, ("trunk",))))
    gradients.add_up()
    return gradients.totals


def trained(module: nn.Module) -> list[nn.Parameter]:
    """Its parameters that learn."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


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


def _whole(value: Tensor, parameters: list[nn.Parameter], keep_graph: bool) -> Sequence[Tensor | None]:
    if not value.requires_grad:  # no token counts
        return [None] * len(parameters)
    return torch.autograd.grad(value, parameters, retain_graph=keep_graph, allow_unused=True)


def _divided(value: Tensor, parameters: list[nn.Parameter], keep_graph: bool) -> Sequence[Tensor | None]:
    """This process's part. Only a backward pass that ends in `.grad`, which is empty before and after, puts divided parameters together."""
    value.backward(retain_graph=keep_graph)
    gradients = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return gradients


def _flat(gradients: Sequence[Tensor | None], parameters: list[nn.Parameter]) -> Tensor:
    return torch.cat(
        [
            torch.zeros_like(local(parameter)).flatten() if gradient is None else local(gradient).flatten()
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
    )
