"""The paper's figures, as far as runs can feed them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from backend.audits import ANCHOR


@dataclass(frozen=True)
class PaperFigure:
    """One figure, or two that show the same."""

    number: str
    title: str
    metrics: tuple[str, ...]
    says: str
    missing: str
    """What to do where no run has any of its metrics."""


AGREEMENT = PaperFigure(
    "8",
    "Proxy against exact coefficient",
    (ANCHOR, "audit/proxy_main", "audit/proxy_own"),
    "Each dot is an audit: the coefficient from log-probs over the one from exact gradients on the same mini-batch. ρ is Spearman's rank "
    "correlation over the audits of a run, which is all that a proxy needs to have right but its scale.",
    "No audit was made: it takes `--set audit.every=10`, or another number of steps, when a run is submitted.",
)
"""A scatter in the place of lines."""


def figures(metrics: Collection[str]) -> list[PaperFigure]:
    """The figures with lines; accuracy is the held-out one where any of the runs has it."""
    held_out = tuple(sorted(name for name in metrics if name.startswith("eval/")))
    accuracy = (
        "Share of right answers to held-out problems." if held_out else "Share of right answers among what was sampled."
    )
    return [
        PaperFigure(
            "1",
            "Accuracy by step",
            held_out or ("reward/accuracy",),
            accuracy + ("" if held_out else " These runs have no held-out accuracy."),
            "No run has measured its accuracy yet.",
        ),
        PaperFigure(
            "2 and 4",
            "c, v² and λ",
            ("mtp/c_hat", "mtp/v2_hat", "mtp/coefficient"),
            "ĉ and v̂² are the estimates from log-probs; λ is the weight that was used. A step's value is the mean over its mini-batches, and "
            "of MTP depth 1.",
            "No run has MTP heads that measure them.",
        ),
        PaperFigure(
            "3",
            "Policy-aligned gain of the MTP part",
            ("mtp/gain",),
            "Predicted change of the objective per unit of learning rate, at the λ that was used.",
            "No run measures the gain.",
        ),
        PaperFigure(
            "5",
            "Seconds per step",
            ("time/step_seconds",),
            "Rollout, grading, log-probs and update. Runs that shared a machine slowed one another.",
            "No run has made a step yet.",
        ),
        PaperFigure(
            "6 and 7",
            "Outcome reward by step",
            ("reward/mean",),
            "Mean reward of all responses that were sampled in the step, length punishment included.",
            "No run has made a step yet.",
        ),
    ]
