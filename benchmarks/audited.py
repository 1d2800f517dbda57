"""The audit block: exact gradients along the way, and what the proxies and the prediction make of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from statistics import fmean
from typing import NamedTuple

from benchmarks.comparisons import average
from benchmarks.intervals import Mean, Ratio, mean, ratio
from benchmarks.markdown import NOTHING, number, percent, plain, table, within
from benchmarks.plan import AUDIT_ARMS, AUDIT_EVERY, AUDIT_SEEDS, RECIPE
from benchmarks.records import Block
from trainer.evaluation.rank_correlation import spearman

Series = dict[str, list[float]]
"""The audits of one run, by name, in the order of its steps."""


class Pair(NamedTuple):
    """Two values of every audit whose orders are compared."""

    one: str
    other: str


MAIN, OWN = Pair("proxy_main", "coefficient"), Pair("proxy_own", "coefficient")
HALVES = Pair("coefficient_half_1", "coefficient_half_2")
PREMISE = Pair("predicted_change", "measured_change")


class Row(NamedTuple):
    """The runs of one arm on one base."""

    base: str
    arm: str
    runs: list[Series]


def series(block: Block, arm: str) -> list[Series]:
    """Of each seed's run."""
    return [row["audit"] for row in block.runs.get(arm, {}).values() if "audit" in row]


def rows(blocks: Sequence[Block]) -> list[Row]:
    """Every arm on every base."""
    found = (Row(block.base, arm, series(block, arm)) for block in blocks for arm in AUDIT_ARMS)
    return [row for row in found if row.runs]


def groups(blocks: Sequence[Block]) -> list[list[Series]]:
    """The runs of all arms, for each base and seed."""
    each = ([block.runs[arm][seed] for arm in AUDIT_ARMS] for block in blocks for seed in block.seeds)
    return [[row["audit"] for row in rows if "audit" in row] for rows in each]


def of_arm(blocks: Sequence[Block], arm: str, name: str) -> list[Series]:
    """The arm's runs on all bases, of those that have the value."""
    return [run for block in blocks for run in series(block, arm) if name in run]


def section(blocks: Sequence[Block]) -> list[str]:
    """Everything that the audits say."""
    done = "; ".join(f"{block.name}: {len(block.seeds)} of {AUDIT_SEEDS}" for block in blocks) or "none yet"
    rollout, parts = RECIPE["rollout"], RECIPE["update"]["mini_batches"]
    prompts = rollout["prompts_per_step"] // parts
    lines = [
        f"Every {AUDIT_EVERY} of {RECIPE['steps']} steps, at the step's last mini-batch, {prompts} prompts x {rollout['samples_per_prompt']} "
        f"samples; halves are {prompts // 2} prompts each. Complete seeds: {done}. More on each value: [docs/method.md](../method.md#audit).",
        "",
    ]
    blocks = [block for block in blocks if block.seeds]
    if not blocks:
        return lines
    for part in (_over_time, _signal, _proxies, _premise):
        lines += [*part(blocks), ""]
    return lines[:-1]


def _over_time(blocks: Sequence[Block]) -> list[str]:
    head = ["base, arm", "c", "c across halves", "v2", "λ = c / v2", "c across halves / c", "‖g_RL‖ / ‖g_MTP‖"]
    body = []
    for base, arm, runs in rows(blocks):
        thirds = [_thirds(runs, name) for name in ("c", "c_cross", "v2", "coefficient")]
        cross, sizes = (
            ratio(_sums(runs, top), _sums(runs, bottom)) for top, bottom in (("c_cross", "c"), ("g_rl_squared", "v2"))
        )
        cells = [f"{number(first)} → {number(last)}" for first, last in thirds]
        body.append([f"{base}, {arm}", *cells, within(cross), number(sizes.value**0.5)])
    return [
        "**c and v2 of the policy form of the MTP loss.** c = <g_RL, g_MTP>, v2 = ‖g_MTP‖², both on the same samples; *across halves*: the two "
        "gradients are those of disjoint halves of the prompts, which share no noise. Means over the first → the last third of the run's audits, "
        "over seeds. The ratios are of sums over a run's audits, with Fieller's interval over seeds, which has *no bound* where the denominator may be 0.",
        "",
        *table(head, body),
    ]


def _signal(blocks: Sequence[Block]) -> list[str]:
    head = ["base, arm", "s, policy form", "kappa, policy form", "s, cross-entropy", "kappa, cross-entropy"]
    body = [
        [f"{base}, {arm}", *(within(found) for form in ("", "ce_") for found in signal_and_noise(runs, form))]
        for base, arm, runs in rows(blocks)
    ]
    return [
        "**Signal and noise.** s = G·P / |G|², across the halves: what a small step of plain SGD gains from the MTP gradient, relative to what it "
        "gains by itself. kappa = Cov / Var: how much of the RL gradient's own noise the MTP gradient repeats. Where the length of a step is fixed, "
        "as here by AdamW and clipping, joint training helps when s > kappa. Ratios of sums over all audits, intervals as above.",
        "",
        *table(head, body),
    ]


def signal_and_noise(runs: Sequence[Series], form: str = "") -> tuple[Ratio, Ratio]:
    """s and kappa of the policy form ("") or of the cross-entropy ("ce_")."""
    c, cross = _sums(runs, f"{form}c"), _sums(runs, f"{form}c_cross")
    whole, common = _sums(runs, "g_rl_squared"), _sums(runs, "g_rl_squared_cross")
    shared = [a - b for a, b in zip(c, cross, strict=True)]
    variance = [a - b for a, b in zip(whole, common, strict=True)]
    return ratio(cross, common), ratio(shared, variance)


