"""What a layout says: where the tensors of MTP heads stand in a checkpoint, and how a depth is put together from them.

A depth has four tensors of its own (`enorm`, `hnorm`, `eh_proj`, `norm`, as trainer.models.mtp calls them) and a decoder block, which is of
the same class as the trunk's and whose tensors are called as theirs are. Keys hold {depth}, the depth from 0, and {layer}, the number
of the trunk's layers plus the depth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

OWN = ("enorm.weight", "hnorm.weight", "eh_proj.weight", "norm.weight")
"""A depth's tensors apart from its block's."""

Shared = Literal["embeddings", "lm_head"]


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which checkpoints carry MTP heads."""

    name: str
    model_types: tuple[str, ...]
    """Of config.json."""
    own: Mapping[str, str]
    """Each of OWN -> its key."""
    block: str
    """What the keys of the block's tensors begin with."""
    hidden_first: bool = False
    """Whether the projection takes [hidden ; embedding], and not [embedding ; hidden]."""
    blind_at_start: bool = False
    """Whether the embedding that is joined to the hidden state of place 0 is taken for zero, as vLLM does for these models."""
    reads_unnormed: bool = False
    """Whether the first depth gets the trunk's states before their final norm, and not after it."""
    chains_normed: bool = False
    """Whether the next depth gets this one's states after its final norm, and not before."""
    copies: Mapping[str, Shared] = field(default_factory=dict)
    """Keys under which a checkpoint may carry a copy of what belongs to the trunk."""
    one_only: bool = False
    """Whether all depths would share one projection, so that only one can be read."""

    def keys(self, depth: int, layers: int) -> dict[str, str]:
        """A depth's own tensors -> their keys in a checkpoint of so many layers."""
        return {name: key.format(depth=depth, layer=layers + depth) for name, key in self.own.items()}

    def prefix(self, depth: int, layers: int) -> str:
        """What the keys of a depth's block begin with."""
        return self.block.format(depth=depth, layer=layers + depth)

    def copied(self, depth: int, layers: int) -> dict[str, Shared]:
        """Keys of the copies that a depth may carry -> what they are copies of."""
        return {key.format(depth=depth, layer=layers + depth): shared for key, shared in self.copies.items()}

    def depths(self, names: Collection[str], layers: int) -> int:
        """How many depths a checkpoint with these tensors has."""
        count = 0
        while any(name.startswith(self.prefix(count, layers)) for name in names):
            count += 1
        return count

    def holds(self, name: str, depth: int, layers: int) -> bool:
        """Whether a tensor belongs to this depth."""
        return name.startswith(self.prefix(depth, layers)) or name in self.keys(depth, layers).values()
