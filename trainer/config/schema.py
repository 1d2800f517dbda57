"""The configuration of one run: what the trainer validates, the form shows and the store keeps.

One frozen pydantic tree. The docstring under a field is the help text of its widget in the dashboard.
Every combination that cannot mean what it says is refused here, in words, before anything is loaded.
This module imports no torch, so that the command line and the pages start fast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainer.config import rules
from trainer.errors import ConfigError

_UNDERSCORED = re.compile(r"[-+]?[0-9.]+_[0-9_.]*([eE][-+]?[0-9_]+)?")
LARGEST = 2**31 - 1  # what every store and every random generator can take

LONGEST_BENCHMARK_NAME = 80  # characters: what the store's columns hold

Positive = Annotated[int, Field(gt=0, le=LARGEST)]
NonNegative = Annotated[int, Field(ge=0, le=LARGEST)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Decay = Annotated[Finite, Field(ge=0, lt=1)]
# Logits divided by less overflow, and by more are all alike.
Temperature = Annotated[Finite, Field(ge=0.01, le=100)]


class Section(BaseModel):
    """Base of every part of the configuration: immutable, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_plain(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, Mapping) else ():
            # Python counts true as 1, and no setting is a yes or no.
            if isinstance(value, bool):
                raise ValueError(f"{name}: {value} is a truth value; give a number or a word")
            # pydantic reads the text 1_0 as 10, which no other reader of the run's YAML does.
            field = cls.model_fields.get(name)
            if isinstance(value, str) and _UNDERSCORED.fullmatch(value) and field and field.annotation is not str:
                raise ValueError(f"{name}: {value!r} is no number; write it without _")
        return values


# --- regimes: how the MTP heads are trained together with the policy (docs/method.md) --------------------


class Off(Section):
    """The MTP heads take no part: no MTP loss, their parameters stay as loaded."""

    kind: Literal["off"] = "off"


class Detach(Section):
    """Heads learn by cross-entropy; nothing of it reaches trunk, embeddings or lm_head."""

    kind: Literal["detach"] = "detach"


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
    """As policy, with lambda_plus c / v2 from the exact gradients of every mini-batch: what occ estimates, at a far higher price."""

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


Regime = Annotated[Off | Detach | CrossEntropy | Policy | Occ | Oracle, Field(discriminator="kind")]


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


# --- data ------------------------------------------------------------------------------------------------


class Prompted(Section):
    """What every source of problems shares."""

    template: str = "{problem}"
    """Text that the model sees; `{problem}` stands for the problem."""

    @model_validator(mode="after")
    def _template_holds_the_problem(self) -> Prompted:
        if "{problem}" not in self.template:
            raise ValueError(f"template: {self.template!r} has no {{problem}} in it; add it where the problem belongs")
        return self


class JsonlData(Prompted):
    """A JSONL file with one {"id", "problem", "answer"} per line (id may be absent: the line number is used)."""

    kind: Literal["jsonl"] = "jsonl"
    path: Annotated[str, Field(min_length=1)]
    """The file. `${MTPRL_HOME}` and other environment variables are filled in."""


class ReasoningGymData(Prompted):
    """A procedurally generated task of the reasoning-gym library, by name."""

    kind: Literal["reasoning_gym"] = "reasoning_gym"
    task: Annotated[str, Field(min_length=1)]
    """Name of the task, such as basic_arithmetic or gcd."""
    size: Positive = 1000
    """How many problems to generate."""
    seed: NonNegative = 0
    """Seed of the generator; give evaluation another one than training."""
    settings: dict[str, Any] = {}
    """Further settings of the task, as the library names them."""


Data = Annotated[JsonlData | ReasoningGymData, Field(discriminator="kind")]


# --- the rest of the recipe ------------------------------------------------------------------------------


class Model(Section):
    """The base model and its MTP heads."""

    path: Annotated[str, Field(min_length=1)]
    """Folder of the base model, or its name on the Hugging Face hub. `${MTPRL_HOME}` is filled in."""
    mtp_depths: Annotated[int, Field(ge=1, le=8)] = 1
    """MTP depths to use (K). A base model without heads gets new ones, started from its last block."""


class Mtp(Section):
    """What the heads' own parameters learn from."""

    head_loss: Literal["regime", "ce", "none"] = "regime"
    """regime: from the regime's own loss, coefficient included (the paper). ce: from detached cross-entropy, while the
    regime's coefficient gates only what flows into the trunk. none: they stay as loaded."""
    head_loss_scale: Annotated[Finite, Field(gt=0)] = 1.0
    """Weight of the detached cross-entropy (regime detach, or head_loss ce)."""


class Rollout(Section):
    """Sampling of responses from the current policy."""

    prompts_per_step: Positive = 64
    """Prompts per step."""
    samples_per_prompt: Annotated[int, Field(ge=2, le=LARGEST)] = 8
    """Responses per prompt: the group whose rewards are compared."""
    dynamic_sampling_rounds: NonNegative = 0
    """Further rounds of sampling, at most, that replace prompts whose responses all got the same reward by other prompts (DAPO);
    0 switches it off."""
    temperature: Temperature = 1.0
    """Sampling temperature; the logits of main and MTP heads are divided by it in training, too."""
    max_prompt_tokens: Positive = 2048
    """Prompts with more tokens are left out, and counted."""
    max_response_tokens: Positive = 8192
    """A response is cut here and counted as truncated."""


