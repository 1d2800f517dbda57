"""The tensors of a model's folder, by name, from the headers of its safetensors files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

from trainer.preflight import HEADS_FILE, LONGEST_HEADER


class TensorFacts(NamedTuple):
    """One tensor, as a header names it."""

    dtype: str
    """As safetensors calls it, such as F32 or BF16."""
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return math.prod(self.shape)


def trunk_tensors(folder: Path) -> dict[str, TensorFacts] | None:
    """The tensors of the model's weights, its own heads' file apart; None where they are in no safetensors file that can be read."""
    files = [file for file in sorted(folder.glob("*.safetensors")) if file.name != HEADS_FILE]
    try:
        return {name: facts for file in files for name, facts in _header(file).items()} if files else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def head_tensors(folder: Path) -> dict[str, TensorFacts]:
    """The tensors of the heads that this program saved beside a model; empty where there are none that can be read."""
    try:
        return _header(folder / HEADS_FILE)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _header(file: Path) -> dict[str, TensorFacts]:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"{file} is no safetensors file")
        header = json.loads(stream.read(length))
    return {
        name: TensorFacts(str(tensor["dtype"]), tuple(tensor["shape"]))
        for name, tensor in header.items()
        if name != "__metadata__"
    }
