"""Parameters, gradients and optimiser state divided among the processes (torch's `fully_shard`), for models that no single device holds.

A block's parameters are whole only while it runs, forward and again backward; its gradient is summed over the processes and divided at once.
So every pass is made by all processes together, and who has no sequences left makes an idle one. For what is not a pass of the update
(sampling, saving) the model is made whole for as long as it takes: docs/decisions/processes.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from trainer.launch.world import World
from trainer.models.joint import JointModel
from trainer.rollout.engine import Drafted, Engine, Response, Sampling


def shard(joint: JointModel, mesh: DeviceMesh) -> None:
    """Divide every parameter among the processes, and add gradients up over them.

    Embeddings, lm_head and final norm belong to the model as a whole, which the heads use them in: they are whole during each of its passes.
    """
    for unit in [*joint.blocks, joint]:
        # Always divided between passes, so that `parameters()` are those that the optimiser knows.
        sharded = fully_shard(unit, mesh=mesh, reshard_after_forward=True)
        # Losses carry the weights of the whole mini-batch: a sum, and no mean over the processes.
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
    for name in ("draft_acceptance", "drafts"):
        register_fsdp_forward_method(joint, name)


def local(tensor: Tensor) -> Tensor:
    """This process's part of a divided tensor; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """A divided tensor put together, which all processes must ask for alike; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def divided_as(part: Tensor, like: Tensor) -> Tensor:
    """The divided tensor, divided as another is, of which this is the process's part: undoes `local`."""
    if not isinstance(like, DTensor):
        return part
    return DTensor.from_local(part, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())


class WholeModel:
    """A copy of a model that is to be divided, with memory for its parameters only while they are needed."""

    def __init__(self, joint: JointModel, device: torch.device):
        """`joint`: not divided yet."""
        empty = {
            id(parameter): nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False)
            for parameter in joint.parameters()
        }
        shared = {id(part): part for part in (joint.layout, joint.stored)}
        self.joint: JointModel = copy.deepcopy(joint, {**empty, **shared}).to(device)
        """Usable inside `filled`."""
        self.release()

    def fill(self, joint: JointModel) -> None:
        """Take the present parameters of `joint`, whole in every process; all must ask for it alike."""
        with torch.no_grad():
            for mine, divided in zip(self.joint.parameters(), joint.parameters(), strict=True):
                mine.untyped_storage().resize_(mine.numel() * mine.element_size())
                mine.copy_(whole(divided))

    def release(self) -> None:
        """Let the parameters go."""
        for parameter in self.joint.parameters():
            parameter.untyped_storage().resize_(0)

    @contextmanager
    def filled(self, joint: JointModel) -> Iterator[JointModel]:
        """The model with the present parameters of `joint`."""
        self.fill(joint)
        try:
            yield self.joint
        finally:
            self.release()


class WholeModelEngine:
    """An engine that samples from the whole model, which is put together for a stretch of sampling."""

    def __init__(self, engine: Engine, model: WholeModel, joint: JointModel):
        """`engine`: samples from `model.joint`."""
        self._engine = engine
        self._model = model
        self._joint = joint
        self._is_filled = False

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """As the engine's; all processes must ask alike."""
        if not self._is_filled:
            self._model.fill(self._joint)
            self._is_filled = True
        return self._engine.generate(prompts, sampling)

    def finish(self) -> Drafted:
        """As the engine's."""
        drafted = self._engine.finish()
        self._model.release()
        self._is_filled = False
        return drafted


def whole_state(optimizer: Optimizer, world: World) -> dict[str, Any]:
    """The optimiser's state for the main process to save, as one process alone would have it; all must ask for it alike."""
    state = optimizer.state_dict()
    if not world.is_sharded:
        return state
    to_host = _to_host if world.is_main else _dropped
    return {**state, "state": {index: _each(values, to_host) for index, values in state["state"].items()}}


def load_state(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Put back what `whole_state` gave, of however many processes."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    divided = {
        index: _each(values, lambda value, like=parameters[index]: _divided(value, like))
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": divided})


def _each(values: dict[str, Any], change: Any) -> dict[str, Any]:
    return {name: change(value) if isinstance(value, Tensor) else value for name, value in values.items()}


def _to_host(value: Tensor) -> Tensor:
    return whole(value).cpu()


def _dropped(value: Tensor) -> Tensor:
    whole(value)  # its part goes to the main process
    return value.new_empty(0)


def _divided(value: Tensor, like: Tensor) -> Tensor:
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
