"""Regimes, how the MTP heads are trained together with the policy, and algorithms: the settings of docs/method.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.config.section import Finite, Positive, Section


class Off(Section):
    """The MTP heads take no part: no MTP loss, their parameters stay as loaded."""

    kind: Literal["off"] = "off"


class Detach(Section):
    """Heads learn by cross-entropy; nothing of it reaches trunk, embeddings or lm_head."""

    kind: Literal["detach"] = "detach"


class Warm(Section):
    """Heads alone learn, from what the model says as it is: trunk, embeddings and lm_head stay bit for bit, and no reward teaches anything.
    For heads that are new or no longer fit, before a training."""

    kind: Literal["warm"] = "warm"
    loss: Literal["distillation", "ce"] = "distillation"
    """distillation: each head learns the main head's whole distribution of the token, KL(main || head), at the sampling temperature.
    ce: cross-entropy on the token that was sampled."""
    held_out: Positive = 32
    """Prompts of the data that train nothing. On responses to them draft acceptance is measured before the first step, every
    evaluation.every steps and after the last."""


class CrossEntropy(Section):
    """Cross-entropy on the response tokens, with its gradient flowing into the trunk."""

    kind: Literal["ce"] = "ce"
    coefficient: Annotated[Finite, Field(ge=0)] = 1.0
    """Fixed weight of the MTP loss (lambda)."""


class Policy(Section):
    """The RL algorithm's own loss on the MTP log-probs, with a fixed coefficient."""

    kind: Literal["policy"] = "policy"
    coefficient: Finite = 1.0
    """Fixed weight of the MTP loss (lambda); the paper sweeps 0.1, 0.2, 0.5 and 1.0. Below 0 it trains against the heads' own
    objective, as occ does where lambda_t is negative."""
    ratio: Literal["main", "own"] = "main"
    """Denominator of the MTP head's probability ratio: the main head's old log-prob (the authors' code) or the head's own."""


class Occ(Section):
    """Optimal Coefficient Calibration: policy loss with lambda_t = lambda_plus c_hat / (v2_hat + eps), recomputed online."""

    kind: Literal["occ"] = "occ"
    lambda_plus: Annotated[Finite, Field(ge=0)] = 1.0
    """Scale of the coefficient (lambda_+); 0 switches the MTP loss off."""
    eps: Annotated[Finite, Field(gt=0)] = 1e-8
    """Added to v2_hat, so that an unmoved head gives 0 and not 0/0."""
    reference: Literal["main", "own"] = "main"
    """Old log-probs that the head's change is measured from: the main head's (the authors' code) or the head's own."""
    estimator: Literal["ratio_of_sums", "token_mean"] = "ratio_of_sums"
    """Ratio of the summed products, or the mean of per-token ratios (the authors' code; heavy-tailed)."""
    apply_to: Literal["advantages", "loss"] = "advantages"
    """What lambda_t multiplies. The two differ where lambda_t is negative: clipping then acts on the other side."""
    window: Literal["mini_batch", "previous", "micro_batch"] = "mini_batch"
    """Tokens that c_hat and v2_hat are summed over. micro_batch is the authors' form and depends on how the batch is split."""
    ratio: Literal["main", "own"] = "main"
    """Denominator of the MTP head's probability ratio: the main head's old log-prob or the head's own."""
    clip: tuple[Finite, Finite] | None = None
    """Bounds of lambda_t, as [low, high]; none by default, as in the paper."""
    ema: Annotated[Finite, Field(gt=0, lt=1)] | None = None
    """Decay of a running mean of c_hat and of v2_hat (with exact_every: of c and v2), each by itself; none by default."""
    exact_every: Positive | None = None
    """Mini-batches between two measurements of c and v2 from exact gradients, which then take the place of c_hat and v2_hat:
    lambda comes from the mean of all measurements so far, or from the running mean where ema is set. None: log-probs alone, as in the paper."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Occ:
        _check_clip(self.clip)
        if self.exact_every is not None:
            for name in ("reference", "estimator", "window"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(
                        f"{name}: {getattr(self, name)} has no effect with exact_every, which takes lambda from gradients; leave out one of the two"
                    )
        if self.ema is not None and self.estimator == "token_mean":
            raise ValueError(
                "ema: averages the sums c_hat and v2_hat, which estimator token_mean does not use; set estimator to ratio_of_sums or leave ema out"
            )
        if self.ema is not None and self.window == "micro_batch":
            raise ValueError(
                "ema: averages the sums of whole mini-batches; set window to mini_batch or previous, or leave ema out"
            )
        return self


class Oracle(Section):
    """As policy, with lambda_plus c / v2 from the exact gradients of every mini-batch: what occ estimates, at the price of one more backward pass per depth."""

    kind: Literal["oracle"] = "oracle"
    lambda_plus: Annotated[Finite, Field(ge=0)] = 1.0
    """Scale of the coefficient (lambda_+); 0 switches the MTP loss off."""
    eps: Annotated[Finite, Field(gt=0)] = 1e-8
    """Added to v2, so that a head without gradient gives 0 and not 0/0."""
    ratio: Literal["main", "own"] = "main"
    """Denominator of the MTP head's probability ratio: the main head's old log-prob or the head's own."""
    clip: tuple[Finite, Finite] | None = None
    """Bounds of lambda_t, as [low, high]; none by default."""

    @model_validator(mode="after")
    def _settings_fit_together(self) -> Oracle:
        _check_clip(self.clip)
        return self


