"""Charts as pure functions: data in, Plotly figure out. No Streamlit, no store.

Backgrounds are transparent and axis colours are left to the page's theme, so that one figure serves light and dark. Lines are
SVG (`go.Scatter`): browsers allow only a handful of WebGL canvases per page. `uirevision` keeps a zoom while new points arrive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go

HEIGHT = 270
MUTED = "#8A8794"
_FIFTH = 0.2
_MANY = 100  # dots
_ONE_ROW = 3  # entries of a legend
_MARKER = 0.015  # of the axis
_LABELS, _TITLE = 50, 20  # pixels beside an axis


@dataclass(frozen=True)
class Line:
    """One line: its points, how it looks, and, where given, an interval around each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    dash: str = "solid"
    opacity: float = 1.0
    width: float = 1.8
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    mode: Literal["lines", "lines+markers", "markers"] = "lines"
    in_legend: bool = True
    hover: bool = True
    """It tells its value where the pointer is."""
    notes: Sequence[str] | None = None
    """What is said behind the value of each point where the pointer is."""


@dataclass(frozen=True)
class Dots:
    """Pairs of finite values, and the step that each is of."""

    x: Sequence[float]
    y: Sequence[float]
    steps: Sequence[int]
    colour: str
    symbol: str = "circle"
    name: str = ""


@dataclass(frozen=True)
class Row:
    """One row of an interval plot; values are shares, such as 0.42."""

    label: str
    value: float
    low: float
    high: float
    colour: str


def lines(
    title: str,
    data: Sequence[Line],
    *,
    y_title: str = "",
    log: bool = False,
    clip: Sequence[float] | None = None,
    from_zero: bool = False,
    y_format: str = "",
    note: str = "",
    x_title: str = "step",
    height: int = HEIGHT,
) -> go.Figure:
    """Lines over training steps, or over what `x_title` says. `log` needs `can_be_log`; `from_zero` keeps 0 in sight; `clip` are the bounds [low, high] of the value; `note` stands behind the title."""
    figure = go.Figure()
    for line in data:
        if line.low is not None and line.high is not None:
            figure.add_trace(_band(line))
        figure.add_trace(_trace(line, y_format, log))
    if clip is not None:
        _draw_clip(
            figure, clip, highest=max((value for line in data for value in line.y if value == value), default=0.0)
        )
    _dress(figure, _with_note(title, note), height=height, legend=sum(line.in_legend for line in data))
    figure.update_xaxes(title=x_title, rangemode="tozero")
    figure.update_yaxes(
        title=y_title or None,
        type="log" if log else "linear",
        tickformat=y_format.replace("%", "~%") or None,  # 90%, and 97.5% where it takes the digit
        exponentformat="e",
        minexponent=5,
        separatethousands=True,
    )
    if from_zero and not log:
        figure.update_yaxes(rangemode="tozero")
    return figure


def stacked(title: str, data: Sequence[Line], *, y_title: str, height: int = HEIGHT) -> go.Figure:
    """Parts of a whole, stacked as areas over training steps, each step as wide as another. All lines share their x."""
    figure = go.Figure()
    for line in data:
        figure.add_trace(
            go.Scatter(
                x=list(line.x),
                y=list(line.y),
                name=line.name,
                mode="lines",
                stackgroup="parts",
                # Steps, not slopes: what only some steps have must not seem to grow and shrink between them.
                line={"color": line.colour, "width": 0.8, "shape": "hvh"},
                hovertemplate="%{y:.3g} s",
            )
        )
    _dress(figure, title, height=height, legend=len(data))
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=y_title, rangemode="tozero")
    return figure


def scatter(
    title: str, clouds: Sequence[Dots], *, x_title: str, y_title: str, diagonal: bool = False, height: int = HEIGHT
) -> go.Figure:
    """One measurement against another, with dotted lines at 0, and where both would be equal if `diagonal`."""
    figure = go.Figure()
    for dots in clouds:
        said = f"{dots.name}, step" if dots.name else "step"
        figure.add_trace(
            go.Scatter(
                x=list(dots.x),
                y=list(dots.y),
                name=dots.name,
                customdata=list(dots.steps),
                mode="markers",
                marker={"color": dots.colour, "symbol": dots.symbol, "size": 8, "opacity": 0.75},
                hovertemplate=f"{said} %{{customdata}}: (%{{x:.3g}}, %{{y:.3g}})<extra></extra>",
            )
        )
    _dress(figure, title, height=height, legend=0)
    # Ranges of their own: lines would otherwise widen the axes and press the dots together.
    x_range = _padded([x for dots in clouds for x in dots.x])
    y_range = _padded([y for dots in clouds for y in dots.y])
    faint = {"color": MUTED, "width": 1}
    if diagonal:
        low, high = min(x_range[0], y_range[0]), max(x_range[1], y_range[1])
        figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line={**faint, "dash": "dash"}, layer="below")
    figure.add_vline(x=0, line={**faint, "dash": "dot"}, layer="below")
    figure.add_hline(y=0, line={**faint, "dash": "dot"}, layer="below")
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(title=x_title, range=x_range, exponentformat="e", minexponent=5)
    figure.update_yaxes(title=y_title, range=y_range, exponentformat="e", minexponent=5)
    return figure


