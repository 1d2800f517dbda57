"""Where a step stands on an axis of steps, sampled tokens, or hours on devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from db.reads import Reached, RunDetail, StretchMean

STEPS, TOKENS, HOURS = "Steps", "Tokens", "Hours"
AXES = (STEPS, TOKENS, HOURS)
TITLES = {STEPS: "step", TOKENS: "sampled tokens", HOURS: "hours on its devices"}
TOKEN_METRICS = ("rollout/tokens", "rollout/length_mean")

_HOUR = 3600.0


class Positions(NamedTuple):
    """Knots between which positions are interpolated; they are exact at the knots."""

    steps: Sequence[float]
    values: Sequence[float]

    def at(self, steps: Sequence[float]) -> list[float]:
        """Where these steps stand."""
        return [float(value) for value in np.interp(steps, self.steps, self.values)]


def by_tokens(run: RunDetail, counted: Sequence[StretchMean], lengths: Sequence[StretchMean]) -> Positions | None:
    """Tokens sampled until the end of each stretch; None where they are not known for every step.

    Args:
        counted: means of `rollout/tokens`.
        lengths: means of `rollout/length_mean`. Where the tokens were not counted, as in runs of earlier versions, it tells them, as long as
            every step samples equally many responses.
    """
    if (positions := _cumulated(counted, 1.0)) is not None:
        return positions
    rollout = run.config.get("rollout", {})
    prompts, samples = rollout.get("prompts_per_step"), rollout.get("samples_per_prompt")
    if not prompts or not samples or rollout.get("dynamic_sampling_rounds"):
        return None
    return _cumulated(lengths, float(prompts * samples))


def by_hours(reached: Sequence[Reached]) -> Positions | None:
    """Hours until the end of each step; None where no step's time is known."""
    if not reached:
        return None
    return Positions([0.0, *(one.step for one in reached)], [0.0, *(one.seconds / _HOUR for one in reached)])


def _cumulated(stretches: Sequence[StretchMean], factor: float) -> Positions | None:
    """None where some steps between the first and the last one have no value."""
    steps, totals = [0.0], [0.0]
    for one in stretches:
        steps.append(one.step + (one.values - 1) / 2)
        totals.append(totals[-1] + factor * one.mean * one.values)
    complete = len(steps) > 1 and sum(one.values for one in stretches) == round(steps[-1])
    return Positions(steps, totals) if complete else None
