"""The charts of Compare, and what is said below each. Pure: lines in, figures and sentences out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import plotly.graph_objects as go

from backend import charts, words
from backend.audits import Audits
from backend.comparison import axes
from backend.comparison.groups import Group
from backend.comparison.lines import FEWEST_FOR_INTERVAL, Averaged, Chart
from backend.palette import regime_colour
from dashboard.run_charts import PERCENT
from db.reads import RunDetail
from trainer.evaluation.statistics import SEEDS_FOR_METHODS

HEIGHT = 340
_FEW = 15  # points that get markers
_PROXIES = {"proxy_main": "main", "proxy_own": "own"}


def figure(chart: Chart, *, axis: str) -> go.Figure:
    """The runs' own lines, faint where there are means, and the means with their intervals."""
    faint = bool(chart.averaged)
    share = is_share(chart.metric)
    lines = [
        charts.Line(
            escape(f"{one.run.id} · {one.run.name}"),
            one.x,
            one.y,
            one.group.colour,
            dash="solid" if faint else one.group.dash,
            opacity=0.28 if faint else 1.0,
            width=1 if faint else 1.8,
            mode="lines+markers" if len(one.x) < _FEW and not faint else "lines",
            in_legend=False,
            hover=not faint,
        )
        for one in chart.raw
    ]
    lines += [_mean_line(one, share) for one in chart.averaged]
    title = chart.metric.replace("_at_", "@")
    drawn = charts.lines(title, lines, y_format=PERCENT if share else "", x_title=axes.TITLES[axis], height=HEIGHT)
    drawn.update_layout(showlegend=False, margin_t=38)
    return drawn


def is_share(metric: str) -> bool:
    """It is read as a percentage."""
    return metric.startswith("eval/") or metric.endswith(("accuracy", "fraction")) or "acceptance" in metric


def notes(chart: Chart, *, most_raw: int, width: int) -> list[str]:
    """What is to be said of a chart, a sentence each."""
    changing = [one.group.name for one in chart.averaged if len(set(one.n)) > 1]
    alone = [
        one.group.name for one in chart.averaged if max(one.n) < FEWEST_FOR_INTERVAL and len(one.group.averaged) == 1
    ]
    if all(len(one.group.runs) == 1 for one in chart.averaged):
        alone = []  # lines of single runs, of which nobody expects an interval
    found = [
        "Only single mini-batches have this metric: no mean of steps is drawn." if chart.fine else "",
        f"Of runs with more than {most_raw:,} values the smallest and the largest of every stretch are drawn."
        * chart.thinned,
        f"A mean's point is over {words.plural(width, 'step')}." if width > 1 and chart.averaged else "",
        f"n changes along the line of {_listed(changing)}: not all runs have a finite value at every step."
        if changing
        else "",
        f"One run only, so no interval: {_listed(alone)}." if alone else "",
        f"Has not measured it: {_listed(chart.without)}." if chart.without else "",
    ]
    return [sentence for sentence in found if sentence]


def agreement(audits: Mapping[int, tuple[RunDetail, Audits]], proxy: str) -> go.Figure | None:
    """A proxy over the exact coefficient, all runs in one picture; None where no run has it."""
    clouds = []
    for run, of_run in audits.values():
        steps, exact, estimated = of_run.finite("coefficient", proxy)
        if steps:
            symbol = "circle" if proxy == "proxy_main" else "diamond"
            name = escape(f"{run.id} · {run.name}")
            clouds.append(
                charts.Dots(exact, estimated, [int(step) for step in steps], regime_colour(run.regime), symbol, name)
            )
    if not clouds:
        return None
    reference = _PROXIES[proxy]
    title = f"λ by reference {reference} against exact λ"
    return charts.scatter(title, clouds, x_title="exact λ", y_title=f"proxy, reference {reference}", height=HEIGHT)


def correlations(audits: Mapping[int, tuple[RunDetail, Audits]]) -> list[list[str]]:
    """Rows [run, audits, ρ of reference main, of reference own], in words."""
    rows = []
    for run, of_run in audits.values():
        cells = [
            "–" if math.isnan(rank.value) else "{:.2f} ({:.2f} … {:.2f})".format(*rank[:3]).replace("-", "−")
            for proxy in _PROXIES
            for rank in (of_run.correlation("coefficient", proxy),)
        ]
        rows.append([f"{run.id} · {run.name}", f"{len(of_run.steps)}", *cells])
    return rows


def caution(groups: Sequence[Group]) -> str:
    """What the lines allow to be said, where that is little; empty for lines of single runs."""
    several = [group for group in groups if len(group.runs) > 1 or len(groups) < sum(len(one.runs) for one in groups)]
    few = [f"{group.name} (n {len(group.averaged)})" for group in several if len(group.averaged) < SEEDS_FOR_METHODS]
    mixed = [group.name for group in groups if group.methods > 1]
    out = sorted({run_id for group in groups for run_id in group.left_out})
    said = [
        f"Fewer than {SEEDS_FOR_METHODS} runs say something of these runs, not of these methods: {_listed(few)}."
        if few
        else "",
        f"These hold runs that differ in more than their seed, and their bands are over that, too: {_listed(mixed)}."
        if mixed
        else "",
        f"Drawn faint but not averaged, because they failed, were stopped or have a newer run with the same seed: {words.listed_briefly(out)}."
        if out
        else "",
    ]
    return " ".join(sentence for sentence in said if sentence)


def _mean_line(one: Averaged, share: bool) -> charts.Line:
    scale, unit = (100, " points") if share else (1, "")
    beside = [
        f"(n {n}, no interval)" if math.isnan(half) else f"± {words.number(scale * half, 2)}{unit} (n {n})"
        for half, n in zip(one.half, one.n, strict=True)
    ]
    single = len(one.group.runs) == 1
    # Where there is no interval the band has no width.
    half = [0.0 if math.isnan(each) else each for each in one.half]
    return charts.Line(
        escape(one.group.name),
        one.x,
        one.y,
        one.group.colour,
        one.group.dash,
        width=2.4,
        low=None if single else [y - each for y, each in zip(one.y, half, strict=True)],
        high=None if single else [y + each for y, each in zip(one.y, half, strict=True)],
        mode="lines+markers" if len(one.x) < _FEW else "lines",
        in_legend=False,
        notes=None if single else beside,
    )


def _listed(names: Sequence[str]) -> str:
    shown = "; ".join(names[:6])
    return f"{shown}; and {len(names) - 6} more" if len(names) > 6 else shown
