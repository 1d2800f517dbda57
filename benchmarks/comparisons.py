"""Paired differences between arms, block by block and pooled, and the tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.intervals import Mean, mean, paired, pooled
from benchmarks.markdown import p_value, percent, plain_p, points, table
from benchmarks.plan import ARMS
from benchmarks.records import Block, Measure, area, final, metric
from trainer.evaluation.statistics import holm

DETACHED = tuple(arm.name for arm in ARMS if arm.values["regime"]["kind"] == "detach")
"""Detach at each learning rate."""
JOINT = tuple(arm.name for arm in ARMS if arm.values["regime"]["kind"] not in ("off", "detach"))
"""The arms whose MTP loss reaches the trunk."""

GREEDY, SAMPLED = (metric(f"mtp/acceptance_{how}", 1) for how in ("greedy", "sampled"))


class Contrast(NamedTuple):
    """One arm minus another."""

    arm: str
    other: str = "detach"

    @property
    def name(self) -> str:
        """How it is called in tables."""
        return f"{self.arm} − {self.other}"


def average(values: Sequence[float]) -> Mean | None:
    """Their mean, if there are any."""
    return mean(values) if values else None


def level(block: Block, arm: str, measure: Measure) -> Mean | None:
    """An arm's mean over the seeds."""
    return average(list(block.of(arm, measure).values()))


def difference(block: Block, contrast: Contrast, measure: Measure) -> Mean | None:
    """Paired by seed, in one block."""
    return average(paired(block.of(contrast.arm, measure), block.of(contrast.other, measure)))


def over_blocks(blocks: Sequence[Block], contrast: Contrast, measure: Measure) -> Mean | None:
    """Paired by seed, of the mean over the blocks."""
    return average(pooled([(b.of(contrast.arm, measure), b.of(contrast.other, measure)) for b in blocks]))


def adjusted(means: Mapping[str, Mean | None]) -> dict[str, float]:
    """Holm's p-values of those that have one and whose values are not equal throughout."""
    return holm({name: m.p for name, m in means.items() if m is not None and m.p == m.p and (m.half or m.value)})


def block_table(block: Block) -> list[str]:
    """Every arm of one block."""
    differences = {arm.name: difference(block, Contrast(arm.name), final) for arm in ARMS}
    p = adjusted(differences)
    head = ["arm", "final, %", "Δ final", f"p (Holm, {len(p)})", "area, %", "Δ area", "greedy acceptance, %"]
    head += ["sampled acceptance, %", "λ", "entropy at end", "clipped, %"]
    rows = []
    for arm in (arm.name for arm in ARMS):
        base = arm == "detach"
        greedy, sampled = (_before_after(block, arm, f"mtp/acceptance_{how}") for how in ("greedy", "sampled"))
        coefficient, entropy = (
            level(block, arm, measure) for measure in (metric("coefficient_mean"), metric("policy/entropy", 1))
        )
        clipped = level(block, arm, metric("clip_fraction_mean"))
        rows.append(
            [
                arm,
                percent(level(block, arm, final)),
                "" if base else points(differences[arm]),
                "" if base else p_value(p.get(arm)),
                percent(level(block, arm, area)),
                "" if base else points(difference(block, Contrast(arm), area)),
                greedy,
                sampled,
                "" if coefficient is None else f"{coefficient.value:.2g}",
                "" if entropy is None else f"{entropy.value:.2f}",
                "" if clipped is None else f"{100 * clipped.value:.1f}",
            ]
        )
    return table(head, rows)


def pooled_table(blocks: Sequence[Block]) -> list[str]:
    """Every arm against detach, over all blocks."""
    differences = {arm.name: over_blocks(blocks, Contrast(arm.name), final) for arm in ARMS if arm.name != "detach"}
    p = adjusted(differences)
    head = ["arm", "Δ final", f"p (Holm, {len(p)})", "Δ area", "Δ greedy acceptance", "Δ sampled acceptance"]
    head += ["blocks above / below"]
    rows = []
    for arm, found in differences.items():
        others = [points(over_blocks(blocks, Contrast(arm), measure)) for measure in (area, GREEDY, SAMPLED)]
        rows.append([arm, points(found), p_value(p.get(arm)), *others, _sides(blocks, Contrast(arm))])
    return table(head, rows)


def contrast_table(blocks: Sequence[Block], contrasts: Mapping[Contrast, str], head: Sequence[str]) -> list[str]:
    """Differences of final accuracy in each block and over all, and those of the other measures over all.

    Args:
        blocks: columns.
        contrasts: rows, which are adjusted for together, with what each asks.
        head: of the first column, and of the second if anything is asked.
    """
    totals = {contrast.name: over_blocks(blocks, contrast, final) for contrast in contrasts}
    p = adjusted(totals)
    columns = [*head, *(f"{block.name}" for block in blocks), "all: Δ final", "p", f"p (Holm, {len(p)})"]
    columns += ["all: Δ area", "all: Δ greedy acceptance", "all: Δ sampled acceptance"]
    rows = []
    for contrast, asked in contrasts.items():
        each = [points(difference(block, contrast, final)) for block in blocks]
        others = [points(over_blocks(blocks, contrast, measure)) for measure in (area, GREEDY, SAMPLED)]
        total = totals[contrast.name]
        p_values = [plain_p(None if total is None else total.p), p_value(p.get(contrast.name))]
        rows.append([contrast.name, *([asked] if asked else []), *each, points(total), *p_values, *others])
    return table(columns, rows, words=len(head))


def _before_after(block: Block, arm: str, name: str) -> str:
    before, after = (level(block, arm, metric(name, place)) for place in (0, 1))
    return "" if before is None or after is None else f"{100 * before.value:.1f} → {percent(after)}"


def _sides(blocks: Sequence[Block], contrast: Contrast) -> str:
    """In how many blocks the interval of the difference lies above 0, and below."""
    found = [m for m in (difference(block, contrast, final) for block in blocks) if m is not None]
    return f"{sum(m.low > 0 for m in found)} / {sum(m.high < 0 for m in found)}"
