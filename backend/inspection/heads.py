"""Which MTP heads a model has, by the names of its tensors (trainer.models.layouts)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from trainer.models.headers import HEADS_CONFIG, HEADS_FILE
from trainer.models.layouts import ATTACHED, Carried


@dataclass(frozen=True, slots=True)
class Heads:
    """MTP heads that a run can use."""

    layout: str
    depths: int
    keys: str
    """Where their tensors stand."""
    projection: str
    """What the projection takes, in this order."""
    copies: tuple[str, ...] = ()
    """Tensors of theirs that are copies of the trunk's."""

    @property
    def words(self) -> str:
        """What is there, in a few words."""
        depths = "1 depth" if self.depths == 1 else f"{self.depths} depths"
        return f"{depths}, {self.layout} layout ({self.keys})"


def published(found: Carried, names: Collection[str]) -> Heads:
    """Heads among a model's own tensors.

    Args:
        found: what they are.
        names: of all its tensors.
    """
    layout, layers = found.layout, found.layers
    copies = [key for depth in range(found.depths) for key in layout.copied(depth, layers) if key in names]
    return Heads(layout.name, found.depths, layout.prefix(0, layers) + "*", _order(layout.hidden_first), tuple(copies))


def attached(folder: Path) -> Heads | None:
    """Heads that this program saved beside a model."""
    try:
        depths = json.loads((folder / HEADS_CONFIG).read_bytes())["depths"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    if type(depths) is not int or depths < 1:
        return None
    return Heads(ATTACHED.name, depths, HEADS_FILE, _order(ATTACHED.hidden_first))


def _order(hidden_first: bool) -> str:
    return "[hidden, embedding]" if hidden_first else "[embedding, hidden]"
