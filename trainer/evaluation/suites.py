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

from trainer.config import Benchmark, Columns, HubData, JsonlData, parse
from trainer.config import resolve as fill_in
from trainer.errors import ConfigError, DataError, Problem
from trainer.presets import presets
from trainer.tasks import check
from trainer.tasks.named import benchmarks_folder

SIX = "six"
DEMO = "demo"

_FIELD = "suite"


class Known(NamedTuple):
    """One of the six: its file in the folder, how many problems it has, and its data set on the hub."""

    title: str
    file: str
    problems: int
    hub: HubData


KNOWN: dict[str, Known] = {
    "aime24": Known(
        "AIME 2024",
        "aime24.jsonl",
        30,
        HubData(id="HuggingFaceH4/aime_2024", split="train", revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a"),
    ),
    "aime25": Known(
        "AIME 2025",
        "aime25.jsonl",
        30,
        HubData(id="math-ai/aime25", split="test", revision="563bb8404243c5f09de6ec262f2db674fe5bce9b"),
    ),
    "amc23": Known(
        "AMC 2023",
        "amc23.jsonl",
        40,
        HubData(
            id="math-ai/amc23",
            split="test",
            revision="80815d37005feb82cd7f8fbc6901d5d3eff43057",
            columns=Columns(problem="question"),
        ),
    ),
    "math500": Known(
        "MATH-500",
        "math500.jsonl",
        500,
        HubData(
            id="HuggingFaceH4/MATH-500",
            split="test",
            revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
            columns=Columns(id="unique_id"),
        ),
    ),
    "minerva": Known(
        "Minerva Math",
        "minerva.jsonl",
        272,
        HubData(id="math-ai/minervamath", split="test", columns=Columns(problem="question")),
    ),
    "olympiadbench": Known(
        "OlympiadBench",
        "olympiadbench.jsonl",
        675,
        HubData(id="math-ai/olympiadbench", split="test", columns=Columns(problem="question", answer="final_answer.0")),
    ),
}
"""The six by name, in their usual order. Minerva and OlympiadBench are read from the hub in their newest revision, because no
commit of theirs is known here; the usual count of OlympiadBench is 674 or 675. The hash of the problems that is recorded with
every evaluation says which ones they were."""


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
    known = KNOWN.get(text)
    if known is not None:
        file = folder / known.file if folder else None
        data = JsonlData(path=str(file)) if file and file.is_file() else known.hub
        return Benchmark(name=text, data=data)
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
