"""What can be checked about a run before anything is loaded: does its model exist, do its problems parse, are there enough?

Needs no torch and reads each data file once, so that a form or a command line can refuse a run at once instead of
letting it fail in the queue.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from trainer.config import (
    Benchmark,
    Data,
    EvaluatedModel,
    EvaluationConfig,
    HubData,
    Model,
    NamedData,
    ReasoningGymData,
    RunConfig,
    Warm,
)
from trainer.errors import ConfigError, DataError, Problem
from trainer.models.headers import HEADS_CONFIG, HEADS_FILE, INDEX_FILE, LONGEST_HEADER
from trainer.models.readable import carried_by, config_of, json_of, why_not_trained
from trainer.rollout.vllm.installed import problems as engine_problems
from trainer.tasks import check as check_data

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_WITHOUT_DEFAULTS = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Classes of tokenizers that have no special tokens but those that are named."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_DEMO_BASE = ("models", "addition")
_DEMO_DATA = ("data", "addition")


def check(config: RunConfig) -> None:
    """Refuse a run whose model or problems cannot be used.

    Raises:
        ConfigError: with every reason, each naming its field, such as evaluation.benchmarks.0.data.path.
    """
    problems = [*model_problems(config.model), *engine_problems(config)]
    problem_count, data_problems = count("data", config.data)
    problems += data_problems
    needed = config.rollout.prompts_per_step
    held_out = config.regime.held_out if isinstance(config.regime, Warm) else 0
    if not data_problems and held_out and problem_count < needed + held_out:
        message = (
            f"{held_out} held out and {needed} in a step (rollout.prompts_per_step) are more than the {problem_count} problems of the "
            "training data; lower one of the two, or give more data"
        )
        problems.append(Problem("regime.held_out", message))
    elif not data_problems and problem_count < needed:
        message = f"{needed} is more than the {problem_count} problems of the training data; use at most {problem_count}, or more data"
        problems.append(Problem("rollout.prompts_per_step", message))
    for index, benchmark in enumerate(config.evaluation.benchmarks):
        problems += count(f"evaluation.benchmarks.{index}.data", benchmark.data)[1]
    problems += chat_problems(
        config.model, {"data": config.data, **_sections("evaluation.", config.evaluation.benchmarks)}
    )
    if problems:
        raise ConfigError(problems)


def has_chat_template(path: str) -> bool | None:
    """Whether the tokenizer of a model has a chat template; None where that cannot be told without fetching the model."""
    config, template = model_file(path, "tokenizer_config.json"), model_file(path, "chat_template.jinja")
    if template is not None and template.is_file():
        return True
    if config is None:
        return None
    try:
        values = json.loads(config.read_bytes())
    except (OSError, ValueError, RecursionError):
        values = {}
    if isinstance(values, dict) and values.get("chat_template"):
        return True
    return None if template is None else False


def model_file(path: str, name: str) -> Path | None:
    """Where a file of the model is, or would be; None where it would have to be fetched."""
    if Path(path).is_dir():
        return Path(path) / name
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(path, name)
    except ValueError:  # no name of the hub
        return None
    if found is None:
        return None
    return Path(found) if isinstance(found, str) else Path()  # known not to exist there


def chat_problems(model: EvaluatedModel, sections: Mapping[str, Data]) -> list[Problem]:
    """Which of these data sections ask for a chat template that the model does not have."""
    asked = [field for field, data in sections.items() if data.chat]
    if not asked or has_chat_template(model.path) is not False:
        return []
    message = f"the tokenizer of {model.path} has no chat template; set chat to false, or give a model that has one"
    return [Problem(f"{field}.chat", message) for field in asked]


def check_evaluation(config: EvaluationConfig) -> int:
    """Refuse an evaluation whose model or problems cannot be used; how many problems it has.

    Raises:
        ConfigError: with every reason, each naming its field.
    """
    asked = _sections("", config.benchmarks)
    if problems := [*model_problems(config.model), *engine_problems(config), *chat_problems(config.model, asked)]:
        raise ConfigError(problems)  # before data sets are fetched
    total = 0
    for index, benchmark in enumerate(config.benchmarks):
        found, refused = count(f"benchmarks.{index}.data", benchmark.data)
        if refused:
            raise ConfigError(refused)  # where the hub is out of reach for one of them, it is for all
        total += found if benchmark.limit is None else min(found, benchmark.limit)
    return total


def _sections(prefix: str, benchmarks: Sequence[Benchmark]) -> dict[str, Data]:
    return {f"{prefix}benchmarks.{index}.data": benchmark.data for index, benchmark in enumerate(benchmarks)}


def model_problems(model: EvaluatedModel) -> list[Problem]:
    """Why a model cannot be used, as far as its files show; empty where nothing speaks against it."""
    path, folder = model.path, Path(model.path)
    try:
        if folder.is_dir():
            messages = [*_folder_problems(folder), *_weights_problems(folder)]
            # Heads that are in a file which cannot be read would be said to be missing.
            heads = _heads_problems(model) if isinstance(model, Model) and not messages else []
            return [*(Problem("model.path", message) for message in messages), *heads]
    except OSError as error:  # no permission, or a name that is too long
        return [Problem("model.path", f"{path} cannot be read ({error.strerror}); give a model's folder")]
    if folder.parts[-2:] == _DEMO_BASE:
        return [Problem("model.path", f"{path} does not exist; run `mtprl make-base` to make the demo base model")]
    if folder.exists():
        return [Problem("model.path", f"{path} is a file; give the folder that holds it")]
    if not _HUB_NAME.fullmatch(path):
        return [
            Problem(
                "model.path",
                f"{path} does not exist; give a model's folder, or its name on the Hugging Face hub, such as Qwen/Qwen3-0.6B",
            )
        ]
    return _hub_problems(path)


def _folder_problems(folder: Path) -> list[str]:
    problems = []
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{folder} has no config.json; give the folder of a Hugging Face model")
    except (OSError, ValueError, RecursionError) as error:
        problems.append(f"{folder}/config.json cannot be read ({error}); fetch or make the model again")
    else:
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            problems.append(f"{folder}/config.json names no model_type; give the folder of a Hugging Face model")
    if not any(file.name != HEADS_FILE for pattern in _WEIGHTS for file in folder.glob(pattern)):
        problems.append(f"{folder} has no weights ({' or '.join(_WEIGHTS)}); fetch or make the model again")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        problems.append(
            f"{folder} has no tokenizer (one of {', '.join(TOKENIZERS)}); save the tokenizer beside the model"
        )
    problems += filter(None, [_tokenizer_problem(folder)])
    return problems


def _tokenizer_problem(folder: Path) -> str | None:
    """What is wrong with tokenizer.json, if it is there, and with what its tokens are said to be."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    tokens = _tokens(file, file.stat().st_mtime_ns)
    if tokens is None:
        return f"{file} cannot be read; fetch or make the model again"
    said = {**json_of(folder / "special_tokens_map.json"), **json_of(folder / "tokenizer_config.json")}
    if said.get("tokenizer_class") in _WITHOUT_DEFAULTS and not said.get("eos_token"):
        return f"{folder / 'tokenizer_config.json'} names no eos_token, without which no response ends; set it"
    config = config_of(folder)
    text = config.get("text_config")
    vocabulary = (text if isinstance(text, dict) else config).get("vocab_size")
    if isinstance(vocabulary, int) and tokens > vocabulary:
        return f"{file} has {tokens} tokens, and the model knows {vocabulary} (vocab_size in config.json); give the model its own tokenizer"
    return None