def _check_clip(clip: tuple[float, float] | None) -> None:
    if clip is not None and clip[0] >= clip[1]:
        raise ValueError(f"clip: [{clip[0]}, {clip[1]}] is empty; give [low, high] with low < high, such as [0, 1]")


Regime = Annotated[Off | Detach | Warm | CrossEntropy | Policy | Occ | Oracle, Field(discriminator="kind")]


# --- algorithms ------------------------------------------------------------------------------------------


class Dapo(Section):
    """DAPO: token-level ratio, asymmetric clipping, mean over all tokens of the mini-batch."""

    kind: Literal["dapo"] = "dapo"
    clip_ratio_low: Annotated[Finite, Field(gt=0, lt=1)] = 0.2
    """The ratio is clipped below 1 - clip_ratio_low."""
    clip_ratio_high: Annotated[Finite, Field(gt=0)] = 0.28
    """The ratio is clipped above 1 + clip_ratio_high."""
    dual_clip: Annotated[Finite, Field(gt=1)] = 10.0
    """Upper bound of the ratio where the advantage is negative (dual-clip PPO)."""


class Grpo(Section):
    """GRPO: token-level ratio, symmetric clipping, mean per sequence and then over sequences."""

    kind: Literal["grpo"] = "grpo"
    clip_ratio_low: Annotated[Finite, Field(gt=0, lt=1)] = 0.2
    """The ratio is clipped below 1 - clip_ratio_low."""
    clip_ratio_high: Annotated[Finite, Field(gt=0)] = 0.2
    """The ratio is clipped above 1 + clip_ratio_high."""
    dual_clip: Annotated[Finite, Field(gt=1)] = 10.0
    """Upper bound of the ratio where the advantage is negative (dual-clip PPO)."""


class Gspo(Section):
    """GSPO: one ratio per sequence, exp of the mean log-ratio, mean over sequences."""

    kind: Literal["gspo"] = "gspo"
    clip_ratio_low: Annotated[Finite, Field(gt=0, lt=1)] = 3e-4
    """The sequence ratio is clipped below 1 - clip_ratio_low."""
    clip_ratio_high: Annotated[Finite, Field(gt=0)] = 4e-4
    """The sequence ratio is clipped above 1 + clip_ratio_high."""
    log_ratio_max: Annotated[Finite, Field(gt=0)] = 10.0
    """The sequence log-ratio is cut here before exp."""


Algorithm = Annotated[Dapo | Grpo | Gspo, Field(discriminator="kind")]
