"""Smoothing of a line: what it does is said in words with it, and the values themselves stay in the chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["none", "mean", "ema"]


@dataclass(frozen=True)
class Smoothing:
    """How lines are smoothed: not at all, by a centred mean, or by an exponential moving average."""

    kind: Kind = "none"
    window: float = 9
    """Steps of the centred mean."""
    weight: float = 0.9
    """Of what came before, in the exponential moving average; 0 to below 1."""

    def __call__(self, steps: Sequence[float], values: Sequence[float]) -> list[float]:
        """The smoothed values, one per value. All values are finite: those that are not have been left out."""
        if self.kind == "mean":
            return centred_mean(steps, values, self.window)
        if self.kind == "ema":
            return moving_average(values, self.weight)
        return list(values)

    def says(self, width: int) -> str:
        """What it does, in words; `width` is how many steps a point is the mean of. Empty where it does nothing."""
        if self.kind == "mean":
            return (
                f"Bold: centred mean over {self.window:g} steps, half of them before and half after; shorter at both ends."
                + (f" A point is itself the mean over {width} steps." if width > 1 else "")
            )
        if self.kind == "ema":
            of = f", each of {width} steps," if width > 1 else ""
            return (
                f"Bold: exponential moving average over the points of a line{of} eᵢ = {self.weight:g} eᵢ₋₁ + {1 - self.weight:.3g} yᵢ, which begins "
                "with the first value and lags behind."
            )
        return ""


def centred_mean(steps: Sequence[float], values: Sequence[float], window: float) -> list[float]:
    """For each point the mean of the points whose step lies in (step - window / 2, step + window / 2]; of itself at least."""
    result: list[float] = []
    first = end = 0
    for place, step in enumerate(steps):
        while steps[first] <= step - window / 2 and first < place:
            first += 1
        while end < len(steps) and (steps[end] <= step + window / 2 or end <= place):
            end += 1
        # Summed anew for each point: differences of running sums lose the digits of small values among large ones.
        inside = values[first:end]
        result.append(sum(inside) / len(inside))
    return result


def moving_average(values: Sequence[float], weight: float) -> list[float]:
    """e_0 = y_0, e_i = weight e_(i-1) + (1 - weight) y_i."""
    result: list[float] = []
    for value in values:
        result.append(weight * result[-1] + (1 - weight) * value if result else value)
    return result
