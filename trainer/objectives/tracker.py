"""The coefficient of each mini-batch: fixed, or calibrated online from the mini-batches of the update phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer import config
from trainer.objectives.coefficient import Sums

Regime = config.Off | config.Detach | config.Warm | config.CrossEntropy | config.Policy | config.Occ | config.Oracle


class CoefficientTracker:
    """lambda per depth, [K], before the division by K.

    On the first mini-batch of a phase the log-probs equal the old ones, so that the ratio would be noise over noise: `occ` is 0
    there by rule, and those sums are not kept. With `window: previous`, the second mini-batch of a phase therefore uses the
    last one of the phase before (0 in the very first phase). Where lambda rests on exact gradients (`oracle`, `occ` with
    `exact_every`) that rule has no reason, and the first mini-batch is like the others.
    """

    def __init__(self, regime: Regime, depths: int):
        self.regime = regime
        self.depths = depths
        self._kept: list[Sums] | None = None
        """The running mean of the sums; without `ema`, those of the last mini-batch (with `exact_every`, the mean of all)."""
        self._mini_batches = 0
        self._measurements = 0

    @property
    def has_coefficient(self) -> bool:
        """Whether the regime weighs its MTP loss with a coefficient at all."""
        return not isinstance(self.regime, config.Off | config.Detach | config.Warm)

    @property
    def needs_exact(self) -> bool:
        """Whether c and v2 must be measured from exact gradients before the coming mini-batch."""
        if isinstance(self.regime, config.Occ) and self.regime.exact_every:
            return self._mini_batches % self.regime.exact_every == 0
        return isinstance(self.regime, config.Oracle)

    @property
    def needs_sums_before_backward(self) -> bool:
        """Whether the sums of the whole mini-batch are needed before its losses can be formed."""
        return isinstance(self.regime, config.Occ) and not self.is_exact and self.regime.window == "mini_batch"

    @property
    def per_micro_batch(self) -> bool:
        """Whether every micro-batch has a coefficient of its own (the authors' form)."""
        return isinstance(self.regime, config.Occ) and self.regime.window == "micro_batch"

    @property
    def is_exact(self) -> bool:
        """Whether lambda rests on exact gradients in the place of log-probs."""
        regime = self.regime
        return isinstance(regime, config.Oracle) or (isinstance(regime, config.Occ) and regime.exact_every is not None)

    def coefficients(self, sums: Sequence[Sums] | None, *, first_of_phase: bool) -> Tensor:
        """[K] float64 lambda for a mini-batch or a micro-batch, from the sums over its tokens where the window asks for them."""
        zero = torch.zeros(self.depths, dtype=torch.float64)
        if isinstance(self.regime, config.CrossEntropy | config.Policy):
            return zero + self.regime.coefficient
        if not isinstance(self.regime, config.Occ | config.Oracle) or (first_of_phase and not self.is_exact):
            return zero
        kept = self.is_exact or (isinstance(self.regime, config.Occ) and self.regime.window == "previous")
        used = self._kept if kept else sums and self._blended(sums)
        if not used:
            return zero
        regime = self.regime
        estimator = regime.estimator if isinstance(regime, config.Occ) else "ratio_of_sums"
        values = torch.stack([part.coefficient(estimator, regime.lambda_plus, regime.eps).cpu() for part in used])
        return values.clamp(*regime.clip) if regime.clip else values

    def take_exact(self, sums: Sequence[Sums]) -> None:
        """Take in c and v2 of exact gradients, measured on the coming mini-batch's samples."""
        self._kept = list(sums) if isinstance(self.regime, config.Oracle) else self._blended(sums)
        self._measurements += 1

    def observe(self, sums: Sequence[Sums], *, first_of_phase: bool) -> None:
        """Take in a finished mini-batch's sums."""
        self._mini_batches += 1
        if isinstance(self.regime, config.Occ) and not self.is_exact and not first_of_phase:
            self._kept = self._blended(sums)

    def _blended(self, sums: Sequence[Sums]) -> list[Sums]:
        """The running mean with these sums taken in."""
        decay = self.regime.ema if isinstance(self.regime, config.Occ) else None
        if decay is None and self.is_exact:
            decay = self._measurements / (self._measurements + 1)
        if decay is None or self._kept is None:
            return list(sums)
        return [
            Sums(*(decay * old + (1 - decay) * new for old, new in zip(kept, current, strict=True)))
            for kept, current in zip(self._kept, sums, strict=True)
        ]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain numbers."""
        kept = None if self._kept is None else [[float(value) for value in part] for part in self._kept]
        return {"sums": kept, "mini_batches": self._mini_batches, "measurements": self._measurements}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        kept = [Sums(*(torch.tensor(value, dtype=torch.float64) for value in part)) for part in state["sums"] or []]
        self._kept = kept or None
        self._mini_batches, self._measurements = state["mini_batches"], state["measurements"]
