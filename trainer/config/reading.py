"""Reading configurations: YAML files, `a.b=c` overrides and `${NAME}` variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from trainer.config import yaml_text
from trainer.config.evaluating import EvaluationConfig
from trainer.config.schema import RunConfig
from trainer.config.section import Section
from trainer.config.words import in_words
from trainer.errors import ConfigError, Problem


def parse(values: Mapping[str, Any]) -> RunConfig:
    """Validate a plain mapping.

    Raises:
        ConfigError: with one Problem for every refused value, each naming its field and the fix.
    """
    return _validated(RunConfig, values)


def parse_job(values: Mapping[str, Any]) -> RunConfig | EvaluationConfig:
    """Validate a plain mapping as an evaluation where its `kind` is that, else as a training.

    Raises:
        ConfigError: as for `parse`.
    """
    if values.get("kind") == "evaluation":
        return _validated(EvaluationConfig, values)
    return _validated(RunConfig, values)


C = TypeVar("C", bound=Section)


def _validated(kind: type[C], values: Mapping[str, Any]) -> C:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError([in_words(item) for item in error.errors()]) from None


def load(path: str | Path, overrides: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> RunConfig:
    """Read a YAML file, apply `a.b=c` overrides, fill in `${NAME}` variables and validate.

    Raises:
        ConfigError: the file is absent or no YAML mapping, an override is malformed, or a value is refused.
    """
    return parse(resolve(read_yaml(path), overrides, variables))


def load_job(path: str | Path) -> RunConfig | EvaluationConfig:
    """Read the YAML file of a training or an evaluation and validate it.

    Raises:
        ConfigError: as for `load`.
    """
    return parse_job(resolve(read_yaml(path)))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds, unvalidated.

    Raises:
        ConfigError: the file cannot be read or holds no YAML mapping.
    """
    if not str(path):
        raise ConfigError([Problem("", "the path of the configuration is empty; give the path of a YAML file")])
    try:
        values = yaml_text.read(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            [Problem("", f"{path}: cannot be read ({error.strerror}); give the path of a YAML file")]
        ) from None
    except ValueError as error:  # UnicodeDecodeError is one, too
        raise ConfigError([Problem("", f"{path}: is not valid YAML: {error}")]) from None
    if not isinstance(values, dict):
        raise ConfigError(
            [Problem("", f"{path}: must hold a mapping such as `regime: {{kind: occ}}`, not {type(values).__name__}")]
        )
    return values


def resolve(
    values: Mapping[str, Any], overrides: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Apply `a.b=c` overrides (c is read as YAML) and fill in `${NAME}` from `variables`, then the environment.

    A number in an override's key is the place in a list: `evaluation.benchmarks.0.limit=100`.

    Raises:
        ConfigError: an override is malformed, or a variable is not set.
    """
    result = _copy(values)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError([Problem("--set", f"{override!r} is not of the form a.b=c, such as optimizer.lr=1e-6")])
        if not all(part.strip() for part in key.split(".")):
            message = (
                f"{override!r}: the name of the setting is empty, or a part of it; write it as in optimizer.lr=1e-6"
            )
            raise ConfigError([Problem("--set", message)])
        try:
            value = yaml_text.read(text)
        except ValueError as error:
            raise ConfigError([Problem("--set", f"{override!r}: the value is not valid YAML: {error}")]) from None
        _assign(result, key.strip(), value)
    filled = _fill_in(result, {**os.environ, **(variables or {})})
    assert isinstance(filled, dict)
    return filled


def dump(config: RunConfig | EvaluationConfig) -> str:
    """The configuration as YAML, every value written out, as the run folder keeps it."""
    return yaml_text.write(config.model_dump(mode="json"))


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return list(map(_copy, value)) if isinstance(value, list | tuple) else value


def _assign(values: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    holder: Any = values
    for depth, key in enumerate(parents):
        if isinstance(holder, dict):
            holder = holder.setdefault(key, {})
        else:
            holder = holder[_place(holder, key, path, parents[:depth])]
    if isinstance(holder, dict):
        holder[last] = value
    else:
        holder[_place(holder, last, path, parents)] = value


def _place(holder: Any, key: str, path: str, above: list[str]) -> int:
    """The place in a list that an override's key names."""
    if isinstance(holder, list) and key.isdecimal() and int(key) < len(holder):
        return int(key)
    what = f"a list with places 0 to {len(holder) - 1}" if isinstance(holder, list) and holder else repr(holder)
    raise ConfigError([Problem(path, f"cannot be set, because {'.'.join(above)} holds {what}")])


_VARIABLE = re.compile(r"\$\{(\w+)\}")


def _fill_in(value: Any, variables: Mapping[str, str], path: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _fill_in(item, variables, f"{path}.{key}".strip(".")) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill_in(item, variables, f"{path}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise ConfigError(
                [Problem(path, f"{value!r} names the variable {match[1]}, which is not set; set it in the environment")]
            )
        return variables[match[1]]

    return _VARIABLE.sub(replace, value)
