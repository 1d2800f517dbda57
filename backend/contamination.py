"""Whether a run's training data holds problems of the benchmarks, as the command line and the New run page say it."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from backend.settings import variables
from trainer.config import Benchmark, Data, HubData, RunConfig, Section
from trainer.config.schema import Evaluation
from trainer.config.words import in_words
from trainer.errors import ConfigError, DataError
from trainer.evaluation import suites
from trainer.tasks import Item, load
from trainer.tasks.contamination import Overlap, overlaps

_KEPT = 16
_known: OrderedDict[str, list[Overlap]] = OrderedDict()
"""The newest results by a hash of what was compared."""


@dataclass(frozen=True)
class Report:
    """What training data and benchmarks have in common."""

    training: str
    """What the training data is called by."""
    problems: int
    overlaps: list[Overlap]
    """One per benchmark: the run's own, then those of the suite."""
    warnings: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The benchmarks that are in the training data, in one sentence; "" where none is."""
        how = "holds" if any(overlap.exact for overlap in self.overlaps) else "comes near"
        return f"the training data {how} problems to evaluate on: {self.by_benchmark}" if self.by_benchmark else ""

    @property
    def by_benchmark(self) -> str:
        """How many of which benchmark, in words; "" where there is none."""
        return "; ".join(_in_words(overlap) for overlap in self.overlaps if overlap.matches)

    def plain(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "training": self.training,
            "problems": self.problems,
            "warnings": list(self.warnings),
            "benchmarks": [
                {
                    "benchmark": overlap.benchmark,
                    "problems": overlap.problems,
                    "exact": overlap.exact,
                    "near": overlap.near,
                    "matches": [
                        {
                            "problem": match.problem.id,
                            "training": match.training.id,
                            "place": match.training.place,
                            "score": round(match.score, 3),
                            "problem_text": match.problem.problem,
                            "training_text": match.training.problem,
                        }
                        for match in overlap.matches
                    ],
                }
                for overlap in self.overlaps
            ],
        }


class Compared(Section):
    """What counts of a configuration; a run has the same."""

    data: Data
    evaluation: Evaluation = Evaluation()


def compared(values: Mapping[str, Any]) -> Compared:
    """These sections by themselves, without a model or a regime.

    Raises:
        ConfigError: they are refused.
    """
    try:
        return Compared.model_validate(values)
    except ValidationError as error:
        raise ConfigError([in_words(item) for item in error.errors()]) from None


def report(config: RunConfig | Compared, suite: str | None = None, training: Sequence[Item] | None = None) -> Report:
    """Compare the training data with the run's own benchmarks and those of a suite.

    Args:
        config: the run.
        suite: as `trainer.evaluation.suites.resolve` takes it; None: those of the six whose files are at hand.
        training: the training data, where it has been read already.

    Raises:
        ConfigError: there is no such suite.
        DataError: training data cannot be read, or none of the benchmarks.
    """
    asked = _suite(suite)
    benchmarks = _of_their_own_names(config.evaluation.benchmarks, asked.benchmarks)
    return compare(config.data, benchmarks, training, asked.warnings)


def report_data(data: Data, suite: str | None = None, training: Sequence[Item] | None = None) -> Report:
    """The same for a data section by itself.

    Raises:
        ConfigError: there is no such suite.
        DataError: the data cannot be read, or none of the benchmarks.
    """
    asked = _suite(suite)
    return compare(data, asked.benchmarks, training, asked.warnings)


def benchmarks_of(config: RunConfig) -> list[Benchmark]:
    """What a run evaluates on, during training and afterwards, and those of the six that are at hand: its checkpoints may be asked them later.

    Raises:
        ConfigError: there is no such suite.
    """
    afterwards = config.evaluation.afterwards
    later = _suite(afterwards.suite).benchmarks if afterwards else ()
    return _of_their_own_names(_of_their_own_names(config.evaluation.benchmarks, later), _suite(None).benchmarks)


def compare(
    data: Data, benchmarks: Sequence[Benchmark], training: Sequence[Item] | None = None, warnings: Sequence[str] = ()
) -> Report:
    """Compare training data with benchmarks; one that cannot be read is left out, and a warning says so.

    Raises:
        DataError: training data cannot be read, or none of the benchmarks.
    """
    training = load(data) if training is None else training
    items: dict[str, Sequence[Item]] = {}
    refused: dict[str, DataError] = {}
    for benchmark in benchmarks:
        try:
            items[benchmark.name] = load(benchmark.data)[: benchmark.limit]
        except DataError as error:
            refused[benchmark.name] = error
    if refused and not items:
        raise next(iter(refused.values()))
    left_out = [f"{name} is not compared: {error}" for name, error in refused.items()]
    return Report(data.source, len(training), _overlaps(training, items), (*warnings, *left_out))


def _of_their_own_names(own: Sequence[Benchmark], asked: Sequence[Benchmark]) -> list[Benchmark]:
    """Both; one of the run's own that is called like one of a suite is the one that counts."""
    taken = {benchmark.name for benchmark in own}
    return [*own, *(benchmark for benchmark in asked if benchmark.name not in taken)]


def _suite(text: str | None) -> suites.Suite:
    environment = {**os.environ, **variables()}
    if text is not None:
        return suites.resolve(text, environment)
    six = suites.resolve(suites.SIX, environment)
    return six._replace(benchmarks=tuple(item for item in six.benchmarks if not isinstance(item.data, HubData)))


def _overlaps(training: Sequence[Item], benchmarks: Mapping[str, Sequence[Item]]) -> list[Overlap]:
    """As `trainer.tasks.contamination.overlaps`; what this process compared before is not compared again."""
    key = _hash({"": training, **benchmarks})
    if key not in _known:
        _known[key] = overlaps(training, benchmarks)
        while len(_known) > _KEPT:
            _known.popitem(last=False)
    return _known[key]


def _hash(sets: Mapping[str, Sequence[Item]]) -> str:
    digest = hashlib.sha256()
    for name, items in sets.items():
        digest.update(repr((name, len(items))).encode())
        for item in items:
            digest.update(repr((item.id, item.place, item.problem, item.scorer is None)).encode())
    return digest.hexdigest()


def _in_words(overlap: Overlap) -> str:
    if overlap.exact == overlap.problems:
        return f"all {overlap.problems} of {overlap.benchmark}, word for word"
    parts = [(overlap.exact, "word for word"), (overlap.near, "nearly")]
    said = " and ".join(f"{count} {how}" for count, how in parts if count)
    return f"{len(overlap.matches)} of the {overlap.problems} of {overlap.benchmark} ({said})"
