"""The measured effect of the MTP part: one optimiser step with it and one without, compared on samples that neither has seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainer.config import Mtp, Off
from trainer.models.joint import JointModel
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.collect import Experience
from trainer.update.losses import Losses
from trainer.update.minibatch import MiniBatch
from trainer.update.phase import Updater


@contextmanager
def without_mtp(updater: Updater, batch: MiniBatch) -> Iterator[JointModel]:
    """The model after the optimiser step on `batch` as it would be without the MTP part; afterwards everything is as it was, bit for bit.

    Trunk and heads are clipped separately, so what is left out is nothing but the MTP loss's gradient into the trunk.
    """
    config = updater.config.model_copy(update={"regime": Off(), "mtp": Mtp()})
    tracker = CoefficientTracker(Off(), updater.joint.depths)
    shadow = Updater(config, updater.model, updater.optimizer, tracker, updater.accelerator)
    shadow.updates = updater.updates
    parameters = [(parameter, parameter.detach().clone()) for parameter in updater.joint.parameters()]
    optimizer = _copied(updater.optimizer.state_dict())
    try:
        shadow.step(batch.without_mtp(), first_of_phase=False)
        yield updater.joint
    finally:
        with torch.no_grad():
            for parameter, before in parameters:
                parameter.copy_(before)
        updater.optimizer.load_state_dict(optimizer)
        updater.optimizer.zero_grad()


def _copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: _copied(part) for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


class HeldOut:
    """Samples of the policy that started a phase, and the RL objective on them."""

    def __init__(self, updater: Updater, experience: Experience):
        self._updater = updater
        self._sequences = experience.sequences
        self._advantages = experience.advantages.to(experience.sequences.tokens.device).double()
        self._losses = Losses(updater.config)
        self._old = self._log_probs(updater.joint)

    def objective(self, joint: JointModel) -> float:
        """The algorithm's objective (its loss, negated) at the parameters of `joint`, in float64: the changes are small."""
        mask = self._sequences.mask
        return -float(self._losses.policy_loss(self._log_probs(joint), self._old, self._advantages, mask))

    @torch.no_grad()
    def _log_probs(self, joint: JointModel) -> torch.Tensor:
        temperature = self._updater.config.rollout.temperature
        return self._updater.by_token(self._sequences, lambda piece: joint(piece, temperature).log_probs[None], 1)[
            0
        ].double()
