"""Training sets that are known by name: from the folder of benchmarks where they lie there, else from the hub.

dapo-math-17k  the folder's `train/dapo_math_17k_{en,zh}.jsonl`, from which problems of the benchmarks were taken out; on the hub the
               prompts of open-r1/DAPO-Math-17k-Processed, unfiltered and in the newest revision, because no commit of it is known here
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.config import Columns, HubData, JsonlData, NamedData
from trainer.errors import DataError

FOLDER_VARIABLE = "MTPRL_BENCHMARKS_DIR"

_ROOT = Path(__file__).resolve().parents[2]
_HUB_CONFIGS = {"en": "en", "zh": "cn", "all": "all"}


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


def settled(data: NamedData, environment: Mapping[str, str]) -> NamedData | HubData:
    """The same with the place that it is read from, so that another process or machine reads the same problems.

    Raises:
        DataError: MTPRL_BENCHMARKS_DIR names no folder.
    """
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
    if isinstance(place, HubData):
        return [place]
    return [JsonlData(path=str(Path(place.folder or "") / file), **data.prompting) for file in _files(data)]


def _files(data: NamedData) -> list[str]:
    languages = ("en", "zh") if data.language == "all" else (data.language,)
    return [f"train/dapo_math_17k_{language}.jsonl" for language in languages]
