"""What the tests of checkpoints share."""

import os
from pathlib import Path

from trainer.checkpoint import Checkpoints
from trainer.config import parse
from trainer.events import MemorySink
from trainer.loop import save
from trainer.tasks import Grader
from trainer.training import Training, prepare


def changed(config, **sections):
    """The configuration with some settings of its sections replaced, validated anew."""
    values = config.model_dump(mode="json")
    for name, value in sections.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    return parse(values)


def begin(config, folder, sink=None) -> Training:
    folder.mkdir(exist_ok=True)
    with Grader() as grader:
        return prepare(config, folder, sink or MemorySink(), grader)


def save_at(run: Training, step: int, accuracy: float | None = None) -> dict:
    """Save as the loop does after a step; the `checkpoint` event."""
    run.step, run.accuracy = step, accuracy
    save(run)
    return run.sink.events[-1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def steps(checkpoints: Checkpoints) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.good]


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)
