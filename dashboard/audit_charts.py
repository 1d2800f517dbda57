"""What an audit says, as figures. Pure: the audits of a depth in, figures out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from backend import charts, palette
from backend.audits import Audits

USED = "mtp/coefficient"
RUNNING = 10
"""Audits that a running value is taken over."""

_FEWEST_RUNNING = 5
_WITH_MARKERS = 80  # audits
_BLUE, _GOLD, _GREEN = palette.SERIES[:3]


# --- one against the other -------------------------------------------------------------------------------


PROXIES = {"proxy_main": ("main", _BLUE, "circle"), "proxy_own": ("own", _GOLD, "diamond")}
"""By metric: the reference, and how its dots look."""


def proxy_figure(audits: Audits, proxy: str) -> go.Figure | None:
    """A proxy over the exact coefficient, a dot per audit; None without one. Each proxy has its own scale."""
    reference, colour, symbol = PROXIES[proxy]
    return _scatter(
        audits,
        "coefficient",
        proxy,
        f"λ by reference {reference} against exact λ",
        ("exact λ", f"proxy, reference {reference}"),
        colour,
        symbol,
    )


def change_figure(audits: Audits) -> go.Figure | None:
    """The measured change of the objective over the predicted one, with the line on which both are equal; None without any."""
    names, axes = ("predicted_change", "measured_change"), ("predicted", "measured")
    return _scatter(audits, *names, "Change by the MTP part", axes, _BLUE, "circle", diagonal=True)


def _scatter(
    audits: Audits,
    x: str,
    y: str,
    title: str,
    axes: tuple[str, str],
    colour: str,
    symbol: str,
    *,
    diagonal: bool = False,
) -> go.Figure | None:
    steps, first, second = audits.finite(x, y)
    if not steps:
        return None
    dots = charts.Dots(first, second, [int(step) for step in steps], colour, symbol)
    return charts.scatter(title, [dots], x_title=axes[0], y_title=axes[1], diagonal=diagonal)


# --- by step ---------------------------------------------------------------------------------------------


CHANGE_BY_STEP = "Change by the MTP part, by step"
_BY_STEP: dict[str, tuple[tuple[str, str, str], ...]] = {
    CHANGE_BY_STEP: (
        ("predicted_change", "predicted", _BLUE),
        ("measured_change", "measured", _GOLD),
    ),
    "Coefficient λ": (
        ("coefficient", "exact", _BLUE),
        ("coefficient_cross", "exact, across halves", _GOLD),
        ("used", "used", _GREEN),
    ),
    "c, correlation of the gradients": (("c", "same samples", _BLUE), ("c_cross", "across halves", _GOLD)),
    "v², size of the MTP gradient": (("v2", "same samples", _BLUE), ("v2_cross", "across halves", _GOLD)),
    "Cosine of the two gradients": (("cosine", "same samples", _BLUE),),
}


def by_step(audits: Audits) -> dict[str, go.Figure]:
    """The charts over steps that have data, by title."""
    figures = {}
    for title, metrics in _BY_STEP.items():
        data = [
            _line(audits.steps, audits.values[name], label, colour)
            for name, label, colour in metrics
            if name in audits.values
        ]
        if data:
            figures[title] = charts.lines(title, data)
    return figures


def signal_figure(audits: Audits, form: str = "") -> go.Figure | None:
    """Signal s and noise kappa of one form of the MTP loss ("" policy, "ce_"): dots per audit, lines over the last `RUNNING`.

    The lines are ratios of sums over those audits, not means of their ratios, which a denominator near 0 would rule. Few such dots may
    lie outside the picture; None without any audit.
    """
    data, drawn = [], []
    for name, label, colour, running in (
        ("signal", "signal s", _BLUE, _running_signal(audits, form)),
        ("noise", "noise κ", _GOLD, _running_noise(audits, form)),
    ):
        single = audits.values.get(form + name)
        if single:
            dots = charts.Line(
                f"{label}, one audit", audits.steps, single, colour, opacity=0.5, mode="markers", in_legend=False
            )
            data += [dots, charts.Line(label, audits.steps, running, colour, width=2.4)]
            drawn.append((single, running))
    if not data:
        return None
    title = "Signal and noise, " + ("cross-entropy form" if form else "policy form")
    low, high = _range(drawn)
    outside = sum(not low <= value <= high for single, _ in drawn for value in single if math.isfinite(value))
    figure = charts.lines(title, data, note=f"{outside} outside" if outside else "")
    figure.update_yaxes(range=(low, high))
    return figure


def running_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> list[float]:
    """Sum over sum of the last `RUNNING` audits; NaN where these hold too few pairs, or the denominators do not sum to more than 0."""
    result = []
    for end in range(1, len(numerator) + 1):
        window = slice(max(0, end - RUNNING), end)
        pairs = [
            pair for pair in zip(numerator[window], denominator[window], strict=True) if all(map(math.isfinite, pair))
        ]
        above, below = (sum(column) for column in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
        result.append(above / below if len(pairs) >= _FEWEST_RUNNING and below > 0 else math.nan)
    return result


def _running_signal(audits: Audits, form: str) -> list[float]:
    return running_ratio(_values(audits, f"{form}c_cross"), _values(audits, "g_rl_squared_cross"))


def _running_noise(audits: Audits, form: str) -> list[float]:
    """What the same samples add to the products across halves: the covariance over the variance."""
    both, cross = _values(audits, f"{form}c"), _values(audits, f"{form}c_cross")
    square, square_cross = _values(audits, "g_rl_squared"), _values(audits, "g_rl_squared_cross")
    return running_ratio(
        [a - b for a, b in zip(both, cross, strict=True)], [a - b for a, b in zip(square, square_cross, strict=True)]
    )


def _values(audits: Audits, name: str) -> Sequence[float]:
    return audits.values.get(name) or [math.nan] * len(audits.steps)


def _range(drawn: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float]:
    """Bounds that hold all running values and all but stray single ones."""
    inside = [0.0]
    for single, running in drawn:
        finite = [value for value in single if math.isfinite(value)] or [0.0]
        first, third = np.quantile(finite, [0.25, 0.75])
        reach = 3 * (third - first)
        inside += [value for value in finite if first - reach <= value <= third + reach]
        inside += [value for value in running if math.isfinite(value)]
    low, high = min(inside), max(inside)
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _line(steps: Sequence[int], values: Sequence[float], label: str, colour: str) -> charts.Line:
    return charts.Line(label, steps, values, colour, mode="lines+markers" if len(steps) <= _WITH_MARKERS else "lines")
