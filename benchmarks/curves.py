"""Figures of the report, and the table of coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from backend.palette import regime_colour
from benchmarks import comparisons, plan
from benchmarks.comparisons import Contrast, over_blocks
from benchmarks.figures import Line, Panel, intervals, lines
from benchmarks.intervals import Mean
from benchmarks.markdown import plain, seeds, table
from benchmarks.plan import ARMS
from benchmarks.records import Block, Measure, final
from benchmarks.single import CURVE_POINTS

SHOWN = ("sorting", "dapo")
"""The block whose coefficients are drawn."""
ACCURACY = ("detach", "ce 0.1", "policy 1", "occ", "occ-calibrated", "oracle")
USED = ("occ", "occ, own reference", "occ-calibrated", "oracle")
LIMITS = (-8.0, 4.0)
"""Percentage points shown in the figure of differences."""
_DASH = {"occ, own reference": 1, "occ-calibrated": 2}


def differences(found: Sequence[Block], folder: Path) -> list[str]:
    """The figure of all differences to detach."""
    rows = []
    for arm in (arm.name for arm in ARMS if arm.name not in ("off", "detach")):
        mean = over_blocks(found, Contrast(arm), final)
        if mean is None:
            continue
        each = [comparisons.difference(block, Contrast(arm), final) for block in found]
        scaled = Mean(100 * mean.value, 100 * mean.half, mean.p, mean.n)
        rows.append((arm, _colour(arm), scaled, [100 * m.value for m in each if m is not None]))
    title = "Final accuracy minus detach's, paired by seed"
    (folder / "regimes-differences.svg").write_text(intervals(rows, LIMITS, "percentage points", title))
    return [
        "![Differences of final accuracy to detach](regimes-differences.svg)",
        "",
        f"*Dots: mean over the {len(found)} blocks with its 95 % interval (not adjusted); rings: the blocks by themselves; triangles: beyond the edge.*",
    ]


def section(found: Sequence[Block], folder: Path) -> list[str]:
    """Coefficients, and curves by step."""
    shown = next((block for block in found if (block.base, block.algorithm) == SHOWN), None)
    text = [
        "λ, mean over a run without each step's first mini-batch: what it would be in the detach run by each reference, and what it was in the runs of "
        "occ-official and of the oracle. Intervals are over seeds.",
        "",
        *_coefficients(found),
    ]
    if shown is None:
        return text
    (folder / "regimes-accuracy.svg").write_text(_accuracy(found))
    (folder / "regimes-coefficient.svg").write_text(_by_step(shown))
    part = plan.RECIPE["steps"] // CURVE_POINTS
    return [
        *text,
        "",
        "![Exact accuracy by step](regimes-accuracy.svg)",
        "",
        f"*Means over {seeds(len(shown.seeds))}, without intervals: the curves are not paired, so differences are to be read off the tables.*",
        "",
        "![λ, ĉ and v̂² by step](regimes-coefficient.svg)",
        "",
        f"*{shown.name}: means over {seeds(len(shown.seeds))} and {part} steps, without each step's first mini-batch; v̂² on a logarithmic axis. The oracle's λ "
        "is exact; it has no ĉ and v̂² of its own.*",
    ]


def _accuracy(found: Sequence[Block]) -> str:
    steps = (0.0, float(plan.RECIPE["steps"]))
    panels = [
        Panel(f"accuracy, %: {block.name}", steps, [_line(block, arm, "accuracy", 100) for arm in ACCURACY])
        for block in found
        if block.algorithm == SHOWN[1]
    ]
    return lines(panels, "step", "Exact accuracy by step")


def _by_step(shown: Block) -> str:
    steps = plan.RECIPE["steps"]
    part = steps / CURVE_POINTS
    middles = (part + 1) / 2, steps - (part - 1) / 2
    own = [arm for arm in USED if arm != "oracle"]
    panels = [
        Panel("λ", middles, [_line(shown, arm, "coefficient_curve") for arm in USED]),
        Panel("ĉ, nats²", middles, [_line(shown, arm, "c_hat_curve") for arm in own]),
        Panel("v̂², nats²", middles, [_line(shown, arm, "v2_hat_curve") for arm in own], is_log=True),
    ]
    return lines(panels, "step", f"Coefficient, c and v2: {shown.name}")


def _coefficients(found: Sequence[Block]) -> list[str]:
    def curve_mean(name: str) -> Measure:
        return lambda row: fmean(row[name]) if name in row else None

    head = [
        "base, algorithm",
        "detach: reference main",
        "detach: reference own",
        "occ-official: token_mean",
        "oracle: exact",
    ]
    asked = [
        ("detach", "coefficient_main_curve"),
        ("detach", "coefficient_own_curve"),
        ("occ-official", "coefficient_curve"),
        ("oracle", "coefficient_curve"),
    ]
    return table(
        head,
        [[b.name, *(plain(comparisons.level(b, arm, curve_mean(name)), 3) for arm, name in asked)] for b in found],
    )


def _line(block: Block, arm: str, name: str, scale: float = 1.0) -> Line:
    curves = [row[name] for row in block.runs[arm].values() if name in row]
    values = [scale * fmean(column) for column in zip(*curves, strict=True)]
    return Line(arm, _colour(arm), values, _DASH.get(arm, 0))


def _colour(arm: str) -> str:
    values = next(known.values for known in ARMS if known.name == arm)
    return regime_colour(values["regime"]["kind"])
