"""The audit block: exact gradients along the way, and what the proxies and the prediction make of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isnan
from statistics import fmean

from benchmarks.comparisons import average
from benchmarks.intervals import Mean, Ratio, mean, ratio
from benchmarks.markdown import NOTHING, number, percent, plain, table, within
from benchmarks.plan import AUDIT_ARMS, AUDIT_EVERY, AUDIT_SEEDS, RECIPE, Row
from benchmarks.records import Block
from trainer.evaluation.rank_correlation import spearman

Series = dict[str, list[float]]
"""The audits of one run, by name, in the order of its steps."""


def series(block: Block, arm: str) -> list[Series]:
    """Of each seed's run."""
    return [row["audit"] for row in block.runs.get(arm, {}).values() if "audit" in row]


def section(blocks: Sequence[Block]) -> list[str]:
    """Everything that the audits say."""
    done = ", ".join(f"{block.name} {len(block.seeds)} of {AUDIT_SEEDS}" for block in blocks) or "none yet"
    lines = [
        f"Every {AUDIT_EVERY} of {RECIPE['steps']} steps, at the step's last mini-batch; complete seeds: {done}. "
        "What each value is: [docs/method.md](../method.md#audit). Intervals are over seeds; those of ratios are "
        "Fieller's, and have no bound where the denominator may be 0.",
        "",
    ]
    blocks = [block for block in blocks if block.seeds]
    if not blocks:
        return lines
    parts = (
        ("c and v2 of the policy form, mean over the first and the last third of the run", _over_time),
        ("Signal s = G·P / |G|² and noise kappa = Cov / Var, ratios of sums over all audits and seeds", _signal),
        ("Do the proxies order the mini-batches as the exact λ does? Rank correlation within a run", _proxies),
        ("The premise: predicted against measured change of the objective on held-out samples", _premise),
    )
    for title, part in parts:
        lines += [f"**{title}.**", "", *part(blocks), ""]
    return lines


def _over_time(blocks: Sequence[Block]) -> list[str]:
    head = ["base, arm", "c", "c across halves", "v2", "λ = c / v2", "c across halves / c", "‖g_RL‖ / ‖g_MTP‖"]
    rows = []
    for block in blocks:
        for arm in AUDIT_ARMS:
            if not (runs := series(block, arm)):
                continue
            thirds = [_thirds(runs, name) for name in ("c", "c_cross", "v2", "coefficient")]
            cross, sizes = (
                ratio(_sums(runs, top), _sums(runs, bottom))
                for top, bottom in (("c_cross", "c"), ("g_rl_squared", "v2"))
            )
            cells = [f"{number(first)} → {number(last)}" for first, last in thirds]
            rows.append([f"{block.base}, {arm}", *cells, within(cross), number(max(0.0, sizes.value) ** 0.5)])
    return table(head, rows)


def _signal(blocks: Sequence[Block]) -> list[str]:
    head = ["base, arm", "s, policy form", "kappa, policy form", "s, cross-entropy", "kappa, cross-entropy"]
    rows = []
    for block in blocks:
        for arm in AUDIT_ARMS:
            if not (runs := series(block, arm)):
                continue
            cells = [within(found) for form in ("", "ce_") for found in signal_and_noise(runs, form)]
            rows.append([f"{block.base}, {arm}", *cells])
    return table(head, rows)


def signal_and_noise(runs: Sequence[Series], form: str = "") -> tuple[Ratio, Ratio]:
    """s and kappa of the policy form ("") or of the cross-entropy ("ce_")."""
    c, cross = _sums(runs, f"{form}c"), _sums(runs, f"{form}c_cross")
    whole, common = _sums(runs, "g_rl_squared"), _sums(runs, "g_rl_squared_cross")
    shared = [a - b for a, b in zip(c, cross, strict=True)]
    variance = [a - b for a, b in zip(whole, common, strict=True)]
    return ratio(cross, common), ratio(shared, variance)


def _proxies(blocks: Sequence[Block]) -> list[str]:
    pairs = [("proxy_main", "coefficient"), ("proxy_own", "coefficient"), ("coefficient_half_1", "coefficient_half_2")]
    head = ["arm", "reference main", "reference own", "ceiling: one half of the prompts against the other", "runs"]
    rows = []
    for arm in AUDIT_ARMS:
        runs = [run for block in blocks for run in series(block, arm)]
        rows.append([arm, *(plain(rank_correlation(runs, *pair)) for pair in pairs), str(len(runs))])
    by_seed = [[run for arm in AUDIT_ARMS for run in _of_seed(block, arm, s)] for block in blocks for s in block.seeds]
    together = [_mean_over_groups(by_seed, *pair) for pair in pairs]
    rows.append(["mean of the arms", *map(plain, together), str(sum(map(len, by_seed)))])
    return table(head, rows)


def rank_correlation(runs: Sequence[Series], one: str, other: str) -> Mean | None:
    """Mean over runs of the rank correlation over a run's audits."""
    values = [spearman(run[one], run[other]).value for run in runs if one in run and other in run]
    return average([value for value in values if not isnan(value)])


def _premise(blocks: Sequence[Block]) -> list[str]:
    head = ["arm", "rank correlation", "equal signs, %", "predicted above 0, %", "mean measured change, 1e-6"]
    head += ["measured above 0, %", "runs"]
    rows = []
    for arm in AUDIT_ARMS:
        runs = [run for block in blocks for run in series(block, arm) if "measured_change" in run]
        if not runs:
            continue
        agreed = mean([_share(run, lambda p, m: (p > 0) == (m > 0)) for run in runs])
        predicted, measured = (
            mean([_share(run, side) for run in runs]) for side in (lambda p, m: p > 0, lambda p, m: m > 0)
        )
        change = mean([1e6 * fmean(run["measured_change"]) for run in runs])
        correlation = rank_correlation(runs, "predicted_change", "measured_change")
        cells = [plain(correlation), percent(agreed), percent(predicted), plain(change, 1), percent(measured)]
        rows.append([arm, *cells, str(len(runs))])
    return table(head, rows) if rows else [NOTHING]


def _share(run: Series, holds: Callable[[float, float], bool]) -> float:
    pairs = [(p, m) for p, m in zip(run["predicted_change"], run["measured_change"], strict=True) if p or m]
    return fmean(holds(p, m) for p, m in pairs) if pairs else float("nan")


def _thirds(runs: Sequence[Series], name: str) -> tuple[float, float]:
    third = max(1, len(runs[0][name]) // 3)
    return fmean(fmean(run[name][:third]) for run in runs), fmean(fmean(run[name][-third:]) for run in runs)


def _sums(runs: Sequence[Series], name: str) -> list[float]:
    return [sum(run[name]) for run in runs]


def _of_seed(block: Block, arm: str, seed: int) -> list[Series]:
    row: Row = block.runs[arm][seed]
    return [row["audit"]] if "audit" in row else []


def _mean_over_groups(groups: Sequence[Sequence[Series]], one: str, other: str) -> Mean | None:
    found = [rank_correlation(group, one, other) for group in groups]
    return average([m.value for m in found if m is not None])
