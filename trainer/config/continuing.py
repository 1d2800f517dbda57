"""Whether a run may go on with a configuration: only with the one it began with, but for what does not touch the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from trainer.config.evaluating import EvaluationConfig
from trainer.config.reading import parse_job
from trainer.config.schema import RunConfig
from trainer.errors import ConfigError, Problem

FREE = ("name", "steps", "evaluation", "checkpoint", "logging", "audit", "alarms", "launch")
"""What may change between two attempts at a training: none of it changes what a step does."""

FREE_IN_EVALUATION = ("name", "sequences", "launch")
"""What may change between two attempts at an evaluation."""

C = TypeVar("C", bound=RunConfig | EvaluationConfig)


def free(config: RunConfig | EvaluationConfig) -> tuple[str, ...]:
    """The settings that may change when this goes on."""
    return FREE_IN_EVALUATION if isinstance(config, EvaluationConfig) else FREE


def check_continues(earlier: Mapping[str, Any], config: C, where: str) -> C:
    """Refuse to go on with what was begun with other settings.

    Args:
        earlier: the configuration that `where` was made with.
        config: the one to go on with.
        where: a file or folder, for the message.

    Returns:
        `earlier`, validated.

    Raises:
        ConfigError: naming every setting that differs, or why `earlier` cannot be read.
    """
    try:
        began = parse_job(earlier)
    except ConfigError as error:
        reason = "; ".join(map(str, error.problems))
        raise ConfigError([Problem("", f"{where}: its configuration is refused today ({reason}); {_FIX}")]) from error
    if not isinstance(began, type(config)):
        raise ConfigError([Problem("kind", f"{where} was made by a run of another kind. {_FIX}")])
    changed = [
        Problem(field, f"is {shown(new)}, but {where} was made with {shown(old)}")
        for field, old, new in differences(_fixed(began), _fixed(config))
    ]
    if changed:
        *names, last = free(config)
        may = f"{', '.join(names)} and {last}"
        raise ConfigError(
            [*changed, Problem("", f"a run goes on with what it began with; only {may} may change. {_FIX}")]
        )
    return began


_FIX = (
    "Give the configuration that it began with, or another output folder for a new run "
    "(which may begin from a checkpoint: its folder `model` as model.path)"
)


def _fixed(config: RunConfig | EvaluationConfig) -> dict[str, Any]:
    return {name: value for name, value in config.model_dump(mode="json").items() if name not in free(config)}


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(field, old, new) of every difference between plain values; of two kinds of a section only the kind, because the rest follows from it."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield path, old, new
        return
    names = ["kind"] if old.get("kind") != new.get("kind") else {**old, **new}
    for name in names:
        yield from differences(old.get(name), new.get(name), f"{path}.{name}".strip("."))


def shown(value: Any) -> str:
    """A setting's value in a sentence."""
    return "not set" if value is None else str(value)
