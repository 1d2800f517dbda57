"""Gradient checkpointing: a block keeps nothing for the backward pass but its inputs, and runs again there (arXiv 1604.06174).

Not transformers' own switch, which works in training mode alone and so would bring dropout with it. Not re-entrant: a re-entrant block whose
inputs are detached, as those of a head under `detach` are, leaves all its parameters without a gradient and says nothing (xtuner #2048).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module) -> None:
    """Let a module run again in the backward pass. Nothing else about it changes: its parameters keep their names."""
    kind = type(block)
    block.__class__ = type(kind.__name__, (_Recomputed, kind), {})


class _Recomputed(nn.Module):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return super().__call__(*args, **kwargs)
        # Nothing random happens in a block, so that no state of a random generator need be kept.
        return checkpoint(super().__call__, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