class Reward(Section):
    """Rewards from the verifier."""

    correct: Finite = 1.0
    """Reward of a right answer."""
    incorrect: Finite = -1.0
    """Reward of a wrong one."""
    overlong_buffer: NonNegative = 0
    """Tokens before max_response_tokens over which the soft overlong punishment grows; 0 switches it off."""
    overlong_factor: Annotated[Finite, Field(gt=0)] = 1.0
    """Size of the soft overlong punishment at the limit."""


class Update(Section):
    """Optimisation steps made from each batch of rollouts."""

    mini_batches: Positive = 4
    """Optimiser steps per pass over a step's rollouts."""
    epochs: Positive = 1
    """Passes over a step's rollouts."""
    micro_batch_sequences: Positive | None = None
    """Sequences per forward pass; none: a whole mini-batch at once. The update does not depend on it (except for window micro_batch)."""


class Optimizer(Section):
    """AdamW with a linear warm-up; trunk and heads are clipped separately."""

    lr: Annotated[Finite, Field(gt=0)] = 1e-6
    """Learning rate after the warm-up."""
    warmup_steps: NonNegative = 10
    """Optimiser steps over which the learning rate grows from 0."""
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.1
    """Decoupled weight decay, on matrices only."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of AdamW's first and second moment."""
    grad_clip: Annotated[Finite, Field(gt=0)] = 1.0
    """Largest gradient norm of the trunk, and by itself of the heads."""


class Benchmark(Section):
    """A held-out set to evaluate on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=LONGEST_BENCHMARK_NAME)]
    """Short name in lower case; the metric is eval/<name>/avg_at_<k>."""
    data: Data
    """Where its problems come from."""
    limit: Positive | None = None
    """Use only the first problems; none: all."""


class Evaluation(Section):
    """Evaluation on held-out problems during training."""

    benchmarks: tuple[Benchmark, ...] = ()
    """Benchmarks to evaluate on; none: no evaluation."""
    every: Positive = 20
    """Steps between evaluations; the first comes before training and the last after it."""
    samples: Positive = 4
    """Responses per problem: the k of avg@k."""
    temperature: Temperature = 1.0
    """Sampling temperature of the evaluation."""
    top_p: Annotated[Finite, Field(gt=0, le=1)] = 0.7
    """Nucleus sampling: the smallest set of tokens with this much probability."""


class Audit(Section):
    """Exact gradients and the measured effect of the MTP part, beside a run that they do not change (docs/method.md, Audit)."""

    every: NonNegative = 0
    """Steps between audits of a step's last mini-batch; 0: none. An audit costs about as much as several updates, and as much memory
    again as model and optimiser."""
    prompts: Positive = 32
    """Held-out prompts, drawn from the training data, on which the change of the objective is measured."""


class Alarms(Section):
    """When a run says that something looks wrong. An alarm says so in words and changes nothing of the training (docs/method.md, Alarms)."""

    steps: Positive = 5
    """Steps in a row for which something must look wrong before its alarm begins, and right before it is over."""
    entropy_fraction: Annotated[Finite, Field(ge=0, lt=1)] = 0.1
    """Entropy collapse: entropy below this fraction of its mean over the run's first 5 steps; 0: never."""
    acceptance_fraction: Annotated[Finite, Field(ge=0, lt=1)] = 0.5
    """Acceptance collapse: greedy draft acceptance of a depth below this fraction of its mean over the run's first 5 steps; 0: never."""
    zero_variance_share: Annotated[Finite, Field(gt=0, le=1)] = 0.9
    """Too little to learn from: more than this share of the prompts got equal rewards for all their responses; 1: never."""
    coefficient_steps: Positive = 20
    """Steps in a row, in the place of `steps`, for a coefficient whose every mini-batch is on a bound of its clip. One that wavers
    around a bound is there in many a step: in the demo in a third of them, up to 4 in a row."""


class Checkpoint(Section):
    """Checkpoints to resume from."""

    every: Positive = 50
    """Steps between checkpoints; the last step is always saved."""
    keep: Positive = 2
    """How many of the newest to keep. The one with the best held-out accuracy is kept, too: the mean over the benchmarks, among the
    checkpoints of steps that were evaluated, of equals the newest."""


class Logging(Section):
    """Completions written to the event file."""

    completions_every: Positive = 10
    """Steps between logged completions."""
    completions_prompts: Positive = 4
    """Prompts whose whole group of completions is logged."""


class RunConfig(Section):
    """One training run, complete."""

    name: Annotated[str, Field(pattern=r"^[\w .+-]{0,80}$")] = ""
    """Name of the run; empty: method, algorithm and seed."""
    seed: NonNegative = 0
    """Seed of data order, sampling and everything else random."""
    steps: Positive = 200
    """Training steps; each is one rollout and its updates."""
    model: Model
    regime: Regime
    algorithm: Algorithm = Dapo()
    mtp: Mtp = Mtp()
    data: Data
    rollout: Rollout = Rollout()
    reward: Reward = Reward()
    update: Update = Update()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    audit: Audit = Audit()
    alarms: Alarms = Alarms()
    checkpoint: Checkpoint = Checkpoint()
    logging: Logging = Logging()

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps made from each rollout."""
        return self.update.mini_batches * self.update.epochs

    @model_validator(mode="before")
    @classmethod
    def _texts_are_usable(cls, values: Any) -> Any:
        problems = list(rules.text_problems(values))
        if problems:
            raise ConfigError(problems)
        return values

    @model_validator(mode="after")
    def _combinations_make_sense(self) -> RunConfig:
        problems = rules.problems(self)
        if problems:
            raise ConfigError(problems)
        return self