@lru_cache(maxsize=64)
def _tokens(file: Path, changed: int) -> int | None:
    """How many tokens a tokenizer.json has, those apart that were added to them; None where it cannot be read. Read again only when it has changed."""
    try:
        vocabulary = json.loads(file.read_bytes()).get("model", {}).get("vocab", {})
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return len(vocabulary)


def _weights_problems(folder: Path) -> list[str]:
    damaged = [
        f"{file}: {reason}; fetch or make the model again"
        for file in sorted(folder.glob("*.safetensors"))
        if (reason := _unreadable(file)) is not None
    ]
    return [*damaged, *filter(None, [_index_problem(folder / INDEX_FILE)])]


def _index_problem(index: Path) -> str | None:
    """What is wrong with the list of files of a model, if it has one."""
    if not index.is_file():
        return None
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        absent = [name for name in names if Path(name).name != name or not (index.parent / name).is_file()]
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return f"{index} says in no way that can be read which file holds which tensor; fetch the model again"
    return (
        f"{index} names {', '.join(absent[:5])}, which {'is' if len(absent) == 1 else 'are'} not beside it; fetch the model again"
        if absent
        else None
    )


def _unreadable(file: Path) -> str | None:
    """Why a safetensors file cannot be read, as far as its header and its size show; None where they are in order."""
    try:
        with file.open("rb") as stream:
            return _damage(stream, file.stat().st_size)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _damage(stream: BinaryIO, size: int) -> str | None:
    length = int.from_bytes(stream.read(8), "little")
    if length > min(LONGEST_HEADER, size - 8):  # such as the page or the pointer that came in place of the file
        return "is no safetensors file, or only the beginning of one"
    try:
        header = json.loads(stream.read(length))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        end = max(ends, default=0)
        missing = 8 + length + end - size
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
        return "has no safetensors header that can be read"
    if missing < 0:
        return f"has {-missing} bytes behind its last tensor"
    return f"ends {missing} bytes too early" if missing else None


