"""Exact c and v2 of a mini-batch, on the same samples and across two disjoint halves of its prompts.

On the same samples c = <g_RL, g_MTP> holds noise that both losses share: with G and P the mean RL and MTP gradients, its expectation is
G.P + Cov. Gradients of two disjoint halves share no sample, so the mean of <g_RL of one half, g_MTP of the other> estimates
G.P alone. docs/method.md, Audit.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from trainer.objectives.coefficient import Sums
from trainer.update.exact import Dot, dot, exact_sums

NAN = float("nan")


class HalfGradients(NamedTuple):
    """What half of a mini-batch's prompts says about the gradients, by itself."""

    gradients: list[Tensor]
    """[P] mean gradient over this half, of the policy loss and then of each MTP loss."""
    weights: list[float]
    """This half's part of the whole mini-batch's weight, for each of them; those of the two halves add up to 1."""
    dot: Dot = dot
    """Their inner product, in all processes."""


class Products(NamedTuple):
    """Inner products of an RL gradient and one MTP gradient."""

    c: float
    """<g_RL, g_MTP>, same samples."""
    v2: float
    """||g_MTP||^2, same samples."""
    c_cross: float
    """<g_RL, g_MTP> across the halves, the mean of both ways; estimates G.P."""
    v2_cross: float
    """<g_MTP, g_MTP> across the halves."""
    rl: float
    """||g_RL||^2, same samples."""
    rl_cross: float
    """<g_RL, g_RL> across the halves; estimates |G|^2."""
    halves: tuple[Sums, Sums]
    """c and v2 of each half by itself."""

    @property
    def signal(self) -> float:
        """s = G.P / |G|^2 across the halves: what a small step of plain SGD gains from the MTP gradient, relative to its own."""
        return _ratio(self.c_cross, self.rl_cross)

    @property
    def noise(self) -> float:
        """kappa = Cov / Var within the mini-batch: how much of the RL gradient's own noise the MTP gradient repeats."""
        return _ratio(self.c - self.c_cross, self.rl - self.rl_cross)

    @property
    def cosine(self) -> float:
        """c / (||g_RL|| ||g_MTP||), same samples."""
        return _ratio(self.c, (self.rl * self.v2) ** 0.5)


def products(first: HalfGradients, second: HalfGradients, index: int) -> Products:
    """Everything about MTP loss `index` (from 1) of the two halves' gradients; the policy loss has index 0."""
    dot = first.dot
    (rl_1, rl_2), (mtp_1, mtp_2) = ([half.gradients[place] for half in (first, second)] for place in (0, index))
    rl, mtp = (over_both(first, second, place) for place in (0, index))
    return Products(
        c=dot(rl, mtp),
        v2=dot(mtp, mtp),
        c_cross=(dot(rl_1, mtp_2) + dot(rl_2, mtp_1)) / 2,
        v2_cross=dot(mtp_1, mtp_2),
        rl=dot(rl, rl),
        rl_cross=dot(rl_1, rl_2),
        halves=(exact_sums(rl_1, mtp_1, dot), exact_sums(rl_2, mtp_2, dot)),
    )


def over_both(first: HalfGradients, second: HalfGradients, index: int) -> Tensor:
    """[P] gradient `index` over both halves; each loss has weights of its own, because depths do not predict the same tokens."""
    return first.weights[index] * first.gradients[index] + second.weights[index] * second.gradients[index]


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else NAN
