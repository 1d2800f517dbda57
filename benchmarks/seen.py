"""What the comparisons say, in words made from the numbers, so that they stay true when the numbers change."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.comparisons import DETACHED, JOINT, Contrast, adjusted, over_blocks
from benchmarks.intervals import Mean
from benchmarks.markdown import points, table
from benchmarks.records import Block, final

QUESTIONS = {
    "Does adapting help? occ-calibrated against policy with its mean coefficient, kept fixed": [
        Contrast("occ-calibrated", "matched-control")
    ],
    "Does the head's own ratio matter?": [
        Contrast("policy 1, own ratio", "policy 1"),
        Contrast("occ-calibrated, own ratio", "occ-calibrated"),
    ],
    "What do the settings of occ do? Reference; then clip and head_loss together; then the authors' estimator; then exact gradients": [
        Contrast("occ, own reference", "occ"),
        Contrast("occ-calibrated", "occ, own reference"),
        Contrast("occ-official", "occ"),
        Contrast("oracle", "occ"),
    ],
}

PAPER = (
    ("occ above detach", Contrast("occ", "detach")),
    ("occ above detach, the authors' code", Contrast("occ-official", "detach")),
    ("detach above policy, coefficient 1", Contrast("detach", "policy 1")),
    ("detach above policy, coefficient 0.1", Contrast("detach", "policy 0.1")),
    ("policy above ce, coefficient 1", Contrast("policy 1", "ce 1")),
    ("policy above ce, coefficient 0.1", Contrast("policy 0.1", "ce 0.1")),
    ("detach above ce, coefficient 1", Contrast("detach", "ce 1")),
    ("detach above ce, coefficient 0.1", Contrast("detach", "ce 0.1")),
)
"""The paper's order, occ > detach > policy > ce, as pairs."""

LIMITS = (
    "Models of 0.2 M parameters with one MTP head, tasks of one short answer, 40 steps, few seeds, one base model per task: the intervals speak of "
    "other training seeds from these two bases, not of other bases, tasks or sizes.",
    "Exact accuracy counts one canonical response; a right answer that is written in another way does not count.",
    "The learning rate was chosen for detach; an arm that would do better at another rate is at a disadvantage.",
    "AdamW and the clipped gradient norm fix the length of a step, so what the MTP gradient adds in one direction it takes from another.",
    "Not measured, and able to change the picture: larger models; larger batches, in which c is less noise; plain SGD without clipping; hundreds of "
    "steps, over which the paper sees the policy form rise and fall.",
)


def section(found: Sequence[Block]) -> list[str]:
    """All that is said."""
    if not found:
        return ["Nothing yet: no seed is complete."]
    return [*_to_detach(found), "", *_to_paper(found), "", "Limits:", "", *(f"* {limit}" for limit in LIMITS)]


def _to_detach(found: Sequence[Block]) -> list[str]:
    arms = (*JOINT, *(arm for arm in DETACHED if arm != "detach"))
    means = {arm: over_blocks(found, Contrast(arm), final) for arm in arms}
    p = adjusted(means)
    known = {arm: m for arm, m in means.items() if m is not None and arm in p}
    above = [arm for arm, m in known.items() if p[arm] < 0.05 and m.value > 0]
    below = [arm for arm, m in known.items() if p[arm] < 0.05 and m.value < 0]
    rest = {arm: m for arm, m in known.items() if arm not in (*above, *below)}
    text = [
        f"* Above detach over all blocks, {len(p)} comparisons held together: {_named(above, known)}. Below it: {_named(below, known)}."
    ]
    if rest:
        narrow, wide = min(m.half for m in rest.values()), max(m.half for m in rest.values())
        text.append(
            f"* For the other {len(rest)} no difference could be seen, which is not to say that there is none: their intervals reach from "
            f"±{100 * narrow:.1f} to ±{100 * wide:.1f} points, and smaller effects would stay unseen."
        )
    for contrasts in QUESTIONS.values():
        text += [f"* {contrast.name}: {_said(over_blocks(found, contrast, final))}." for contrast in contrasts]
    return text


def _to_paper(found: Sequence[Block]) -> list[str]:
    means = {name: over_blocks(found, contrast, final) for name, contrast in PAPER}
    p = adjusted(means)
    rows = [[name, points(mean), _agreement(mean, p.get(name))] for name, mean in means.items()]
    return [
        "Against the paper's order (occ > detach > policy > ce, from models of 7 B parameters on; differences over all blocks, "
        f"p adjusted for {len(p)} comparisons):",
        "",
        *table(["in the paper", "difference here", "here"], rows),
    ]


def _agreement(mean: Mean | None, p: float | None) -> str:
    if mean is None or p is None or p >= 0.05:
        return "not seen"
    return "seen" if mean.value > 0 else "the opposite is seen"


def _named(arms: Sequence[str], means: dict[str, Mean]) -> str:
    return ", ".join(f"{arm} ({points(means[arm])})" for arm in arms) or "none"


def _said(mean: Mean | None) -> str:
    if mean is None:
        return "not measured"
    side = "above 0" if mean.low > 0 else "below 0" if mean.high < 0 else "no difference could be seen"
    return f"{points(mean)} points, {side}"
