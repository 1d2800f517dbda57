"""What the measurement says, in words made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import seen_audit
from benchmarks.comparisons import DETACHED, GREEDY, JOINT, SAMPLED, Contrast, adjusted, level, over_blocks
from benchmarks.intervals import Mean
from benchmarks.markdown import points, table
from benchmarks.plan import ARMS
from benchmarks.records import Block, Records, final
from benchmarks.wording import LEVEL, Sides, named, said, sides, undecided

QUESTIONS = {
    Contrast("occ-calibrated", "matched-control"): "adapting λ, against keeping it fixed at the same run's mean",
    Contrast("policy 1, own ratio", "policy 1"): "the head's own old log-probs in its ratio",
    Contrast("occ-calibrated, own ratio", "occ-calibrated"): "the same in occ-calibrated",
    Contrast("occ, own reference", "occ"): "the head's own old log-probs as reference",
    Contrast("occ-calibrated", "occ, own reference"): "the clip, and heads that learn by cross-entropy",
    Contrast("occ-official", "occ"): "the authors' estimator and window",
    Contrast("oracle", "occ"): "exact gradients in the place of log-probs",
}
"""Differences between two arms, with what each asks."""

PAPER = {
    "occ above detach": Contrast("occ", "detach"),
    "occ above detach, the authors' code": Contrast("occ-official", "detach"),
    "detach above policy, coefficient 1": Contrast("detach", "policy 1"),
    "detach above policy, coefficient 0.1": Contrast("detach", "policy 0.1"),
    "policy above ce, coefficient 1": Contrast("policy 1", "ce 1"),
    "policy above ce, coefficient 0.1": Contrast("policy 0.1", "ce 0.1"),
    "detach above ce, coefficient 1": Contrast("detach", "ce 1"),
    "detach above ce, coefficient 0.1": Contrast("detach", "ce 0.1"),
}
"""The paper's order, occ > detach > policy > ce, as pairs."""

HEADS = {
    "occ-calibrated − occ, greedy": (Contrast("occ-calibrated", "occ"), GREEDY),
    "occ-calibrated − occ, sampled": (Contrast("occ-calibrated", "occ"), SAMPLED),
}
"""What heads that learn by cross-entropy, and the other settings of occ-calibrated, do to acceptance."""

SAME_WORK = ("policy 0.1", "policy 1", "policy 1, own ratio")
"""Arms whose update computes the same: what their times differ by is noise."""

LIMITS = (
    "Models of 0.2 M parameters with one MTP head, tasks of one short answer, 40 steps, few seeds, one base model per task: the intervals speak of "
    "other training seeds from these two bases, not of other bases, tasks or sizes.",
    "Exact accuracy counts one canonical response; a right answer that is written in another way does not count.",
    "The learning rate was chosen for detach; an arm that would do better at another rate is at a disadvantage.",
    "AdamW and the clipped gradient norm fix the length of a step, so what the MTP gradient adds in one direction it takes from another.",
    "Not measured, and able to change the picture: larger models; larger batches, in which c is less noise; plain SGD without clipping; hundreds of "
    "steps, over which the paper sees the policy form rise and fall.",
)


def section(records: Records, found: Sequence[Block], audits: Sequence[Block], figure: Sequence[str]) -> list[str]:
    """All that is said, with the figure of the differences."""
    if not found:
        return ["Nothing yet: no seed is complete."]
    parts: dict[str, Sequence[str]] = {
        "Accuracy": [*_accuracy(found), "", *figure],
        "Against the paper's order": _to_paper(found),
        "Draft acceptance": _acceptance(found),
        "What the audit shows": seen_audit.words(audits),
        "Cost": _cost(records.about.get("timing")),
        "What would change it": [f"* {limit}" for limit in LIMITS],
    }
    text = [line for title, lines in parts.items() for line in (f"### {title}", "", *lines, "")]
    return text[:-1]


def _accuracy(found: Sequence[Block]) -> list[str]:
    rates = [arm for arm in DETACHED if arm != "detach"]
    means = {arm: over_blocks(found, Contrast(arm), final) for arm in (*JOINT, *rates)}
    seen = sides(means)
    joint, detached = (_only(seen, arms) for arms in (JOINT, rates))
    lead = f"{len(joint.above)} end above it: {named(joint.above, means)}" if joint.above else "none ends above it"
    text = [
        f"* **Of the {len(JOINT)} arms whose MTP loss reaches the trunk, compared with detach, {lead}**; {len(joint.below)} end below it: "
        f"{named(joint.below, means)}. In percentage points of final accuracy, over all blocks, p < {LEVEL} adjusted for {seen.compared} comparisons.",
        f"* The others. {undecided(joint, means)} That is not to say that there is none: effects smaller than these intervals would stay unseen.",
    ]
    if ruined := _ruined(found):
        text.append(f"* Below where they started: {'; '.join(f'{arm} on {block}' for block, arm in ruined)}.")
    text.append(
        f"* Detach at other learning rates. Above detach: {named(detached.above, means)}. Below it: {named(detached.below, means)}. "
        f"{undecided(detached, means)}"
    )
    text.append("* Between arms:")
    differences = {contrast: over_blocks(found, contrast, final) for contrast in QUESTIONS}
    p = adjusted({contrast.name: mean for contrast, mean in differences.items()})
    for contrast, mean in differences.items():
        text.append(f"  * {contrast.name} ({QUESTIONS[contrast]}): {said(mean, p.get(contrast.name), len(p))}.")
    return text


