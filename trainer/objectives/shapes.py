"""Shapes of what comes from other code: tensors that only broadcast would give numbers, and wrong ones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def check_shapes(tables: Mapping[str, Tensor], advantages: Tensor | None = None) -> None:
    """Refuse tables [B, T] of different shapes, and advantages that are not [B].

    Raises:
        ValueError: naming every shape.
    """
    shape = next(iter(tables.values())).shape
    fit = len(shape) == 2 and all(table.shape == shape for table in tables.values())
    if fit and (advantages is None or advantages.shape == shape[:1]):
        return
    *some, last = (f"{name} {tuple(table.shape)}" for name, table in tables.items())
    further = "" if advantages is None else f", advantages {tuple(advantages.shape)} must be [B]"
    raise ValueError(f"shapes do not fit: {', '.join(some)} and {last} must be equal [B, T]{further}")
