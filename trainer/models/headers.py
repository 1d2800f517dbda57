"""The tensors of a model's folder, by name, from the headers of its safetensors files: no torch, no weights read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

HEADS_FILE = "mtp.safetensors"
"""Heads that this program attached to a model without MTP; no part of the model's own weights."""
HEADS_CONFIG = "mtp_config.json"
"""How many depths they are."""
INDEX_FILE = "model.safetensors.index.json"
ONLY_FILE = "model.safetensors"
"""All weights, where no index names several files; other files beside it are not the model's (Mistral's consolidated.safetensors)."""
LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header: the bound of that library."""


class TensorFacts(NamedTuple):
    """One tensor, as a header names it."""

    dtype: str
    """As safetensors calls it, such as F32 or BF16."""
    shape: tuple[int, ...]
    file: str
    """Name of the file that holds it."""

    @property
    def numbers(self) -> int:
        """How many it holds."""
        return math.prod(self.shape)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of the model's own weights: those that its index names, else the usual one, else all.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: the index is none.
    """
    index = folder / INDEX_FILE
    if index.is_file():
        return [folder / name for name in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
    if (folder / ONLY_FILE).is_file():
        return [folder / ONLY_FILE]
    return [file for file in sorted(folder.glob("*.safetensors")) if file.name != HEADS_FILE]


def tensors(folder: Path) -> dict[str, TensorFacts] | None:
    """The tensors of the model's own weights; None where they are in no safetensors file that can be read."""
    try:
        files = weight_files(folder)
        return {name: facts for file in files for name, facts in header(file).items()} if files else None
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def head_tensors(folder: Path) -> dict[str, TensorFacts]:
    """The tensors of the heads that this program attached to a model; empty where there are none that can be read."""
    try:
        return header(folder / HEADS_FILE)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def header(file: Path) -> dict[str, TensorFacts]:
    """The tensors of one file.

    Raises:
        OSError, ValueError, LookupError, TypeError, AttributeError: it is no safetensors file that can be read.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > LONGEST_HEADER:
            raise ValueError(f"{file} is no safetensors file")
        found = json.loads(stream.read(length))
    return {
        name: TensorFacts(str(tensor["dtype"]), tuple(tensor["shape"]), file.name)
        for name, tensor in found.items()
        if name != "__metadata__"
    }
