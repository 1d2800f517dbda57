"""Checksums of tensors, bit for bit: whether what vLLM computes with is what the trainer holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

_AT_ONCE = 2**22  # numbers: 32 MiB of intermediate sums
_SPREAD = 0x9E3779B97F4A7C15 - 2**64  # odd, so that every place of a tensor counts differently
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def checksum(tensor: Tensor) -> int:
    """A 64-bit number that depends on every bit of the tensor and on its place; not on the shape."""
    bits = tensor.detach().contiguous().view(-1).view(_BITS[tensor.element_size()])
    total = 0
    for start in range(0, len(bits), _AT_ONCE):
        part = bits[start : start + _AT_ONCE].long()
        places = torch.arange(start, start + len(part), device=part.device) * _SPREAD
        total += int((part * (places | 1)).sum())  # int64 wraps around
    return total % 2**64


def checksums_within(model: nn.Module) -> set[int]:
    """Checksums of all parameters of an engine's model, and of the tensors of a checkpoint that it keeps in one parameter.

    Engines put projections that read the same input into one parameter, one below the other, and add rows to the vocabulary.
    """
    return {
        checksum(part)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        for part in _parts(module, parameter)
        if part.numel()
    }


def _parts(module: nn.Module, parameter: Tensor) -> Iterator[Tensor]:
    yield parameter
    sizes = getattr(module, "output_partition_sizes", None) or []
    if len(sizes) > 1 and parameter.dim() and parameter.shape[0] == sum(sizes):
        yield from parameter.split(list(sizes))
    rows = getattr(module, "org_vocab_size", None)
    if rows is not None and parameter.shape[0] > rows:
        yield parameter[:rows]


def not_within(tensors: Iterable[tuple[str, Tensor]], found: set[int], dtype: torch.dtype) -> list[str]:
    """Names of the tensors that are not among the checksums, neither in the engine's dtype nor in their own.

    Args:
        tensors: with their names.
        found: `checksums_within` of the engine's model.
        dtype: that the engine computes in.
    """
    return [name for name, tensor in tensors if not {checksum(tensor.to(dtype)), checksum(tensor)} & found]
