"""Suites: the benchmarks to evaluate on, by name.

    resolve("six", environment)             AIME24, AIME25, AMC23, MATH-500, Minerva, OlympiadBench: 1,547 problems
    resolve("aime24,amc23", environment)    some of them
    resolve("demo", environment)            the demo's held-out additions
    resolve("my/held_out.jsonl", ...)       problems of one's own

The six come from a folder of JSONL files where there is one (MTPRL_BENCHMARKS_DIR, else `../shared/benchmarks` beside the
repository), else from their data sets on the Hugging Face hub.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from trainer.config import Benchmark, HubData, JsonlData, parse
from trainer.config import resolve as fill_in
from trainer.errors import ConfigError, DataError, Problem
from trainer.presets import presets
from trainer.tasks import check
from trainer.tasks.named import KNOWN, benchmarks_folder, of_the_six

SIX = "six"
DEMO = "demo"

_FIELD = "suite"


class Suite(NamedTuple):
    """Benchmarks that are evaluated together."""

    name: str
    benchmarks: tuple[Benchmark, ...]
    warnings: tuple[str, ...] = ()
    """What is not as expected, such as a file with another number of problems than the benchmark has."""
    max_response_tokens: int | None = None
    """The longest response that the suite's problems ask for; None: the caller's own limit."""


def resolve(text: str, environment: Mapping[str, str]) -> Suite:
    """The suite that `text` names: six, demo, names of benchmarks or paths of JSONL files, several with commas.

    `environment` gives MTPRL_HOME and MTPRL_BENCHMARKS_DIR.

    Raises:
        ConfigError: a name is not known, or a file cannot be used; the problem's field is `suite`.
    """
    if text.strip() == SIX:
        return _suite(SIX, tuple(KNOWN), environment)
    if text.strip() == DEMO:
        return _demo(environment)
    # A file whose name has a comma in it is one file.
    names = (text.strip(),) if Path(text.strip()).is_file() else tuple(part.strip() for part in text.split(","))
    return _suite(",".join(names), names, environment)


def miscounted(name: str, count: int) -> str | None:
    """Words for a benchmark of the six that has another number of problems than is usual; None where all is well."""
    if name not in KNOWN or KNOWN[name].problems == count:
        return None
    return (
        f"{name} has {count} problems here and not the {KNOWN[name].problems} of {KNOWN[name].title}: its results are not comparable "
        "with those of others"
    )


def _suite(name: str, parts: tuple[str, ...], environment: Mapping[str, str]) -> Suite:
    try:
        folder = benchmarks_folder(environment)
    except DataError as error:
        raise ConfigError([Problem(_FIELD, str(error))]) from None
    benchmarks = tuple(_benchmark(part, folder) for part in parts)
    twice = [name for name, count in Counter(item.name for item in benchmarks).items() if count > 1]
    if twice:
        message = f"{name!r} has the benchmark {twice[0]} twice, so that their results could not be told apart; leave one out, or rename its file"
        raise ConfigError([Problem(_FIELD, message)])
    counts = [(item.name, _count(item)) for item in benchmarks]
    warnings = [miscounted(name, count) for name, count in counts if count is not None]
    return Suite(name, benchmarks, tuple(filter(None, warnings)))


def _benchmark(text: str, folder: Path | None) -> Benchmark:
    if text in KNOWN:
        return Benchmark(name=text, data=of_the_six(text, folder))
    if text.endswith(".jsonl") or Path(text).is_file():
        return Benchmark(name=_name_of(Path(text)), data=JsonlData(path=str(Path(text).absolute())))
    message = f"{text!r} is not known; choose {SIX}, {DEMO}, one or several (with commas) of {', '.join(KNOWN)}, or the path of a JSONL file"
    raise ConfigError([Problem(_FIELD, message)])


def _name_of(path: Path) -> str:
    """The file's name as a benchmark may be called."""
    name = re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).strip("-_.")
    if not name:
        message = f"{path.name!r} makes no name for a benchmark; give the file a name with letters a to z or digits"
        raise ConfigError([Problem(_FIELD, message)])
    return name[:80]


def _count(benchmark: Benchmark) -> int | None:
    """How many problems its file has; None for a data set on the hub, which is not fetched for that."""
    if isinstance(benchmark.data, HubData):
        return None
    try:
        return check(benchmark.data)
    except DataError as error:
        raise ConfigError([Problem(_FIELD, str(error))]) from None


def _demo(environment: Mapping[str, str]) -> Suite:
    config = parse(fill_in(presets()["demo/detach"].values, variables=environment))
    [benchmark] = config.evaluation.benchmarks
    assert isinstance(benchmark.data, JsonlData)
    if not Path(benchmark.data.path).is_file():
        message = f"{benchmark.data.path} does not exist; run `mtprl make-base` to make the demo's problems"
        raise ConfigError([Problem(_FIELD, message)])
    return Suite(DEMO, (benchmark,), max_response_tokens=config.rollout.max_response_tokens)
