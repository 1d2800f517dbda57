"""The run folder: the configuration that it holds, and who may write there."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.config import EvaluationConfig, RunConfig, dump, read_yaml, resolve
from trainer.config.continuing import check_continues
from trainer.errors import ConfigError, Problem, TrainingError
from trainer.manifest import to_disk

CONFIG_FILE = "config.yaml"
CHECKPOINTS = "checkpoints"
LOCK_FILE = ".lock"
"""Held by the trainer as long as it lives, on whatever host."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the run folder; events and checkpoints have one writer. The system lets go of it when the process dies, however that is.

    Raises:
        TrainingError: another trainer holds it.
    """
    with open(folder / LOCK_FILE, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"{folder}: another trainer is writing there; wait for its end, or give another folder"
            ) from None
        yield


def is_held(folder: Path) -> bool:
    """Whether a trainer holds the run folder, on whatever host sees the same one; False where the folder is not seen here."""
    try:
        with open(folder / LOCK_FILE, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def checkpoints(folder: Path) -> dict[int, Path]:
    """The models of the checkpoints that a run folder holds, by step; whether they are whole is not looked at."""
    found = {}
    for path in sorted((folder / CHECKPOINTS).glob("step-*")):
        number = path.name.removeprefix("step-")
        if number.isdecimal() and (path / "model").is_dir():
            found[int(number)] = path / "model"
    return found


def asked(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a configuration's evaluation asks: accuracies of checkpoints are comparable where it is the same."""
    return {name: value for name, value in config["evaluation"].items() if name != "every"}


def keep_config(config: RunConfig | EvaluationConfig, folder: Path) -> None:
    """Write the configuration into the run folder, unless it says the same already.

    Raises:
        ConfigError: the folder holds a run that cannot go on with this configuration, or whose configuration cannot be read.
        OSError: it cannot be written.
    """
    kept = folder / CONFIG_FILE
    if not kept.exists() or check_continues(_began_with(kept), config, str(kept)) != config:
        write_config(config, folder)


def write_config(config: RunConfig | EvaluationConfig, folder: Path) -> None:
    """Write the configuration, all of it or nothing, so that it is there whatever becomes of the process.

    Raises:
        OSError: it cannot be written.
    """
    partial = folder / f".{CONFIG_FILE}.partial"
    partial.write_text(dump(config), encoding="utf-8")
    to_disk(partial)
    partial.replace(folder / CONFIG_FILE)


def _began_with(kept: Path) -> dict[str, Any]:
    try:
        return resolve(read_yaml(kept))
    except ConfigError as error:
        fix = (
            f"{kept} is what the run began with: put it right, or remove it; checkpoints know their configuration, too"
        )
        raise ConfigError([*error.problems, Problem("", fix)]) from None
