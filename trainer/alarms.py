"""Alarms: what looks wrong in the metrics of a run, in words and with what to try next. They change nothing of the training.

| alarm                 | begins when, for several steps in a row                                                       |
| --------------------- | --------------------------------------------------------------------------------------------- |
| `entropy_collapse`    | `policy/entropy` is below a fraction of its mean over the run's first steps                   |
| `coefficient_at_clip` | every mini-batch's coefficient is on a bound of `regime.clip` (those that are 0 by rule apart) |
| `acceptance_collapse` | `mtp/acceptance_greedy` is below a fraction of its mean over the run's first steps            |
| `zero_variance`       | more than a share of the prompts got equal rewards for all their responses                    |
| `log_prob_gap`        | `rollout/log_prob_gap`, between sampler and trainer, is above a limit                         |

Each says so once when it begins, and once more when it has not held for as many steps. Depth k > 1 has an alarm of its own, such as
`acceptance_collapse/depth_2`. Thresholds: section `alarms` of the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trainer.config import CrossEntropy, Occ, Oracle, Policy, RunConfig, Warm
from trainer.errors import NotFiniteError

FIRST_STEPS = 5
"""Steps whose mean a value is compared with."""

NAMES = ("entropy_collapse", "coefficient_at_clip", "acceptance_collapse", "zero_variance", "log_prob_gap")
"""The alarms that begin and end."""

LASTING = ("new_heads",)
"""Warnings, told once, of what holds for the whole run."""

Metrics = Mapping[str, float]


class Notice(NamedTuple):
    """The fields of an `alarm` event: one that begins (severity warning), one that is over (info), or what ends the run (error)."""

    severity: str
    name: str
    message: str


class _Check(NamedTuple):
    """Whether an alarm's condition holds in a step, and the words for it."""

    name: str
    holds: bool
    steps: int
    condition: str
    numbers: str
    advice: str


