"""The policy's parameters into vLLM, target and drafter, in place; and whether they have arrived."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from trainer.errors import TrainingError
from trainer.models.joint import JointModel
from trainer.models.published import mtp_tensors, published_tensors, trunk_tensors
from trainer.rollout.vllm.checksums import checksums_within, not_within

_SHOWN = 3
"""Names in a message."""


def take_policy(worker: Any, joint: JointModel) -> None:
    """Put the model's present parameters in the place of those that a worker of vLLM holds, and look whether they have arrived.

    Raises:
        TrainingError: a tensor of the trunk, or of the drafter, is not the trainer's.
    """
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    runner, drafter = worker.model_runner, draft_model(worker)
    with set_current_vllm_config(worker.vllm_config):
        # The loader of the one leaves out what belongs to the other; heads that no engine knows must not come before it.
        runner.reload_weights(weights_iterator=of_trunk(joint))
        if drafter is not None:
            initialize_layerwise_reload(drafter)
            drafter.load_weights(published_tensors(joint))
            finalize_layerwise_reload(drafter, worker.vllm_config.speculative_config.draft_model_config)
    check(worker, joint)


def check(worker: Any, joint: JointModel) -> None:
    """Compare every tensor of the model, but for the experts of a mixture, which kernels keep in forms of their own.

    Raises:
        TrainingError: some are not what the trainer holds.
    """
    dtype, drafter = worker.vllm_config.model_config.dtype, draft_model(worker)
    wrong = not_within(_plain(trunk_tensors(joint)), checksums_within(worker.model_runner.get_model()), dtype)
    if drafter is not None:
        wrong += not_within(_plain(mtp_tensors(joint)), checksums_within(drafter), dtype)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise TrainingError(
            f"vLLM did not take over {', '.join(wrong[:_SHOWN])}{more} from the trainer: it would sample from another policy, or draft for "
            "one. Nothing was sampled with it. Set rollout.engine to builtin, and report the model's layout and the version of vLLM"
        )


def of_trunk(joint: JointModel) -> Iterator[tuple[str, Tensor]]:
    """The published tensors without those of the heads."""
    heads = {name for name, _ in mtp_tensors(joint)}
    return ((name, tensor) for name, tensor in published_tensors(joint) if name not in heads)


def draft_model(worker: Any) -> nn.Module | None:
    """The worker's drafter; None where it has none."""
    return worker.get_draft_model()


def _plain(tensors: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in tensors if ".experts." not in name)
