"""How the runs went: held-out accuracy, reward, entropy and draft acceptance by step, the coefficient, and the time of a step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from backend import charts, words
from backend.report.curves import Curve, Mean, Means, curve, over_runs
from backend.report.document import Block, Cell, Figure, Marked, Section, Table, Text
from backend.report.gathered import MOST_POINTS, PARTS, Gathered, at_depth, depths
from backend.report.methods import Method
from trainer.evaluation.statistics import SEEDS_FOR_METHODS

_HEIGHT = 340
_COLUMNS = 8
_LONGEST_NAME = 60


class _Chart(NamedTuple):
    """One metric by step."""

    title: str
    metric: str
    is_share: bool = False
    from_zero: bool = False
    may_be_log: bool = False
    unit: str = ""


_CURVES = (
    _Chart("Reward", "reward/mean"),
    _Chart("Accuracy of the rollouts", "reward/accuracy", is_share=True),
    _Chart("Entropy", "policy/entropy", from_zero=True, unit="nats per token"),
    _Chart("Heads agree with the policy, greedy", "mtp/acceptance_greedy", is_share=True),
)
_COEFFICIENT = (
    _Chart("Coefficient λ", "mtp/coefficient"),
    _Chart("ĉ", "mtp/c_hat", unit="nats²"),
    _Chart("v̂²", "mtp/v2_hat", may_be_log=True, unit="nats²"),
)


def curves(found: Gathered) -> Section:
    """Accuracy, reward, entropy and draft acceptance."""
    if not found.means and not found.evaluation_means:
        return Section("Curves", [Text("No run has finished a step yet.")])
    evaluated = [
        _Chart(f"{name.removeprefix('eval/').replace('/avg_at_', ': avg@')}, held out", name, is_share=True)
        for name in sorted(name for name in found.metrics if name.startswith("eval/"))
    ]
    blocks: list[Block] = [Text(_how_to_read(found))]
    if evaluated:
        blocks += _figures(found, evaluated, found.evaluation_means, found.evaluation_width)
    else:
        blocks.append(Text("There is no curve of held-out accuracy, because no run evaluates itself while it trains."))
    return Section("Curves", [*blocks, *_figures(found, _CURVES, found.means, found.width)])


def coefficient(found: Gathered) -> Section:
    """λ, ĉ and v̂² by step, and their means over whole runs."""
    drawn = list(_figures(found, _COEFFICIENT, found.means, found.width))
    if not any(isinstance(block, Figure) for block in drawn):
        return Section("Coefficient", [Text("No run has a coefficient.")])
    rows: list[list[Cell]] = [
        [_marked(method), str(depth), str(n), *cells]
        for method in found.methods
        for depth in depths(found.metrics)
        for n, cells in _coefficients(found, method, depth)
    ]
    return Section(
        "Coefficient",
        [
            Text(
                "λ is the weight of the MTP loss; λ_t = λ₊ ĉ / (v̂² + ε) in regime occ, where it is 0 on the first mini-batch of each step by rule. "
                "A step's value is the mean over its mini-batches. ĉ: first-order correlation of the changes of the two heads; v̂²: the "
                "perturbation penalty; both summed over tokens."
            ),
            *drawn,
            Table("Means over whole runs, of those that finished", ("method", "depth", "n", "λ", "ĉ", "v̂²"), rows),
        ],
    )


def seconds(found: Gathered) -> Section:
    """Time of a step, and of its parts."""
    chart = _Chart("Seconds per step", "time/step_seconds", from_zero=True, unit="s")
    drawn = list(_figures(found, [chart], found.means, found.width))
    if not any(isinstance(block, Figure) for block in drawn):
        return Section("Seconds per step", [Text("No run has measured a step yet.")])
    rows: list[list[Cell]] = []
    measured = {metric for _, metric in found.means}
    parts = [part for part in PARTS if f"time/{part}_seconds" in measured]
    for method in found.methods:
        ids = method.finished
        total = over_runs(found.means, ids, chart.metric)
        if total is not None:
            each = [over_runs(found.means, ids, f"time/{part}_seconds") for part in parts]
            where = sorted({attempt.device for run_id in ids if (attempt := found.attempts.get(run_id))})
            shares = [_number(mean) for mean in each]
            rows.append([_marked(method), ", ".join(where) or "not known", str(total.seeds), _number(total), *shares])
    head = ("method", "device", "n", "step", *(part.replace("_", " ") for part in parts))
    note = Text(
        "Means over whole runs, of those that finished, in seconds. Runs that shared a machine slowed one another; what each had for itself is not recorded."
    )
    return Section("Seconds per step", [*drawn, Table("Time of a step and of its parts", head, rows, words=2), note])


def _coefficients(found: Gathered, method: Method, depth: int) -> Iterator[tuple[int, list[str]]]:
    ids = method.finished
    means = [over_runs(found.means, ids, at_depth(chart.metric, depth)) for chart in _COEFFICIENT]
    n = max((mean.seeds for mean in means if mean), default=0)
    if n:
        yield n, [_number(mean) for mean in means]


def _how_to_read(found: Gathered) -> str:
    stretch = f" A point is the mean over {words.plural(found.width, 'step')}." if found.width > 1 else ""
    return (
        f"Bold: mean over seeds; n is how many. Band: 95 % interval of that mean at each point by itself (Student's t over seeds), from "
        f"{SEEDS_FOR_METHODS} seeds on.{stretch} Faint: each run by itself, also those that are not averaged; of a run with more than "
        f"{MOST_POINTS} values the smallest and the largest of every stretch are drawn, {MOST_POINTS} points at most. A mean stands only where all "
        "seeds of the method have values for the same steps."
    )


def _figures(found: Gathered, wanted: Sequence[_Chart], means: Means, width: int) -> Iterator[Block]:
    for chart in wanted:
        by_method = {
            method.name: curve(means, [run.id for run in method.averaged], chart.metric) for method in found.methods
        }
        drawn = [
            (method, line) for method in found.methods if (line := by_method[method.name]) is not None and line.steps
        ]
        raw = list(_raw(found, chart.metric))
        if not drawn and not raw:
            continue
        without = [method.name for method in found.methods if by_method[method.name] is None]
        cut = [method.name for method, line in drawn if line.cut]
        notes = [
            f"Means over {width} steps." if width > 1 and not chart.metric.startswith("eval/") else "",
            f"The mean stands only where all seeds have values, and some have more: {'; '.join(cut)}." if cut else "",
            f"Not logged, or not averaged: {'; '.join(without)}." if without else "",
        ]
        lines = [*raw, *(_mean_line(method, line) for method, line in drawn)]
        figure = charts.lines(
            chart.title,
            lines,
            y_title=chart.unit,
            y_format=".0%" if chart.is_share else "",
            from_zero=chart.from_zero,
            log=chart.may_be_log and charts.can_be_log(lines),
            height=_HEIGHT + 12 * len(drawn),
        )
        yield Figure(
            figure,
            alt=f"{chart.title} by step: mean over seeds of {words.plural(len(drawn), 'method')} with 95 % intervals, {words.plural(len(raw), 'run')} behind",
            note=" ".join(filter(None, notes)),
            values=_values(chart, drawn) if drawn else None,
        )


def _raw(found: Gathered, metric: str) -> Iterator[charts.Line]:
    for method in found.methods:
        for run in method.runs:
            line = found.lines.get((run.id, metric))
            if line is not None:
                yield charts.Line(
                    f"run {run.id}",
                    line.steps,
                    [_short(value) for value in line.values],
                    method.colour,
                    opacity=0.22,
                    width=1,
                    in_legend=False,
                    hover=False,
                )


def _mean_line(method: Method, line: Curve) -> charts.Line:
    name = method.name if len(method.name) <= _LONGEST_NAME else f"{method.name[: _LONGEST_NAME - 1]}…"
    values = [_short(mean.value) for mean in line.means]
    known = line.seeds >= SEEDS_FOR_METHODS
    low, high = ([_short(mean.value + sign * mean.half) for mean in line.means] if known else None for sign in (-1, 1))
    steps = [_short(step) for step in line.steps]
    return charts.Line(
        f"{escape(name)}, n {line.seeds}", steps, values, method.colour, method.dash, width=2.6, low=low, high=high
    )


def _values(chart: _Chart, drawn: Sequence[tuple[Method, Curve]]) -> Table:
    """The means at some steps, from the first to the last."""
    steps = sorted({step for _, line in drawn for step in line.steps})
    places = sorted({round(place) for place in np.linspace(0, len(steps) - 1, min(_COLUMNS, len(steps)))})
    shown = [steps[place] for place in places]
    rows: list[list[Cell]] = []
    for method, line in drawn:
        at = dict(zip(line.steps, line.means, strict=True))
        cells = [_share(at.get(step)) if chart.is_share else _number(at.get(step)) for step in shown]
        rows.append([_marked(method), str(line.seeds), *cells])
    unit = "percent" if chart.is_share else chart.unit
    title = f"{chart.title}{f', {unit}' if unit else ''}, at some steps: mean over n seeds, ± half its 95 % interval"
    return Table(title, ("method", "n", *(f"step {step:g}" for step in shown)), rows)


def _marked(method: Method) -> Marked:
    return Marked(method.name, method.colour)


def _number(mean: Mean | None) -> str:
    if mean is None:
        return "–"
    # Equal values have a spread of rounding.
    half = 0.0 if mean.half < 1e-9 * abs(mean.value) else mean.half
    shown = "" if math.isnan(half) else f" ± {words.number(half, 2)}"
    return f"{words.number(mean.value)}{shown}"


def _share(mean: Mean | None) -> str:
    if mean is None:
        return "–"
    half = "" if math.isnan(mean.half) else f" ± {100 * mean.half:.1f}"
    return f"{100 * mean.value:.1f}{half}"


def _short(value: float) -> float:
    """To five digits, which a figure cannot show more of, and which take less room in the file."""
    return float(f"{value:.5g}")
