"""Charts as SVG text: intervals against 0, and lines by step.

The background is transparent and text and axes are mid-grey, so that they can be read on a light page and on a dark one.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import floor, log10
from typing import NamedTuple

from benchmarks.intervals import Mean

WIDEST = 838
"""Pixels that a page on GitHub is wide; wider charts would be shrunk there, text and all."""
GREY, FAINT = "#7b8088", "#7b808855"
_FONT = 'font-family="system-ui, sans-serif" font-size="12"'
_DASHES = ("", "6 3", "2 3")


class Line(NamedTuple):
    """A line of a chart."""

    name: str
    colour: str
    values: Sequence[float]
    """At equal distances from the first x to the last."""
    dash: int = 0


class Panel(NamedTuple):
    """A chart of lines."""

    title: str
    x: tuple[float, float]
    lines: Sequence[Line]
    is_log: bool = False
    """Whether the vertical axis is logarithmic; all values are then above 0."""


def intervals(
    rows: Sequence[tuple[str, str, Mean, Sequence[float]]], limits: tuple[float, float], unit: str, title: str
) -> str:
    """A row for each (name, colour, mean with interval, parts): a dot with its interval, and a ring for each part.

    What lies beyond the limits is a triangle at the edge: a hollow one for a part or an end of the interval, a full one with the number for
    the mean.
    """
    left, width, height = 190, 560, 24
    bottom = 40 + height * len(rows)
    low, high = limits

    def x(value: float) -> float:
        return left + width * (max(low, min(high, value)) - low) / (high - low)

    parts = [_text(left + width / 2, 16, title, "middle")]
    for tick in _ticks(low, high):
        parts.append(_stroke(x(tick), 28, x(tick), bottom, GREY if tick == 0 else FAINT))
        parts.append(_text(x(tick), bottom + 16, f"{tick:+g}" if tick else "0", "middle"))
    parts.append(_text(left + width / 2, bottom + 34, unit, "middle"))
    for place, (name, colour, mean, values) in enumerate(rows):
        y = 40 + height * (place + 0.5)
        parts.append(_text(left - 12, y + 4, name, "end"))
        if not low <= mean.value <= high:
            side = 1 if mean.value > high else -1
            parts.append(_triangle(x(mean.value), y, side, colour, colour))
            shown = f"{mean.value:+.1f} ± {mean.half:.1f}"
            parts.append(_text(x(mean.value) - 14 * side, y + 4, shown, "end" if side > 0 else "start"))
            continue
        for value in values:
            if low <= value <= high:
                parts.append(f'<circle cx="{x(value):.1f}" cy="{y:.1f}" r="3" fill="none" stroke="{colour}"/>')
        for value in (*values, mean.low, mean.high):
            if value < low or value > high:
                parts.append(_triangle(x(value), y, 1 if value > high else -1, colour, "none"))
        if mean.half == mean.half:
            parts.append(_stroke(x(mean.low), y, x(mean.high), y, colour, 2.5))
        parts.append(f'<circle cx="{x(mean.value):.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>')
    return _svg(left + width + 30, bottom + 44, title, parts)


def lines(panels: Sequence[Panel], unit: str, title: str) -> str:
    """Panels side by side with one legend under them; a name has the same colour and dash in all panels."""
    left, height, gap, top = 56, 210, 60, 34
    width = min(270.0, (WIDEST - left - 20 + gap) / len(panels) - gap)
    bottom = top + height
    parts = []
    for place, panel in enumerate(panels):
        start = left + place * (width + gap)
        parts += _panel(panel, start, top, width, height)
        parts.append(_text(start + width / 2, bottom + 32, unit, "middle"))
    total = left + len(panels) * (width + gap) - gap + 20
    named = {line.name: line for panel in panels for line in panel.lines}
    x, y = left, bottom + 56
    for line in named.values():
        space = 40 + 7 * len(line.name)
        if x + space > total:
            x, y = left, y + 20
        parts.append(_stroke(x, y - 4, x + 22, y - 4, line.colour, 2.2, line.dash))
        parts.append(_text(x + 28, y, line.name, "start"))
        x += space
    return _svg(total, y + 14, title, parts)


def _panel(panel: Panel, left: float, top: float, width: float, height: float) -> list[str]:
    values = [value for line in panel.lines for value in line.values]
    scaled = [log10(value) for value in values] if panel.is_log else values
    low, high = min(scaled), max(scaled)
    pad = 0.05 * (high - low or 1.0)
    low, high = low - pad, high + pad

    def y(value: float) -> float:
        return top + height * (high - (log10(value) if panel.is_log else value)) / (high - low)

    parts = [_text(left + width / 2, top - 14, panel.title, "middle")]
    ticks = [10.0**power for power in range(floor(low) + 1, floor(high) + 1)] if panel.is_log else _ticks(low, high)
    for tick in ticks:
        parts.append(_stroke(left, y(tick), left + width, y(tick), FAINT))
        parts.append(_text(left - 6, y(tick) + 4, f"{tick:g}", "end"))
    first, last = panel.x
    for tick in _ticks(first, last):
        parts.append(_text(left + width * (tick - first) / (last - first), top + height + 16, f"{tick:g}", "middle"))
    for line in panel.lines:
        step = width / (len(line.values) - 1)
        path = " ".join(f"{left + step * i:.1f},{y(value):.1f}" for i, value in enumerate(line.values))
        dash = f' stroke-dasharray="{_DASHES[line.dash]}"' if line.dash else ""
        parts.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to nine of them."""
    size = 10.0 ** floor(log10((high - low) / 4))
    step = next(size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 8)
    first = -floor(-low / step)
    return [round(step * place, 10) for place in range(first, floor(high / step + 1e-9) + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{GREY}" {_FONT}>{escape(text)}</text>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: int = 0) -> str:
    pattern = f' stroke-dasharray="{_DASHES[dash]}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"{pattern}/>'


def _triangle(x: float, y: float, side: int, colour: str, fill: str) -> str:
    return f'<path d="M{x:.1f} {y:.1f} l{-9 * side} -5 v10 z" fill="{fill}" stroke="{colour}"/>'


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">'
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>", ""])
