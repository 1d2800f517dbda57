"""Which charts a run has, and how its series become lines. Pure: series from the store in, figures out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from backend import charts, palette
from db.reads import Aligned, EvaluationRow, Series
from trainer.evaluation import statistics

PERCENT = ".1%"
_DASHES = ("solid", "11px,3px", "3px,3px")  # long ones: values of single steps leap, and must stay in sight


@dataclass(frozen=True)
class Chart:
    """One chart: its metrics with their names in the legend.

    `fine`: at mini-batch resolution where it was logged so. `clipped`: with the bounds of the coefficient.
    """

    title: str
    metrics: tuple[tuple[str, str], ...]
    y_title: str = ""
    y_format: str = ""
    fine: bool = False
    log_choice: bool = False
    from_zero: bool = False
    clipped: bool = False


def _agreement(name: str) -> tuple[tuple[str, str], ...]:
    """Metrics that compare the heads with the policy by teacher forcing, where no draft is made."""
    return ((f"{name}_greedy", "same most likely token"), (f"{name}_sampled", "overlap, Σ min(p, q)"))


COEFFICIENT_TAB = (
    Chart("Coefficient λ", (("mtp/coefficient", "coefficient"),), fine=True, clipped=True),
    Chart(
        "ĉ and v̂²", (("mtp/c_hat", "ĉ, correlation"), ("mtp/v2_hat", "v̂², perturbation")), fine=True, log_choice=True
    ),
    Chart("c and v², exact", (("mtp/c", "c, ⟨g_RL, g_MTP⟩"), ("mtp/v2", "v², ‖g_MTP‖²")), fine=True, log_choice=True),
    Chart("Gain of the MTP part", (("mtp/gain", "gain"),), fine=True),
    Chart("Heads agree with the policy", _agreement("mtp/acceptance"), y_format=PERCENT),
    Chart("Heads agree, on held-out prompts", _agreement("mtp/held_out_acceptance"), y_format=PERCENT),
    Chart("KL of the heads from the main head", (("mtp/divergence", "KL(main ‖ head)"),), y_title="nats per token"),
)
LEARNING_TAB = (
    Chart("Reward", (("reward/mean", "mean reward"),)),
    Chart(
        "Accuracy of the rollouts",
        (("reward/accuracy", "accuracy"), ("reward/zero_variance_fraction", "prompts without variance")),
        y_format=PERCENT,
        from_zero=True,
    ),
    Chart("Losses", (("policy/loss", "policy loss"), ("mtp/loss", "MTP loss"))),
    Chart("Entropy", (("policy/entropy", "entropy"),), y_title="nats per token", from_zero=True),
    Chart("Response length", (("rollout/length_mean", "mean length"),), y_title="tokens"),
    Chart(
        "Clipped and truncated",
        (("policy/clip_fraction", "tokens clipped"), ("rollout/truncated_fraction", "responses truncated")),
        y_format=PERCENT,
        from_zero=True,
    ),
    Chart(
        "Gradient norms",
        (("optim/grad_norm_trunk", "trunk"), ("optim/grad_norm_head", "heads")),
        log_choice=True,
        from_zero=True,
    ),
    Chart("Approximate KL from the old policy", (("policy/approx_kl", "KL"),), y_title="nats per token"),
    Chart("Learning rate", (("optim/lr", "learning rate"),), from_zero=True),
)
SPEED_TAB = (
    Chart(
        "Tokens per second",
        (("rollout/tokens_per_second", "while sampling"), ("step/tokens_per_second", "over the whole step")),
        y_title="tokens / s",
        from_zero=True,
    ),
    Chart("Heads agree with the policy", _agreement("mtp/acceptance"), y_format=PERCENT, from_zero=True),
    Chart(
        "Host: processor and memory",
        (("system/cpu", "processor"), ("system/memory", "memory")),
        y_format=PERCENT,
        from_zero=True,
    ),
    Chart("Disk of the run's folder", (("system/disk_free_gib", "free"),), y_title="GiB free", from_zero=True),
)
TIME_TITLE = "Seconds per step, by part"
STEP_SECONDS = "time/step_seconds"
_GPU = re.compile(r"system/gpu_(\d+)/utilization")
_DRAFTS = re.compile(r"rollout/draft_acceptance_(\d+)")


def at_depth(tab: Sequence[Chart], depth: int) -> tuple[Chart, ...]:
    """The same charts of another MTP depth."""
    if depth == 1:
        return tuple(tab)
    return tuple(
        replace(
            chart, metrics=tuple((name.replace("mtp/", f"mtp/depth_{depth}/"), label) for name, label in chart.metrics)
        )
        for chart in tab
    )


def gpu_charts(measured: Iterable[str]) -> tuple[Chart, ...]:
    """Use of the GPUs that were measured, a line for each."""
    numbers = sorted(int(found[1]) for name in measured if (found := _GPU.fullmatch(name)))
    return tuple(
        Chart(
            title,
            tuple((f"system/gpu_{number}/{what}", f"GPU {number}") for number in numbers),
            y_format=PERCENT,
            from_zero=True,
        )
        for title, what in (("GPUs: utilization", "utilization"), ("GPUs: memory", "memory"))
        if numbers
    )


def draft_charts(measured: Iterable[str]) -> tuple[Chart, ...]:
    """What the sampler took of the drafts that were made, a line for each length; none where nothing was drafted."""
    places = sorted(int(found[1]) for name in measured if (found := _DRAFTS.fullmatch(name)))
    lines = tuple(
        (f"rollout/draft_acceptance_{place}", "first token" if place == 1 else f"first {place} tokens")
        for place in places
    )
    return (Chart("Drafts accepted while sampling", lines, y_format=PERCENT, from_zero=True),) if lines else ()


def names(tab: Sequence[Chart], *, fine: bool) -> list[str]:
    """The metrics of the charts of a tab that are read at this resolution."""
    return list(dict.fromkeys(name for chart in tab if chart.fine or not fine for name, _ in chart.metrics))


def chart_lines(
    chart: Chart, coarse: Mapping[str, Series], fine: Mapping[str, Series], *, per_step: int, colour: str
) -> list[charts.Line]:
    """The chart's lines: at mini-batch resolution a dots with the step's mean as a line, else one line per metric.

    The first metric has `colour` where it is the chart's only one; several metrics have the series' own colours.
    """
    result = []
    for index, (name, label) in enumerate(chart.metrics):
        line_colour = colour if len(chart.metrics) == 1 else palette.SERIES[index % len(palette.SERIES)]
        detail, mean = fine.get(name) if chart.fine else None, coarse.get(name)
        if detail is not None and detail.steps and per_step > 1:
            x = charts.positions(detail.steps, detail.mini_batches, per_step)
            result.append(
                charts.Line(
                    f"{label}, mini-batch", x, detail.values, line_colour, opacity=0.45, mode="markers", in_legend=False
                )
            )
        if mean is not None and mean.steps:
            result.append(charts.Line(label, mean.steps, mean.values, line_colour, _DASHES[index % len(_DASHES)]))
    return result


def figure(
    chart: Chart, data: Sequence[charts.Line], *, log: bool = False, clip: Sequence[float] | None = None
) -> go.Figure:
    """The chart as a figure; `clip` are the bounds of the coefficient."""
    note = "dots: mini-batches" if any(line.mode == "markers" for line in data) else ""
    return charts.lines(
        chart.title,
        data,
        y_title=chart.y_title,
        y_format=chart.y_format,
        from_zero=chart.from_zero,
        clip=clip if chart.clipped else None,
        log=log and charts.can_be_log(data),
        note=note,
    )


def clip_bounds(config: Mapping[str, Any]) -> list[float] | None:
    """The clip of the coefficient that the configuration asks for, if any."""
    clip = config.get("regime", {}).get("clip")
    return list(clip) if clip else None


def updates_per_step(config: Mapping[str, Any]) -> int:
    """Mini-batches per step, over all passes."""
    update = config.get("update", {})
    return int(update.get("mini_batches", 1)) * int(update.get("epochs", 1))


def evaluation_figures(rows: Sequence[EvaluationRow], colour: str) -> list[go.Figure]:
    """One figure per benchmark: avg@k by step with its 95 % interval over the problems."""
    figures = []
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        own = sorted((row for row in rows if row.benchmark == benchmark), key=lambda row: row.step)
        estimates = [statistics.avg_at_k([{benchmark: row.outcomes}]) for row in own]
        line = charts.Line(
            f"avg@{own[-1].samples}",
            [row.step for row in own],
            [estimate.value for estimate in estimates],
            colour,
            low=[estimate.low for estimate in estimates],
            high=[estimate.high for estimate in estimates],
            mode="lines+markers",
        )
        title = f"{benchmark}, held out: avg@{own[-1].samples} with 95 % interval"
        figures.append(charts.lines(title, [line], y_format=PERCENT))
    return figures


def time_figure(parts: Aligned) -> go.Figure | None:
    """The parts of a step's time, stacked, those that few steps have on top; None before the first step.

    A part that was not logged at a step took no time there.
    """
    data = [
        charts.Line(
            name.removeprefix("time/").removesuffix("_seconds").replace("_", " "),
            parts.steps,
            [value if value == value else 0.0 for value in parts.values[name]],
            palette.SERIES[index % len(palette.SERIES)],
        )
        for index, name in enumerate(sorted(parts.values.keys() - {STEP_SECONDS}))
    ]
    data.sort(key=lambda line: line.y.count(0.0))
    return charts.stacked(TIME_TITLE, data, y_title="s", height=charts.HEIGHT + 20) if data else None
