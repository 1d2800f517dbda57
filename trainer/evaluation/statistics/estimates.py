"""Means and differences of them, with intervals that hold for new problems and new trainings.

Problems are a sample of the problems that could have been asked, and a seed is one of the trainings that could have been run. Samples
of one problem are not independent, and neither are problems of one seed; an analysis that counts them as if they were is too
sure. So the variance of a mean is the sum of what varies between problems and what varies between seeds, the two-way
design of Owen, "The pigeonhole bootstrap" (Annals of Applied Statistics 1, 2007), in closed form:

    variance = Var_problems(mean over seeds) / problems + Var_seeds(mean over problems) / seeds

A mean over B benchmarks has each of their first terms over B squared, because their problems are independent of one another, and one
second term, that of the mean over benchmarks: a training that went well did so on all of them.

It counts the noise of the samples in both terms, which errs on the side of caution. The degrees of freedom are Satterthwaite's
(Biometrics Bulletin 2, 1946). A bootstrap of both levels estimates the same variance, but with three
seeds its percentiles are too narrow: three values resampled cannot show their own spread.

With fewer than `SEEDS_FOR_METHODS` seeds nothing can be said of the spread between trainings. The interval then speaks of other
problems only, and `scope` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.evaluation.statistics.scores import Array, Outcomes, Scores, outcome_scores
from trainer.evaluation.statistics.student import student_quantile

SEEDS_FOR_METHODS = 3
"""Seeds from which a result may speak of a method and not only of the checkpoints that were evaluated."""

_ROUNDING = 1e-24
"""A variance below this is that of equal numbers: one sample more or less of thousands of problems makes 1e-15 at least."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, or a difference of means, as a share from 0 to 1 (or -1 to 1), with its interval."""

    value: float
    standard_error: float
    """NaN where a benchmark has a single problem, of which no spread can be seen."""
    low: float
    high: float
    problems: int
    """Of all benchmarks together."""
    seeds: int
    """Runs that were pooled; of a difference, the smaller number of the two."""

    @property
    def over_seeds(self) -> bool:
        """Whether the interval holds for new trainings, or only for new problems put to the same checkpoints."""
        return self.seeds >= SEEDS_FOR_METHODS

    @property
    def scope(self) -> str:
        """What the interval speaks of, in words."""
        return "these methods" if self.over_seeds else "these checkpoints, not these methods"


def avg_at_k(runs: Sequence[Outcomes], level: float = 0.95) -> Estimate:
    """Share of right samples, over the problems and over the runs (one per seed) of one method; the mean over its benchmarks.

    The standard error is clustered by problem (Miller, "Adding error bars to evals", arXiv 2411.00640, 2024), and by seed too from
    `SEEDS_FOR_METHODS` seeds on.

    Raises:
        ValueError: no runs or problems, runs on different problems, or problems of one benchmark with different numbers of samples.
    """
    (scores,) = outcome_scores(runs)
    return estimate(scores, level)


def compare(a: Sequence[Outcomes], b: Sequence[Outcomes], level: float = 0.95) -> Estimate:
    """avg@k of `a` minus that of `b`, paired by problem, over the runs (one per seed) of each; the mean over their benchmarks.

    Raises:
        ValueError: as for `avg_at_k`, or the two were evaluated on different problems.
    """
    mine, other = outcome_scores(a, b)
    return difference(mine, other, level)


def estimate(scores: Scores, level: float) -> Estimate:
    """The mean of the scores.

    The interval is Wilson's with the effective number of samples in the place of their number (Korn and Graubard,
    Survey Methodology 24, 1998), so that it stays within 0 and 1 and has a width even when every answer is wrong.
    """
    value = float(scores.by_seed.mean())
    variance, freedom = _variance(scores.by_problem, [scores])
    low, high = _wilson(value, variance, freedom, scores, level)
    return Estimate(value, float(np.sqrt(variance)), low, high, scores.problems, scores.seeds)


def difference(a: Scores, b: Scores, level: float) -> Estimate:
    """The mean of `a` minus that of `b`, whose scores are of the same problems.

    Pairing removes what problems have in common: hard ones are hard for both. The interval is Student's; where no problem differs from
    another there is no spread to build it on, and it has the width of the "rule of three" (Hanley and Lippman-Hand,
    JAMA 249, 1983): the largest share of deviating problems that would go unseen.
    """
    by_problem = [mine - other for mine, other in zip(a.by_problem, b.by_problem, strict=True)]
    value = float(np.mean([values.mean() for values in by_problem]))
    variance, freedom = _variance(by_problem, [a, b])
    if np.isnan(variance):
        low, high = -1.0, 1.0
    else:
        unseen = 1 - (1 - level) ** (1 / _fewest(by_problem))
        half = student_quantile(level, freedom) * float(np.sqrt(variance)) if variance else unseen
        low, high = max(-1.0, value - half), min(1.0, value + half)
    return Estimate(value, float(np.sqrt(variance)), low, high, a.problems, min(a.seeds, b.seeds))


def _variance(by_problem: Sequence[Array], methods: Sequence[Scores]) -> tuple[float, float]:
    """Variance of the mean of `by_problem`, per benchmark [problems], and its degrees of freedom; `methods` are behind it."""
    weight = len(by_problem) ** -2
    terms = [
        (weight * values.var(ddof=1) / values.size, values.size - 1) if values.size > 1 else (np.nan, 1)
        for values in by_problem
    ]
    if all(method.seeds >= SEEDS_FOR_METHODS for method in methods):
        terms += [(method.by_seed.var(ddof=1) / method.seeds, method.seeds - 1) for method in methods]
    variance = float(sum(term for term, _ in terms))
    if variance < _ROUNDING:
        return 0.0, float(min(values.size for values in by_problem) - 1)
    return variance, float(variance**2 / sum(term**2 / freedom for term, freedom in terms))


def _fewest(by_problem: Sequence[Array]) -> int:
    """The number of problems that counts where all are alike: were the smallest benchmark's unlike, it would be seen last."""
    return len(by_problem) * min(values.size for values in by_problem)


def _wilson(value: float, variance: float, freedom: float, scores: Scores, level: float) -> tuple[float, float]:
    if np.isnan(variance):
        return 0.0, 1.0
    spread = value * (1 - value)
    draws = [table.size * draws for table, draws in zip(scores.tables, scores.draws, strict=True)]
    total = len(draws) ** 2 / sum(1 / count for count in draws)
    alike = total if spread else _fewest(scores.by_problem)
    effective = min(spread / variance, total) if variance else alike
    quantile = student_quantile(level, freedom)
    shrink = 1 + quantile**2 / effective
    centre = (value + quantile**2 / (2 * effective)) / shrink
    half = quantile * float(np.sqrt(spread / effective + quantile**2 / (4 * effective**2))) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)
