"""The coefficient of each mini-batch: fixed, or calibrated online from the mini-batches of the update phase."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer import config
from trainer.objectives.coefficient import Sums

Regime = config.Off | config.Detach | config.CrossEntropy | config.Policy | config.Occ


class CoefficientTracker:
    """lambda per depth, [K], before the division by K.

    On the first mini-batch of a phase the log-probs equal the old ones, so that the ratio would be noise over noise: `occ` is 0
    there by rule, and those sums are not kept. With `window: previous`, the second mini-batch of a phase therefore uses the
    last one of the phase before (0 in the very first phase).
    """

    def __init__(self, regime: Regime, depths: int):
        self.regime = regime
        self.depths = depths
        self._kept: list[Sums] | None = None
        """The running mean of the sums; without `ema`, those of the last mini-batch."""

    @property
    def has_coefficient(self) -> bool:
        """Whether the regime weighs its MTP loss with a coefficient at all."""
        return isinstance(self.regime, config.CrossEntropy | config.Policy | config.Occ)

    @property
    def needs_sums_before_backward(self) -> bool:
        """Whether the sums of the whole mini-batch are needed before its losses can be formed."""
        return isinstance(self.regime, config.Occ) and self.regime.window == "mini_batch"

    @property
    def per_micro_batch(self) -> bool:
        """Whether every micro-batch has a coefficient of its own (the authors' form)."""
        return isinstance(self.regime, config.Occ) and self.regime.window == "micro_batch"

    def coefficients(self, sums: Sequence[Sums] | None, *, first_of_phase: bool) -> Tensor:
        """[K] float64 lambda for a mini-batch or a micro-batch, from the sums over its tokens where the window asks for them."""
        zero = torch.zeros(self.depths, dtype=torch.float64)
        if isinstance(self.regime, config.CrossEntropy | config.Policy):
            return zero + self.regime.coefficient
        if not isinstance(self.regime, config.Occ) or first_of_phase:
            return zero
        used = self._kept if self.regime.window == "previous" else sums and self._blended(sums)
        if not used:
            return zero
        regime = self.regime
        values = torch.stack(
            [part.coefficient(regime.estimator, regime.lambda_plus, regime.eps).cpu() for part in used]
        )
        return values.clamp(*regime.clip) if regime.clip else values

    def observe(self, sums: Sequence[Sums], *, first_of_phase: bool) -> None:
        """Take in a finished mini-batch's sums."""
        if isinstance(self.regime, config.Occ) and not first_of_phase:
            self._kept = self._blended(sums)

    def _blended(self, sums: Sequence[Sums]) -> list[Sums]:
        """The running mean with these sums taken in."""
        decay = self.regime.ema if isinstance(self.regime, config.Occ) else None
        if decay is None or self._kept is None:
            return list(sums)
        return [
            Sums(*(decay * old + (1 - decay) * new for old, new in zip(kept, current, strict=True)))
            for kept, current in zip(self._kept, sums, strict=True)
        ]

    def state(self) -> list[list[float]] | None:
        """What a checkpoint keeps: plain numbers."""
        return None if self._kept is None else [[float(value) for value in part] for part in self._kept]

    def restore(self, state: list[list[float]] | None) -> None:
        """Continue from `state()`."""
        as_sums = [Sums(*(torch.tensor(value, dtype=torch.float64) for value in part)) for part in state or []]
        self._kept = as_sums or None
