"""From samples to tables: what each run of a method reached on each problem of each benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Outcomes = Mapping[str, Mapping[str, Sequence[int]]]
"""One run's evaluation: benchmark -> problem id -> 0 or 1 for each of its k samples."""

Sample = TypeVar("Sample")


class Scores(NamedTuple):
    """What the runs of one method reached; a score is a share from 0 to 1."""

    tables: tuple[Array, ...]
    """Per benchmark [seeds, problems]."""
    draws: tuple[int, ...]
    """Per benchmark, the independent draws behind one score: no more can be known of a problem than they tell."""

    @property
    def seeds(self) -> int:
        """Runs, one per seed."""
        return len(self.tables[0])

    @property
    def problems(self) -> int:
        """Of all benchmarks."""
        return sum(table.shape[1] for table in self.tables)

    @property
    def by_problem(self) -> list[Array]:
        """Mean over the runs: per benchmark [problems]."""
        return [table.mean(axis=0) for table in self.tables]

    @property
    def by_seed(self) -> Array:
        """Mean over benchmarks, each of which weighs the same: [seeds]."""
        return np.mean([table.mean(axis=1) for table in self.tables], axis=0)


def outcome_scores(*methods: Sequence[Outcomes]) -> list[Scores]:
    """The share of right samples, for methods that were evaluated on the same problems.

    Raises:
        ValueError: as for `score`.
    """
    return score(methods, lambda samples: sum(samples) / len(samples), lambda samples: samples)


def score(
    methods: Sequence[Sequence[Mapping[str, Mapping[str, Sequence[Sample]]]]],
    of: Callable[[Sequence[Sample]], float],
    draws: Callable[[int], int],
) -> list[Scores]:
    """Score the samples of each problem of each run.

    Args:
        methods: for each method its runs, one per seed.
        of: from one problem's samples to their score.
        draws: from the number of samples to that of independent draws behind a score.

    Raises:
        ValueError: nothing to score, runs on different benchmarks or problems, or problems of one benchmark with different numbers of
            samples.
    """
    problems = _problems([run for runs in methods for run in runs])
    if not all(methods):
        raise ValueError("there is nothing to average: a method without runs")
    return [_scores(runs, problems, of, draws) for runs in methods]


def _scores(
    runs: Sequence[Mapping[str, Mapping[str, Sequence[Sample]]]],
    problems: Mapping[str, Sequence[str]],
    of: Callable[[Sequence[Sample]], float],
    draws: Callable[[int], int],
) -> Scores:
    samples = [_samples([run[benchmark] for run in runs], benchmark) for benchmark in problems]
    tables = [
        np.array([[of(run[benchmark][problem]) for problem in ids] for run in runs], dtype=np.float64)
        for benchmark, ids in problems.items()
    ]
    return Scores(tuple(tables), tuple(draws(count) for count in samples))


def _problems(runs: Sequence[Mapping[str, Mapping[str, Sequence[Sample]]]]) -> dict[str, list[str]]:
    """The problems of each benchmark, which all runs share, sorted, so that the order of a mapping changes no rounding."""
    if not runs or not runs[0] or not all(runs[0].values()):
        raise ValueError("there is nothing to average: no runs, or a run without problems")
    for run in runs[1:]:
        odd = run.keys() ^ runs[0].keys()
        if odd:
            raise ValueError(f"the runs were evaluated on different benchmarks: {min(odd)!r} is not in all of them")
        for benchmark in run:
            unlike = run[benchmark].keys() ^ runs[0][benchmark].keys()
            if unlike:
                raise ValueError(
                    f"{benchmark}: the runs were evaluated on different problems: {min(unlike)!r} is not in all of them"
                )
    return {benchmark: sorted(runs[0][benchmark]) for benchmark in sorted(runs[0])}


def _samples(runs: Sequence[Mapping[str, Sequence[Sample]]], benchmark: str) -> int:
    """Samples per problem."""
    counts = {len(samples) for run in runs for samples in run.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(
            f"{benchmark}: each problem needs the same number of samples, at least one; here are {sorted(counts)}"
        )
    return counts.pop()