def _only(seen: Sides, arms: Sequence[str]) -> Sides:
    above, below, alone, unseen = ([arm for arm in side if arm in arms] for side in seen[:4])
    return Sides(above, below, alone, unseen, seen.compared)


def _ruined(found: Sequence[Block]) -> list[tuple[str, str]]:
    """(block, arm) whose final accuracy lies below the base's, with its whole interval."""
    ends = [(block, arm.name, level(block, arm.name, final)) for block in found for arm in ARMS]
    return [(block.name, arm) for block, arm, mean in ends if mean is not None and mean.high < _start(block)]


def _start(block: Block) -> float:
    return float(next(row["accuracy"][0] for row in block.runs["detach"].values() if "accuracy" in row))


def _to_paper(found: Sequence[Block]) -> list[str]:
    means = {name: over_blocks(found, contrast, final) for name, contrast in PAPER.items()}
    seen = sides(means)
    rows = [[name, points(mean), _agreement(name, seen.above, seen.below)] for name, mean in means.items()]
    return [
        "The paper has occ > detach > policy > ce, with models of 7 B parameters and more. Differences over all blocks; *not seen*: neither this nor the "
        f"opposite, at p < {LEVEL} adjusted for {seen.compared} comparisons.",
        "",
        *table(["in the paper", "difference here", "here"], rows),
    ]


def _agreement(name: str, above: Sequence[str], below: Sequence[str]) -> str:
    return "seen" if name in above else "the opposite is seen" if name in below else "not seen"


def _acceptance(found: Sequence[Block]) -> list[str]:
    text = [
        "Differences to detach at the end (last three steps), in points, over all blocks, p as above; *greedy*: share of places where both heads "
        "have the same most likely token; *sampled*: expected share of accepted drafts when drafts are sampled. Both are measured on the arm's own "
        "responses; off trains no head.",
        "",
    ]
    for title, measure in (("Greedy", GREEDY), ("Sampled", SAMPLED)):
        means = {arm: over_blocks(found, Contrast(arm), measure) for arm in ("off", *JOINT)}
        seen = sides(means)
        text.append(
            f"* {title}, {seen.compared} comparisons. Lost: {named(seen.below, means)}. Gained: {named(seen.above, means)}. "
            f"{undecided(seen, means)}"
        )
    differences: dict[str, Mean | None] = {name: over_blocks(found, *asked) for name, asked in HEADS.items()}
    p = adjusted(differences)
    text += [f"* {name}: {said(mean, p.get(name), len(p))}." for name, mean in differences.items()]
    if arms := sorted({arm for _, arm in _ruined(found)}):
        text.append(f"* Acceptance of {' and '.join(arms)} says nothing: it is that of a ruined policy.")
    return text


def _cost(timing: Mapping[str, Any] | None) -> list[str]:
    if timing is None:
        return ["Not measured yet."]
    ratios = {
        arm: [updates[arm]["ratio"] for updates in timing["updates"].values()] for arm in timing["updates"]["dapo"]
    }
    noise = max(
        max(same) - min(same) for same in zip(*(ratios[arm] for arm in SAME_WORK if arm in ratios), strict=True)
    )
    algorithms = " / ".join(timing["updates"])
    decoupled = {arm.name for arm in ARMS if "mtp" in arm.values}
    split = {arm.name for arm in ARMS if "micro_batch_sequences" in arm.values.get("update", {})}
    plain = [arm for arm in ratios if arm not in decoupled | split | {"off", "detach"}]
    dearer = [arm for arm in plain if min(ratios[arm]) > 1 + noise]
    alike = [arm for arm in plain if arm not in dearer]
    return [
        f"Seconds of an update as a multiple of detach's, {algorithms}. Arms whose updates compute the same ({'; '.join(SAME_WORK)}) differ by up "
        f"to {noise:.2f}, so that less says nothing.",
        "",
        f"* Dearer than detach: {_times(dearer, ratios)}. The oracle then made a forward pass for its coefficient and another for its update; since then "
        "one does for both ([measured](trainer.md)).",
        f"* Nothing visible: {_times(alike, ratios)}.",
        f"* More to compute, but not for λ: {_times(sorted(decoupled & ratios.keys()), ratios)}, whose heads learn from a cross-entropy of "
        f"their own beside the policy form; {_times(sorted(split & ratios.keys()), ratios)}, which computes each mini-batch in two pieces.",
    ]


def _times(arms: Sequence[str], ratios: Mapping[str, Sequence[float]]) -> str:
    return ", ".join(f"{arm} ({' / '.join(f'{ratio:.2f}' for ratio in ratios[arm])})" for arm in arms) or "none"
