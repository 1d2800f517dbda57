"""The measured effect of the MTP part: one optimiser step with it and one without, compared on samples that neither has seen."""

from __future__ import annotations

import copy

import torch

from trainer.config import Mtp, Off
from trainer.models.joint import JointModel
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.collect import Experience
from trainer.update.losses import Losses
from trainer.update.minibatch import MiniBatch
from trainer.update.phase import Updater


def without_mtp(updater: Updater, batch: MiniBatch) -> JointModel:
    """A copy of the model after the optimiser step on `batch` as it would be without the MTP part; the original stays untouched.

    Trunk and heads are clipped separately, so what is left out is nothing but the MTP loss's gradient into the trunk.
    """
    optimizer = getattr(updater.optimizer, "optimizer", updater.optimizer)  # what accelerate has wrapped
    joint, optimizer = copy.deepcopy((updater.joint, optimizer))
    config = updater.config.model_copy(update={"regime": Off(), "mtp": Mtp()})
    shadow = Updater(config, joint, optimizer, CoefficientTracker(Off(), joint.depths), updater.accelerator)
    shadow.updates = updater.updates
    shadow.step(batch.without_mtp(), first_of_phase=False)
    return joint


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