class Watch:
    """Looks at one step after the other and remembers which alarms are on."""

    def __init__(self, config: RunConfig):
        self._config = config
        self._first: dict[str, list[float]] = {}
        """Values of the first steps, by metric."""
        self._against: dict[str, int] = {}
        """Steps in a row that speak against an alarm being on or off as it is."""
        self._on: dict[str, int] = {}
        """The alarms that are on, with the step since which their condition holds."""

    def observe(self, step: int, metrics: Metrics, mini_batches: Sequence[Metrics]) -> list[Notice]:
        """The alarms that begin or end with this step.

        Args:
            step: the step, from 1.
            metrics: its step-level metrics.
            mini_batches: the metrics of its mini-batches, in their order.
        """
        return [notice for check in self._checks(metrics, mini_batches) if (notice := self._taken(check, step))]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain values."""
        return {
            "first": {name: list(values) for name, values in self._first.items()},
            "against": dict(self._against),
            "on": dict(self._on),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self._first = {name: list(values) for name, values in state["first"].items()}
        self._against, self._on = dict(state["against"]), dict(state["on"])

    def _taken(self, check: _Check, step: int) -> Notice | None:
        is_on = check.name in self._on
        self._against[check.name] = self._against.get(check.name, 0) + 1 if check.holds != is_on else 0
        if self._against[check.name] < check.steps:
            return None
        self._against[check.name] = 0
        since, numbers = step - check.steps + 1, f"{check.numbers} in step {step}"
        if is_on:
            del self._on[check.name]
            return Notice("info", check.name, f"over since step {since}: {check.condition} ({numbers})")
        self._on[check.name] = since
        message = f"{check.condition} since step {since} ({numbers}). {check.advice}"
        return Notice("warning", check.name, message)

    def _checks(self, metrics: Metrics, mini_batches: Sequence[Metrics]) -> Iterator[_Check]:
        yield from self._fallen(
            "entropy_collapse", "policy/entropy", metrics, self._config.alarms.entropy_fraction, _ENTROPY_ADVICE
        )
        for depth in range(1, self._config.model.mtp_depths + 1):
            suffix, prefix = ("", "mtp/") if depth == 1 else (f"/depth_{depth}", f"mtp/depth_{depth}/")
            fraction, advice = self._config.alarms.acceptance_fraction, _acceptance_advice(self._config)
            yield from self._fallen(
                f"acceptance_collapse{suffix}", f"{prefix}acceptance_greedy", metrics, fraction, advice
            )
            yield from _at_clip(f"coefficient_at_clip{suffix}", f"{prefix}coefficient", mini_batches, self._config)
        yield from _zero_variance(metrics, self._config)
        yield from _log_prob_gap(metrics, self._config)

    def _fallen(self, name: str, metric: str, metrics: Metrics, fraction: float, advice: str) -> Iterator[_Check]:
        """A metric below a fraction of its mean over the first steps."""
        value = metrics.get(metric, math.nan)
        if not math.isfinite(value):  # there is no acceptance where no head predicts anything
            return
        first = self._first.setdefault(metric, [])
        if len(first) < FIRST_STEPS:
            first.append(value)
            return
        mean = sum(first) / len(first)
        yield _Check(
            name=name,
            holds=value < fraction * mean,
            steps=self._config.alarms.steps,
            condition=f"{metric} below {100 * fraction:g} % of its mean over the first {FIRST_STEPS} steps",
            numbers=f"{value:.3g} against {mean:.3g}",
            advice=advice,
        )


def not_finite(error: NotFiniteError, config: RunConfig, step: int, last_checkpoint: int | None) -> Notice:
    """What ended the run in `step`, the last good checkpoint, and what to change before going on from there."""
    if step == 0:
        model = config.model.path
        message = f"{error} before anything was trained, so that it is the model: `mtprl verify {model}` names its tensors that are not finite"
        return Notice("error", "not_finite", message)
    regime = config.regime
    changes = [f"lower optimizer.lr ({config.optimizer.lr:g})"]
    if isinstance(regime, CrossEntropy | Policy) and regime.coefficient:
        changes.append(f"bring regime.coefficient ({regime.coefficient:g}) nearer to 0")
    if isinstance(regime, Occ | Oracle) and regime.clip is None:
        changes.append("bound the coefficient with regime.clip, such as [0, 1]")
    saved = (
        "No checkpoint was saved before that"
        if last_checkpoint is None
        else f"The last good checkpoint is of step {last_checkpoint}"
    )
    message = f"{error} in step {step}, so the run ends there and nothing was updated with it. {saved}. "
    return Notice(
        "error", "not_finite", f"{message}The same settings would lead to the same again: {' or '.join(changes)}."
    )


_ENTROPY_ADVICE = (
    "The policy hardly explores any more, so that its responses to a prompt become all alike. If the accuracy is not yet where you want "
    "it, go back to a checkpoint before that and lower optimizer.lr, or raise algorithm.clip_ratio_high."
)


def _acceptance_advice(config: RunConfig) -> str:
    kind, head_loss = config.regime.kind, config.mtp.head_loss
    trouble = "The heads do not follow the policy any more; drafts are of less and less use."
    if kind == "off":
        return f"{trouble} Regime off leaves the heads as loaded: use detach, which changes nothing for the policy."
    if kind == "warm":
        return f"{trouble} Lower optimizer.lr."
    if kind == "detach" or head_loss == "ce":
        return f"{trouble} Raise mtp.head_loss_scale, or lower optimizer.lr."
    return f"{trouble} Set mtp.head_loss to ce: the heads then learn by themselves, whatever the coefficient is."


def _at_clip(name: str, metric: str, mini_batches: Sequence[Metrics], config: RunConfig) -> Iterator[_Check]:
    """A coefficient that the clip decides, not the calibration."""
    regime = config.regime
    if not isinstance(regime, Occ | Oracle) or regime.clip is None:
        return
    by_rule = isinstance(regime, Occ) and regime.exact_every is None  # 0 on the first mini-batch, whatever the clip
    values = [values[metric] for values in mini_batches][1 if by_rule else 0 :]
    low, high = regime.clip
    yield _Check(
        name=name,
        holds=all(math.isclose(value, low) or math.isclose(value, high) for value in values),
        steps=config.alarms.coefficient_steps,
        condition=f"{metric} on a bound of regime.clip [{low:g}, {high:g}] in every mini-batch",
        numbers=", ".join(f"{value:.3g}" for value in values),
        advice="The clip decides, not the calibration: this is a fixed coefficient. To let it be measured, widen regime.clip"
        f"{', average with regime.ema, such as 0.9,' if _may_average(regime) else ''} "
        "or make mini-batches larger (rollout.prompts_per_step up, update.mini_batches down).",
    )


def _may_average(regime: Occ | Oracle) -> bool:
    """Whether `ema` is a setting that would be taken here and is not yet used."""
    if not isinstance(regime, Occ) or regime.ema is not None:
        return False
    return regime.estimator == "ratio_of_sums" and regime.window != "micro_batch"


def _zero_variance(metrics: Metrics, config: RunConfig) -> Iterator[_Check]:
    """Hardly any prompt that something can be learned from."""
    if isinstance(config.regime, Warm):  # rewards teach nothing
        return
    share, accuracy = metrics["reward/zero_variance_fraction"], metrics["reward/accuracy"]
    limit = config.alarms.zero_variance_share
    other = "harder" if accuracy > 0.5 else "easier"
    decay = ", while optimizer.weight_decay goes on making parameters smaller" if config.optimizer.weight_decay else ""
    yield _Check(
        name="zero_variance",
        holds=share > limit,
        steps=config.alarms.steps,
        condition=f"reward/zero_variance_fraction above {100 * limit:g} %",
        numbers=f"{100 * share:.0f} %, accuracy {100 * accuracy:.0f} %",
        advice=f"Prompts whose responses all get the same reward teach nothing{decay}. Take {other} problems, raise "
        "rollout.samples_per_prompt, or replace such prompts with rollout.dynamic_sampling_rounds.",
    )


def _log_prob_gap(metrics: Metrics, config: RunConfig) -> Iterator[_Check]:
    """A sampler that computes something else than the trainer."""
    gap, limit = metrics["rollout/log_prob_gap"], config.alarms.log_prob_gap
    if not limit:
        return
    yield _Check(
        name="log_prob_gap",
        holds=gap > limit,
        steps=config.alarms.steps,
        condition=f"rollout/log_prob_gap above {limit:g} nats",
        numbers=f"{gap:.3g}",
        advice="The sampler's log-probs are not the trainer's, so that the responses are not the policy's own. Log-probs that training "
        f"uses are its own all the same. {_gap_advice(config)}",
    )


def _gap_advice(config: RunConfig) -> str:
    if config.rollout.engine == "builtin":
        return "Set model.mixed_precision to no and see whether that is why."
    return "Set model.mixed_precision to no, then rollout.engine to builtin, and see which of the two brings it down."