def share_steps(figures: Sequence[go.Figure]) -> None:
    """Give charts over steps the same axis, from 0 to the last step of any of them, so that neighbours can be read together.

    Their left margins are the same, too, however long the labels of each are.
    """
    last = max((x for figure in figures for trace in figure.data for x in trace.x), default=0)
    titled = any(figure.layout.yaxis.title.text for figure in figures)
    for figure in figures:
        figure.update_layout(margin_l=_LABELS + (_TITLE if titled else 0))
        figure.update_yaxes(automargin=False)
        if last > 0:  # beyond both ends there is room for a marker
            figure.update_xaxes(range=(-_MARKER * last, (1 + _MARKER) * last))


def intervals(title: str, rows: Sequence[Row], *, difference: bool = False) -> go.Figure:
    """Shares with their intervals, one row each, the first on top; a difference in points, with its sign and a line at 0."""
    figure = go.Figure()
    scale, shown, unit = (100, "+.1f", " points") if difference else (1, ".1%", "")
    for row in rows:
        figure.add_trace(
            go.Scatter(
                x=[scale * row.value],
                y=[row.label],
                mode="markers",
                marker={"color": row.colour, "size": 11},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [scale * (row.high - row.value)],
                    "arrayminus": [scale * (row.value - row.low)],
                    "color": row.colour,
                    "thickness": 2.2,
                    "width": 6,
                },
                hovertemplate=f"%{{x:{shown}}}{unit}, interval {scale * row.low:{shown}} … {scale * row.high:{shown}}<extra></extra>",
            )
        )
    deepest = max((row.label.count("<br>") for row in rows), default=0)
    _dress(figure, title, height=100 + max(42, 18 * (deepest + 1)) * len(rows), legend=0)
    if difference:
        figure.add_vline(x=0, line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_layout(hovermode="closest")
    figure.update_xaxes(tickformat="+~g" if difference else ".0%", labelalias={"+0": "0"}, showgrid=True)
    if difference:
        figure.update_xaxes(title="points")
    labels = [row.label for row in rows]
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=labels[::-1],
        range=[-0.6, len(rows) - 0.4],
        showgrid=False,
        automargin=True,
    )
    return figure


def can_be_log(data: Sequence[Line]) -> bool:
    """A logarithmic axis makes sense: no value is negative and some are above 0. Zeros have no place on it and are left out."""
    values = [value for line in data for value in line.y if value == value]
    return bool(values) and min(values) >= 0 and max(values) > 0


def positions(steps: Sequence[int], mini_batches: Sequence[int], per_step: int) -> list[float]:
    """Where each value stands on the step axis: mini-batch i of n of step s at s - 1 + (i + 1) / n, so that the last one stands at s.

    Step-level values (mini-batch -1) stand at their step.
    """
    return [
        step if mini_batch < 0 else step - 1 + (mini_batch + 1) / per_step
        for step, mini_batch in zip(steps, mini_batches, strict=True)
    ]


def _draw_clip(figure: go.Figure, clip: Sequence[float], highest: float) -> None:
    """Draw the bounds, and keep them in sight unless that would press the values flat."""
    low, high = clip
    for bound in clip:
        figure.add_hline(
            y=bound,
            line={"color": MUTED, "width": 1, "dash": "dot"},
            annotation={"text": f"clip {bound:g}", "font": {"size": 11, "color": MUTED}},
            annotation_position="top right" if bound == high else "bottom right",
        )
    if highest > low + _FIFTH * (high - low):
        # Room beyond the bounds shows that a value lies on one, and holds the labels.
        figure.update_yaxes(range=(low - 0.14 * (high - low), high + 0.14 * (high - low)))


def _trace(line: Line, y_format: str, log: bool) -> go.Scatter:
    return go.Scatter(
        x=list(line.x),
        y=[None if log and value <= 0 else value for value in line.y],
        name=line.name,
        mode="lines+markers" if line.mode == "lines" and len(line.x) == 1 else line.mode,
        line={"color": line.colour, "width": line.width, "dash": line.dash},
        marker={"size": 3.5 if line.mode == "markers" and len(line.x) > _MANY else 6},
        opacity=line.opacity,
        showlegend=line.in_legend,
        customdata=list(line.notes) if line.notes is not None else None,
        hovertemplate=f"%{{y:{y_format or '.4g'}}}{' %{customdata}' if line.notes is not None else ''}"
        if line.hover
        else None,
        hoverinfo=None if line.hover else "skip",
    )


def _band(line: Line) -> go.Scatter:
    low, high = list(line.low or ()), list(line.high or ())
    return go.Scatter(
        x=[*line.x, *reversed(line.x)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=_translucent(line.colour, 0.18),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        name=f"{line.name}, 95 % interval",
    )


def _with_note(title: str, note: str) -> str:
    return f'{title}<span style="font-size:12px;font-weight:normal;opacity:0.65">  {note}</span>' if note else title


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """From the smallest to the largest value, with room for a marker."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.06 * abs(high) or 1.0
    return low - room, high + room


def _translucent(colour: str, alpha: float) -> str:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"


def _dress(figure: go.Figure, title: str, *, height: int, legend: int) -> None:
    """What all charts share; with more than one entry there is a legend, with room for as many rows as it has on a narrow screen."""
    rows = 0 if legend < 2 else 1 if legend <= _ONE_ROW else math.ceil(legend / 2)
    figure.update_layout(
        title={
            "text": title,
            "font": {"size": 15},
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "pad": {"t": 6},
        },
        height=height,
        margin={"l": 8, "r": 8, "t": 38 + 20 * rows, "b": 8},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        showlegend=rows > 0,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "title": None},
        uirevision="kept",
    )