def surviving(blocks: Sequence[Block]) -> Ratio:
    """Which part of c on the same samples is left across halves, over all arms; each run's c counts as a cosine, so that none outweighs others."""
    cosines = [[_cosines(run) for run in group] for group in groups(blocks)]
    same, across = ([fmean(run[place] for run in group) for group in cosines] for place in (0, 1))
    return ratio(across, same)


def _cosines(run: Series) -> tuple[float, float]:
    size: float = (sum(run["g_rl_squared"]) * sum(run["v2"])) ** 0.5
    return sum(run["c"]) / size, sum(run["c_cross"]) / size


def _proxies(blocks: Sequence[Block]) -> list[str]:
    pairs = (MAIN, OWN, HALVES)
    head = ["arm", "reference main", "reference own", "exact λ of one half against the other's", "runs"]
    body = []
    for arm in AUDIT_ARMS:
        runs = of_arm(blocks, arm, "coefficient")
        body.append([arm, *(plain(rank_correlation(runs, pair)) for pair in pairs), str(len(runs))])
    together = [plain(average(by_group(blocks, pair))) for pair in pairs]
    body.append(["mean of the arms", *together, str(sum(map(len, groups(blocks))))])
    return [
        "**Do the proxies order the mini-batches as the exact λ does?** Mean over runs of the rank correlation over a run's audits. Proxies and exact λ "
        "are of the same samples, and share their noise. The last column but one is what the exact λ agrees with itself, from half as many samples. "
        "Intervals are over runs (base and seed), in the last row over base and seed, the arms averaged before.",
        "",
        *table(head, body),
    ]


def rank_correlation(runs: Sequence[Series], pair: Pair) -> Mean | None:
    """Mean over runs of the rank correlation over a run's audits."""
    values = [spearman(run[pair.one], run[pair.other]).value for run in runs]
    return average([value for value in values if not isnan(value)])


def by_group(blocks: Sequence[Block], pair: Pair) -> list[float]:
    """The rank correlation of each base and seed, mean over the arms."""
    found = [rank_correlation(group, pair) for group in groups(blocks)]
    return [m.value for m in found if m is not None]


def less(blocks: Sequence[Block], pair: Pair, other: Pair) -> list[float]:
    """The same minus that of another pair."""
    found = [(rank_correlation(group, pair), rank_correlation(group, other)) for group in groups(blocks)]
    return [one.value - two.value for one, two in found if one is not None and two is not None]


def _premise(blocks: Sequence[Block]) -> list[str]:
    head = ["arm", "rank correlation", "equal signs, %", "by chance, %", "predicted above 0, %", "measured above 0, %"]
    head += ["mean measured change, 1e-6", "runs"]
    body = []
    for arm in AUDIT_ARMS:
        if runs := of_arm(blocks, arm, PREMISE.other):
            shares = [average(list(column)) for column in zip(*signs(runs), strict=True)] or [None] * len(Signs._fields)
            cells = [*map(percent, shares), plain(measured_change(runs), 1)]
            body.append([arm, plain(rank_correlation(runs, PREMISE)), *cells, str(len(runs))])
    return [
        "**The premise: predicted against measured change of the RL objective.** Predicted: Δ_MTP of the optimiser step; measured: the objective on samples of "
        "other prompts after the step, minus the same after a step without the MTP part. *By chance*: the equal signs to be expected if prediction and "
        "measurement had nothing to do with each other, from how often each is above 0. Audits in which λ is 0 do not count. Intervals are over runs.",
        "",
        *(table(head, body) if body else [NOTHING]),
    ]


class Signs(NamedTuple):
    """Shares of a run's audits: with equal signs of prediction and measurement, the same if the two were independent of one another, with a
    prediction above 0, and with a measurement above 0."""

    equal: float
    chance: float
    predicted: float
    measured: float


def signs(runs: Sequence[Series]) -> list[Signs]:
    """Of each run, over the audits in which the MTP part did anything; runs without such audits are left out."""
    acting = [[(p, m) for p, m in zip(run[PREMISE.one], run[PREMISE.other], strict=True) if p or m] for run in runs]
    return [_signs(pairs) for pairs in acting if pairs]


def _signs(pairs: Sequence[tuple[float, float]]) -> Signs:
    predicted, measured = fmean(p > 0 for p, _ in pairs), fmean(m > 0 for _, m in pairs)
    chance = predicted * measured + (1 - predicted) * (1 - measured)
    return Signs(fmean((p > 0) == (m > 0) for p, m in pairs), chance, predicted, measured)


def measured_change(runs: Sequence[Series]) -> Mean:
    """Mean over a run's audits, over runs, in millionths."""
    return mean([1e6 * fmean(run[PREMISE.other]) for run in runs])


def _thirds(runs: Sequence[Series], name: str) -> tuple[float, float]:
    third = max(1, len(runs[0][name]) // 3)
    return fmean(fmean(run[name][:third]) for run in runs), fmean(fmean(run[name][-third:]) for run in runs)


def _sums(runs: Sequence[Series], name: str) -> list[float]:
    return [sum(run[name]) for run in runs]