def _heads_problems(model: Model) -> list[Problem]:
    """What is wrong with the MTP heads that a model carries or that lie beside it, if any do."""
    folder = Path(model.path)
    if wrong := why_not_trained(folder):
        return [Problem("model.path", f"{folder}: {wrong}")]
    published = carried_by(folder)
    if published is not None:
        return _depths_problems(model, published.depths)
    file = folder / HEADS_CONFIG
    if not file.is_file():
        return []
    if not (folder / HEADS_FILE).is_file():
        message = f"{folder} has {HEADS_CONFIG} but no {HEADS_FILE}; fetch or make the model again"
        return [Problem("model.path", message)]
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return [Problem("model.path", f"{file} cannot be read ({error}); fetch or make the model again")]
    stored = values.get("depths") if isinstance(values, dict) else None
    if type(stored) is not int or stored < 0:
        message = f'{file} gives no number of depths, such as {{"depths": 1}}; fetch or make the model again'
        return [Problem("model.path", message)]
    return _depths_problems(model, stored)


def _depths_problems(model: Model, stored: int) -> list[Problem]:
    # Storage takes 0 for a model without heads, which gets new ones.
    if not stored or model.mtp_depths <= stored:
        return []
    message = f"{model.mtp_depths} asked for, but {model.path} has {stored}; use at most {stored}"
    return [Problem("model.mtp_depths", message)]


def _hub_problems(name: str) -> list[Problem]:
    # Imported here: most runs name a folder, and the hub's client doubles the time of this module's import.
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError as error:
        return [Problem("model.path", f"{name} is neither a folder nor a name on the Hugging Face hub: {error}")]
    if cached or not constants.HF_HUB_OFFLINE:
        return []
    message = f"{name} is neither a folder nor in the local Hugging Face cache, and HF_HUB_OFFLINE forbids to fetch it; give a folder, or unset it"
    return [Problem("model.path", message)]


def count(field: str, data: Data) -> tuple[int, list[Problem]]:
    """How many problems a data section holds, and what is wrong with it."""
    try:
        return check_data(data), []
    except DataError as error:
        message = str(error)
    if isinstance(data, ReasoningGymData):
        part, _, message = message.partition(": ")  # task or settings
        return 0, [Problem(f"{field}.{part}", message)]
    if isinstance(data, HubData | NamedData):
        return 0, [Problem(f"{field}.{'id' if isinstance(data, HubData) else 'name'}", message)]
    path = Path(data.path)
    if path.parent.parts[-2:] == _DEMO_DATA and not path.exists():
        message = f"{path} does not exist; run `mtprl make-base` to make the demo's problems"
    return 0, [Problem(f"{field}.path", message)]
