"""What the audits say, in words made from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, isnan
from statistics import fmean

from benchmarks.audited import (
    HALVES,
    MAIN,
    OWN,
    PREMISE,
    Pair,
    by_group,
    groups,
    less,
    measured_change,
    of_arm,
    rank_correlation,
    rows,
    signal_and_noise,
    signs,
    surviving,
)
from benchmarks.comparisons import adjusted, average
from benchmarks.intervals import Mean
from benchmarks.markdown import percent, plain, plain_p, points
from benchmarks.plan import AUDIT_ARMS
from benchmarks.records import Block
from benchmarks.wording import LEVEL


def words(blocks: Sequence[Block]) -> list[str]:
    """All that is said; the blocks are those of the audit."""
    blocks = [block for block in blocks if block.seeds]
    if not blocks:
        return ["Nothing yet: no seed is complete."]
    return [
        f"From exact gradients, in the arms that were audited; tables under [Audit](#audit). Intervals are over the {len(groups(blocks))} pairs of base and "
        "seed.",
        "",
        _shared_noise(blocks),
        *_order(blocks),
        _condition(blocks),
        *_premise(blocks),
    ]


def _shared_noise(blocks: Sequence[Block]) -> str:
    left = surviving(blocks)
    if not isfinite(left.low):
        return f"* How much of c is left across halves cannot be said: {100 * left.value:.0f} %, with an interval that has no bound."
    shown = f"{100 * left.value:.0f} % (95 % interval {100 * left.low:.0f} to {100 * left.high:.0f} %)"
    if left.high < 1:
        rest = f"the rest, about {100 * (1 - left.value):.0f} %, is noise of the samples that both losses share, and counts as benefit"
    else:
        rest = "that noise shared by both losses adds to it could not be seen"
    zero = "" if left.low > 0 else "; that nothing is left at all is not ruled out"
    return f"* Of c on the same samples {shown} is left when the two gradients come from disjoint halves of the prompts: {rest}{zero}."


def _order(blocks: Sequence[Block]) -> list[str]:
    halves = average(by_group(blocks, HALVES))
    if halves is None:
        return []
    text = [
        "* Rank correlation of the exact λ with itself, one half of a mini-batch's prompts against the other, over a run's audits: "
        f"{plain(halves)}. {_reach(halves)}"
    ]
    for name, pair in (("main", MAIN), ("own", OWN)):
        proxy = average(by_group(blocks, pair))
        text.append(
            f"* λ from log-probs, reference {name}, against the exact λ: {plain(proxy)}, {_against(blocks, pair)} the halves' agreement."
        )
    return text


def _reach(halves: Mean) -> str:
    """How well the exact λ is known at all."""
    least, about = (100 * (1 - _reliability(r)) for r in (halves.high, halves.value))
    low, value, high = (_reliability(r) ** 0.5 for r in (halves.low, halves.value, halves.high))
    known = (
        "It orders the mini-batches, as far as that goes"
        if halves.low > 0
        else "That it orders them at all could not be seen"
    )
    return (
        f"{known}: about {about:.0f} % of what λ differs by from one mini-batch to another, at least {least:.0f} %, is sampling noise (Spearman and Brown's "
        f"formula, because halves are noisier than the whole). So {value:.2f} ({low:.2f} to {high:.2f}) is the ceiling for any proxy, however good, that "
        "does not share this noise."
    )


def _reliability(halves: float) -> float:
    """Of the whole, by the correlation of its halves: which part of its variance is not noise."""
    return 2 * halves / (1 + halves) if halves > 0 else 0.0


def _against(blocks: Sequence[Block], pair: Pair) -> str:
    difference = average(less(blocks, pair, HALVES))
    if difference is None or isnan(difference.p) or difference.p >= LEVEL:
        return "neither above nor below"
    return "above" if difference.value > 0 else "below"


def _condition(blocks: Sequence[Block]) -> str:
    found = [(f"{row.base}, {row.arm}", *signal_and_noise(row.runs)) for row in rows(blocks)]
    larger = [name for name, s, kappa in found if s.low > kappa.high]
    smaller = [name for name, s, kappa in found if s.high < kappa.low]
    return (
        "* s > kappa, the condition for joint training to help where the length of a step is fixed, is seen in "
        f"{_listed(larger)} of {len(found)} cases (arm and base), its opposite in {_listed(smaller)}; in the others their intervals overlap."
    )


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({'; '.join(names)})" if names else "none"


def _premise(blocks: Sequence[Block]) -> list[str]:
    by_arm = {arm: of_arm(blocks, arm, PREMISE.other) for arm in AUDIT_ARMS}
    by_arm = {arm: runs for arm, runs in by_arm.items() if runs}
    if not by_arm:
        return []
    orders = {arm: rank_correlation(runs, PREMISE) for arm, runs in by_arm.items()}
    changes = {arm: measured_change(runs) for arm, runs in by_arm.items()}
    return [
        _signs(blocks),
        f"* Rank correlation of predicted and measured change: {_each(orders, 2, 'above 0', 'below 0')}. Part of it may come from the learning rate's "
        "warm-up, with which both grow.",
        f"* Mean measured effect of the MTP part of one step on the objective, 1e-6: {_each(changes, 1, 'better', 'worse')}.",
    ]


def _each(means: Mapping[str, Mean | None], digits: int, above: str, below: str) -> str:
    p = adjusted(means)
    told = (
        f"{arm} {plain(mean, digits)} ({_side(mean, p[arm], above, below)})"
        for arm, mean in means.items()
        if mean and arm in p
    )
    return f"{', '.join(told)}; p adjusted for {len(p)}"


def _side(mean: Mean, p: float, above: str, below: str) -> str:
    if mean.p >= LEVEL:
        return "not seen"
    return (above if mean.value > 0 else below) if p < LEVEL else f"p {plain_p(mean.p)} alone, {plain_p(p)} adjusted"


def _signs(blocks: Sequence[Block]) -> str:
    each = [signs([run for run in group if PREMISE.other in run]) for group in groups(blocks)]
    equal, chance, more = (
        average([fmean(measure) for measure in shares])
        for shares in (
            [[s.equal for s in group] for group in each if group],
            [[s.chance for s in group] for group in each if group],
            [[s.equal - s.chance for s in group] for group in each if group],
        )
    )
    if equal is None or more is None:
        return "* Predicted and measured change: no audit in which the MTP part did anything."
    if isnan(more.p) or more.p >= LEVEL:
        verdict = "that the prediction says anything about the sign could not be seen"
    elif more.value > 0:
        verdict = "the prediction says something about the sign"
    else:
        verdict = "the prediction is wrong more often than chance"
    return (
        f"* Predicted and measured change of the objective have equal signs in {percent(equal)} % of the audits; chance alone would give "
        f"{percent(chance)} %. Difference {points(more)} points: {verdict}. The prediction, of first order in c and second in v2, is that of plain gradient "
        "descent, while the step was AdamW's with a clipped gradient norm; so signs and order can be compared, sizes cannot."
    )
