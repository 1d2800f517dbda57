"""How sure an evaluation is: avg@k and differences of it, with intervals that hold for new problems and new trainings.

Problems are a sample of the problems that could have been asked, and a seed is one of the trainings that could have been run. Samples
of one problem are not independent, and neither are problems of one seed; an analysis that counts them as if they were is too
sure. So the variance of a mean is the sum of what varies between problems and what varies between seeds, the two-way
design of Owen, "The pigeonhole bootstrap" (Annals of Applied Statistics 1, 2007), in closed form:

    variance = Var_problems(mean over seeds) / problems + Var_seeds(mean over problems) / seeds

It counts the noise of the samples in both terms, which errs on the side of caution. The degrees of freedom are Satterthwaite's
(Biometrics Bulletin 2, 1946). A bootstrap of both levels estimates the same variance, but with three
seeds its percentiles are too narrow: three values resampled cannot show their own spread.

With fewer than `SEEDS_FOR_METHODS` seeds nothing can be said of the spread between trainings. The interval then speaks of other
problems only, and `scope` says so.

Pure functions on numpy; no torch, no database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

SEEDS_FOR_METHODS = 3
"""Seeds from which a result may speak of a method and not only of the checkpoints that were evaluated."""

Outcomes = Mapping[str, Sequence[int]]
"""One run's evaluation: problem id -> 0 or 1 for each of its k samples."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, or a difference of means, as a share from 0 to 1 (or -1 to 1), with its interval."""

    value: float
    standard_error: float
    """NaN with a single problem, of which no spread can be seen."""
    low: float
    high: float
    problems: int
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
    """Share of right samples, over the problems and over the runs (one per seed) of one method.

    The standard error is clustered by problem (Miller, "Adding error bars to evals", arXiv 2411.00640, 2024), and by seed too from
    `SEEDS_FOR_METHODS` seeds on. The interval is Wilson's with the effective number of samples in the place of their
    number (Korn and Graubard, Survey Methodology 24, 1998), so that it stays within 0 and 1 and has a width even when
    every answer is wrong.

    Raises:
        ValueError: no runs or problems, runs on different problems, or problems with different numbers of samples.
    """
    means, samples = _means(runs, _problem_ids(runs))
    value = float(means.mean())
    variance, freedom = _variance(means.mean(axis=0), [means])
    seeds, problems = means.shape
    low, high = _wilson(value, variance, freedom, problems, seeds * problems * samples, level)
    return Estimate(value, float(np.sqrt(variance)), low, high, problems, seeds)


def compare(a: Sequence[Outcomes], b: Sequence[Outcomes], level: float = 0.95) -> Estimate:
    """avg@k of `a` minus that of `b`, paired by problem, over the runs (one per seed) of each.

    Pairing removes what problems have in common: hard ones are hard for both. The interval is Student's; where no problem differs from
    another there is no spread to build it on, and it has the width of the "rule of three" (Hanley and Lippman-Hand,
    JAMA 249, 1983): the largest share of deviating problems that would go unseen.

    Raises:
        ValueError: as for `avg_at_k`, or the two were evaluated on different problems.
    """
    ids = _problem_ids([*a, *b])
    (means_a, _), (means_b, _) = _means(a, ids), _means(b, ids)
    differences = means_a.mean(axis=0) - means_b.mean(axis=0)
    value, problems = float(differences.mean()), len(ids)
    variance, freedom = _variance(differences, [means_a, means_b])
    if variance > 0:
        half = student_quantile(level, freedom) * float(np.sqrt(variance))
    else:
        half = 1 - (1 - level) ** (1 / problems)
    low, high = (-1.0, 1.0) if problems == 1 else (max(-1.0, value - half), min(1.0, value + half))
    return Estimate(value, float(np.sqrt(variance)), low, high, problems, min(len(a), len(b)))


def _problem_ids(runs: Sequence[Outcomes]) -> list[str]:
    """The problems that all runs share, sorted, so that the order of a mapping changes no rounding."""
    if not runs or not runs[0]:
        raise ValueError("there is nothing to average: no runs, or a run without problems")
    for run in runs[1:]:
        odd = run.keys() ^ runs[0].keys()
        if odd:
            raise ValueError(f"the runs were evaluated on different problems: {min(odd)!r} is not in all of them")
    return sorted(runs[0])


def _means(runs: Sequence[Outcomes], ids: Sequence[str]) -> tuple[npt.NDArray[np.float64], int]:
    """Share of right samples, [seeds, problems], and the number of samples per problem."""
    counts = {len(run[problem]) for run in runs for problem in ids}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"each problem needs the same number of samples, at least one; here are {sorted(counts)}")
    return np.array([[run[problem] for problem in ids] for run in runs], dtype=np.float64).mean(axis=2), counts.pop()


def _variance(by_problem: npt.NDArray[np.float64], arms: Sequence[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """Variance of the mean of `by_problem` [problems], and its degrees of freedom; `arms` are the [seeds, problems] behind it."""
    terms = [(by_problem.var(ddof=1) / by_problem.size, by_problem.size - 1)] if by_problem.size > 1 else [(np.nan, 1)]
    if all(len(arm) >= SEEDS_FOR_METHODS for arm in arms):
        terms += [(arm.mean(axis=1).var(ddof=1) / len(arm), len(arm) - 1) for arm in arms]
    variance = float(sum(term for term, _ in terms))
    if not variance > 0:
        return variance, float(terms[0][1])
    return variance, float(variance**2 / sum(term**2 / freedom for term, freedom in terms))


def _wilson(
    value: float, variance: float, freedom: float, problems: int, total: int, level: float
) -> tuple[float, float]:
    if np.isnan(variance):
        return 0.0, 1.0
    spread = value * (1 - value)
    effective = min(spread / variance, total) if variance > 0 else (total if spread else problems)
    quantile = student_quantile(level, freedom)
    shrink = 1 + quantile**2 / effective
    centre = (value + quantile**2 / (2 * effective)) / shrink
    half = quantile * float(np.sqrt(spread / effective + quantile**2 / (4 * effective**2))) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


@lru_cache(maxsize=256)
def student_quantile(level: float, freedom: float) -> float:
    """The q for which Student's t with `freedom` degrees lies within -q and q with probability `level`.

    With t = sqrt(freedom) tan(angle), the angle's density is cos(angle) ** (freedom - 1): one sum inverts it, to five digits. Above
    1000 degrees of freedom the value for 1000 is used, 0.1 % above the normal one.
    """
    freedom = min(freedom, 1000.0)
    angle = np.linspace(0, np.pi / 2, 40_001)
    density = np.cos(angle) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(np.sqrt(freedom) * np.tan(np.interp(level * mass[-1], mass, angle)))
