"""What one audited step measures: the last mini-batch's exact gradients before its update, and what the update did.

    audit = Audit(updater, experience, held_out)     at the start of the phase
    audit.before()                                   before the optimiser step on the last mini-batch
    audit.after(metrics)                             after it, with the optimiser step's metrics; the audit's own come back

Nothing here changes the run: no parameter, no `.grad`, no optimiser state and no random generator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.audit.effect import HeldOut, without_mtp
from trainer.audit.gradients import HalfGradients, Products, over_both, products
from trainer.config import CrossEntropy
from trainer.models.joint import Predictions
from trainer.objectives.coefficient import Sums, gain
from trainer.objectives.regimes import cross_entropy
from trainer.rollout.collect import Experience
from trainer.update.exact import dot_in, shared_gradients
from trainer.update.losses import Losses
from trainer.update.measure import Metrics, References
from trainer.update.minibatch import MiniBatch, OldLogProbs
from trainer.update.phase import Updater


class Audit:
    """One audited step."""

    def __init__(self, updater: Updater, experience: Experience, held_out: Experience):
        """Take the log-probs that start the phase.

        Args:
            updater: the run's, at the start of an update phase.
            experience: what the phase trains on.
            held_out: samples of the same policy on other prompts.
        """
        self._updater = updater
        self._experience = experience
        self._losses = Losses(updater.config)
        self._references = References(updater.config, is_exact=False)
        self._depths = updater.joint.depths
        self._held_out = HeldOut(updater, held_out) if self._losses.reach_trunk else None
        self._old = self._old_log_probs()
        self._metrics: Metrics = {}
        self._halves: tuple[HalfGradients, HalfGradients] | None = None
        self._without: float | None = None

    def before(self) -> None:
        """Measure gradients and proxies of the last mini-batch, and what its step would do without the MTP part."""
        batch = self._updater.mini_batch(self._experience, self._old, self._updater.config.update.mini_batches - 1)
        middle = len(batch.advantages) // self._experience.samples // 2 * self._experience.samples
        halves = self._half(batch.rows(slice(None, middle))), self._half(batch.rows(slice(middle, None)))
        proxies = self._updater.calibration(batch, ("all",))
        for k in range(self._depths):
            prefix = _prefix(k)
            policy, ce = (products(*halves, index) for index in (k + 1, self._depths + k + 1))
            self._metrics |= {f"{prefix}{name}": value for name, value in self._of_policy(policy).items()}
            self._metrics |= {f"{prefix}ce_{name}": value for name, value in _of_both_forms(ce).items()}
            for name, value in proxies.items():
                self._metrics[f"{prefix}proxy_{name}"] = self._coefficient(value[k], self._references.estimator)
            self._metrics |= {"audit/g_rl_squared": policy.rl, "audit/g_rl_squared_cross": policy.rl_cross}
        if self._held_out is not None:
            self._halves = halves
            with without_mtp(self._updater, batch) as joint:
                self._without = self._held_out.objective(joint)

    def after(self, metrics: Metrics) -> Metrics:
        """Everything that was measured, once the optimiser step is made.

        Args:
            metrics: the optimiser step's, with its coefficients and its learning rate.
        """
        if self._held_out is None or self._without is None or self._halves is None:
            return self._metrics
        names = ["mtp/coefficient", *(f"mtp/depth_{k}/coefficient" for k in range(2, self._depths + 1))]
        predicted = metrics["optim/lr"] * self._predicted_gain(self._halves, [metrics[name] for name in names])
        measured = self._held_out.objective(self._updater.joint) - self._without
        return {**self._metrics, "audit/predicted_change": predicted, "audit/measured_change": measured}

    def _predicted_gain(self, halves: tuple[HalfGradients, HalfGradients], coefficients: list[float]) -> float:
        """Predicted Delta_MTP per unit of learning rate; its first-order term across the halves, for it is held-out samples that count."""
        first = self._depths + 1 if isinstance(self._updater.config.regime, CrossEntropy) else 1
        places = range(first, first + self._depths)
        (rl_1, mtp_1), (rl_2, mtp_2) = (
            (half.gradients[0], _weighed([half.gradients[place] for place in places], coefficients)) for half in halves
        )
        dot = halves[0].dot
        c = (dot(rl_1, mtp_2) + dot(rl_2, mtp_1)) / 2
        mtp = _weighed([over_both(*halves, place) for place in places], coefficients)
        return gain(1.0, c, dot(mtp, mtp), self._references.lambda_plus)

    def _half(self, batch: MiniBatch) -> HalfGradients:
        """The gradients of the policy loss, of each depth's policy form and of its cross-entropy."""
        updater, temperature = self._updater, self._updater.config.rollout.temperature
        pieces = updater.pieces(batch)
        shares = shared_gradients(updater.model, updater.joint, pieces, temperature, self._terms, updater.world)
        sums = [batch.weights.sum(), *batch.depth_weights.sum((1, 2)), *batch.depth_token_weights.sum((1, 2))]
        weights = [weight.item() for weight in sums]
        gradients = [share / weight for share, weight in zip(shares, weights, strict=True)]
        return HalfGradients(gradients, weights, dot_in(updater.world))

    def _terms(self, batch: MiniBatch, predictions: Predictions) -> list[Tensor]:
        depths = batch.depths(predictions.mtp_log_probs["trunk"])
        return [*self._losses.exact_terms(batch, predictions), *(cross_entropy(depth) for depth in depths)]

    @torch.no_grad()
    def _old_log_probs(self) -> OldLogProbs:
        """Of main and MTP heads, in any regime: off computes none of the heads' by itself."""
        return self._updater.old_log_probs(self._experience.sequences, ("all",))

    def _of_policy(self, measured: Products) -> Metrics:
        whole = self._coefficient_of(measured.c, measured.v2)
        halves = [self._coefficient(half) for half in measured.halves]
        return {
            **_of_both_forms(measured),
            "v2_cross": measured.v2_cross,
            "cosine": measured.cosine,
            "coefficient": whole,
            "coefficient_cross": self._coefficient_of(measured.c_cross, measured.v2),
            "coefficient_half_1": halves[0],
            "coefficient_half_2": halves[1],
        }

    def _coefficient_of(self, c: float, v2: float) -> float:
        return self._references.lambda_plus * c / (v2 + self._references.eps)

    def _coefficient(self, sums: Sums, estimator: str = "ratio_of_sums") -> float:
        return float(sums.coefficient(estimator, self._references.lambda_plus, self._references.eps))


def _of_both_forms(measured: Products) -> Metrics:
    """What is reported of the policy form and of the cross-entropy form alike."""
    return {
        "c": measured.c,
        "v2": measured.v2,
        "c_cross": measured.c_cross,
        "signal": measured.signal,
        "noise": measured.noise,
    }


def _weighed(gradients: list[Tensor], coefficients: list[float]) -> Tensor:
    """The gradient of the mean over depths, each with its coefficient."""
    return torch.stack([c * g for c, g in zip(coefficients, gradients, strict=True)]).mean(dim=0)


def _prefix(k: int) -> str:
    return "audit/" if k == 0 else f"audit/depth_{k + 1}/"
