"""Sets of problems that are known by name: from the folder of benchmarks where they lie there, else from the hub.

dapo-math-17k  the folder's `train/dapo_math_17k_{en,zh}.jsonl`, from which problems of the benchmarks were taken out; on the hub the
               prompts of open-r1/DAPO-Math-17k-Processed, unfiltered and in the newest revision, because no commit of it is known here
aime24 ...     one of the six benchmarks: the folder's file, or its data set on the hub
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trainer.config import Columns, HubData, JsonlData, NamedData
from trainer.errors import DataError

FOLDER_VARIABLE = "MTPRL_BENCHMARKS_DIR"

_ROOT = Path(__file__).resolve().parents[2]
_HUB_CONFIGS = {"en": "en", "zh": "cn", "all": "all"}


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


def of_the_six(name: str, folder: Path | None, prompting: Mapping[str, Any] | None = None) -> JsonlData | HubData:
    """One of the six: its file in the folder of benchmarks where it is there, else its data set on the hub.

    `prompting` says how its problems become prompts; None: as they stand.
    """
    known, asked = KNOWN[name], prompting or {}
    file = folder / known.file if folder else None
    return JsonlData(path=str(file), **asked) if file and file.is_file() else known.hub.model_copy(update=asked)


def benchmarks_folder(environment: Mapping[str, str]) -> Path | None:
    """The folder of benchmarks and training sets: that of MTPRL_BENCHMARKS_DIR, else `../shared/benchmarks` beside the repository
    where it exists.

    Raises:
        DataError: the variable names no folder.
    """
    given = environment.get(FOLDER_VARIABLE)
    if not given:
        usual = _ROOT.parent / "shared" / "benchmarks"
        return usual if usual.is_dir() else None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"{FOLDER_VARIABLE}: {given!r} is no folder; give the one that holds aime24.jsonl and the others, or unset it"
        )
    return folder.absolute()


def settled(data: NamedData, environment: Mapping[str, str]) -> JsonlData | NamedData | HubData:
    """The same with the place that it is read from, so that another process or machine reads the same problems.

    Raises:
        DataError: MTPRL_BENCHMARKS_DIR names no folder.
    """
    if data.name in KNOWN and data.folder is not None:
        return JsonlData(path=str(Path(data.folder).absolute() / KNOWN[data.name].file), **data.prompting)
    if data.name in KNOWN:
        return of_the_six(data.name, benchmarks_folder(environment), data.prompting)
    if data.folder is not None:
        return data.model_copy(update={"folder": str(Path(data.folder).absolute())})
    folder = benchmarks_folder(environment)
    if folder is not None and all((folder / file).is_file() for file in _files(data)):
        return data.model_copy(update={"folder": str(folder)})
    return HubData(
        id="open-r1/DAPO-Math-17k-Processed",
        config=_HUB_CONFIGS[data.language],
        columns=Columns(problem="prompt", answer="solution"),
        **data.prompting,
    )


def parts(data: NamedData, environment: Mapping[str, str]) -> list[JsonlData | HubData]:
    """What it consists of.

    Raises:
        DataError: MTPRL_BENCHMARKS_DIR names no folder.
    """
    place = settled(data, environment)
    if not isinstance(place, NamedData):
        return [place]
    return [JsonlData(path=str(Path(place.folder or "") / file), **data.prompting) for file in _files(data)]


def _files(data: NamedData) -> list[str]:
    languages = ("en", "zh") if data.language == "all" else (data.language,)
    return [f"train/dapo_math_17k_{language}.jsonl" for language in languages]
