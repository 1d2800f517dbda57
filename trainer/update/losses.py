"""Which losses a configuration has, and where the gradient of each may go.

policy loss of the main head   -> trunk; there is none in regime warm
the regime's MTP loss          -> trunk and heads, or only the trunk where the heads learn otherwise
detached cross-entropy         -> the heads' own parameters only (regimes detach and warm, or mtp.head_loss ce)
distillation, KL(main || head) -> the heads' own parameters only (regime warm)
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.config import RunConfig, Warm
from trainer.models.joint import Predictions, Reach
from trainer.objectives.algorithms import policy_loss
from trainer.objectives.regimes import PolicyLoss, cross_entropy, mean_over_tokens, mtp_policy_loss, trunk_loss
from trainer.update.minibatch import MiniBatch


def reaches(config: RunConfig) -> tuple[Reach, ...]:
    """The MTP forward passes that a configuration needs; the first is the one that is measured."""
    if config.regime.kind == "off":
        return ()
    if config.regime.kind in ("detach", "warm"):
        return ("heads",)
    per_head_loss: dict[str, tuple[Reach, ...]] = {"regime": ("all",), "ce": ("trunk", "heads"), "none": ("trunk",)}
    return per_head_loss[config.mtp.head_loss]


class LossParts(NamedTuple):
    """With gradient; their sum is minimised."""

    policy: Tensor
    depths: Tensor
    """[K] the regime's MTP loss of each depth, weighed; they count 1 / K each. One 0 where the regime has none."""
    heads: Tensor

    @property
    def regime(self) -> Tensor:
        """The regime's MTP loss."""
        return self.depths.mean()

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.policy + self.regime + self.heads


class Losses:
    """The losses of one configuration, as functions of a (micro-)batch and what the model predicts for it."""

    def __init__(self, config: RunConfig):
        self.policy_loss: PolicyLoss = partial(
            policy_loss, config.algorithm.kind, **config.algorithm.model_dump(exclude={"kind"})
        )
        self._regime_loss = trunk_loss(config.regime)
        self._ratio = getattr(config.regime, "ratio", "main")
        self._head_scale = config.mtp.head_loss_scale
        self.trains_trunk = config.trains_trunk
        """Whether there is a policy loss."""
        self.distils = isinstance(config.regime, Warm) and config.regime.loss == "distillation"
        """Whether the heads learn the main head's distribution in the place of the sampled tokens."""
        self._reaches = reaches(config)

    @property
    def reach_trunk(self) -> bool:
        """Whether any MTP loss flows into the trunk."""
        return self._regime_loss is not None

    def __call__(self, batch: MiniBatch, predictions: Predictions, coefficients: Tensor) -> LossParts:
        """The batch's share of each loss; depths count 1 / K each.

        Args:
            batch: a mini-batch, or a micro-batch cut from it.
            predictions: the model's, with gradient, for the reaches of the configuration.
            coefficients: [K] lambda per depth.
        """
        policy = self.main(batch, predictions.log_probs) if self.trains_trunk else predictions.log_probs.new_zeros(())
        regime, heads = policy.new_zeros(1), policy.new_zeros(())
        if self._regime_loss is not None:
            depths = batch.depths(predictions.mtp_log_probs[self._reaches[0]])
            weighed = [
                self._regime_loss(depth, self.policy_loss, coefficient.to(policy))
                for depth, coefficient in zip(depths, coefficients, strict=True)
            ]
            regime = torch.stack(weighed)
        if "heads" in self._reaches:
            heads = self._head_scale * torch.stack(self.of_heads(batch, predictions)).mean()
        return LossParts(policy, regime, heads)

    def of_heads(self, batch: MiniBatch, predictions: Predictions) -> list[Tensor]:
        """The batch's share of what each depth's own parameters learn from."""
        depths = batch.depths(predictions.mtp_log_probs["heads"])
        if not self.distils:
            return [cross_entropy(depth) for depth in depths]
        assert predictions.divergences is not None
        return [mean_over_tokens(depth, apart) for depth, apart in zip(depths, predictions.divergences, strict=True)]

    def exact_terms(self, batch: MiniBatch, predictions: Predictions) -> list[Tensor]:
        """The batch's share of the policy loss of the main head and, unweighed, of each MTP head: what c and v2 are made of."""
        one = torch.ones(())
        depths = batch.depths(predictions.mtp_log_probs["trunk"])
        mtp = [mtp_policy_loss(depth, self.policy_loss, one, ratio=self._ratio) for depth in depths]
        return [self.main(batch, predictions.log_probs), *mtp]

    def main(self, batch: MiniBatch, log_probs: Tensor) -> Tensor:
        """The batch's share of the main head's policy loss."""
        return self.policy_loss(
            log_probs, batch.old.main, batch.advantages, batch.sequences.mask, weights=batch.weights
        )
