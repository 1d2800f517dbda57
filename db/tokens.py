"""What a completion says of each of its tokens, as one compressed column: whole lists go in and come out, and nothing asks for a part."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tokens:
    """A completion token by token, before the update of its step; all lists have one entry per token."""

    texts: Sequence[str]
    """Together the text, special tokens included; empty for a token that ends no character."""
    log_probs: Sequence[float | None]
    """By the policy; None where it was not finite."""
    mtp_log_probs: Sequence[float | None]
    """By MTP depth 1; None where it predicts none."""
    agrees: Sequence[int | None]
    """1 where depth 1 and the policy have the same most likely token, so that a greedy draft is taken; 0 where not; None as above."""


def pack(tokens: Mapping[str, Any]) -> bytes:
    """The lists of an event, checked, as the column holds them.

    Raises:
        KeyError, TypeError, ValueError: they are not what `trainer.events` says.
    """
    lists = {name: tokens[name] for name in Tokens.__dataclass_fields__}
    for name, values in lists.items():
        allowed = str if name == "texts" else (int | None if name == "agrees" else float | int | None)
        if not isinstance(values, list) or not all(isinstance(value, allowed) for value in values):
            raise TypeError(name)
    if len({len(values) for values in lists.values()}) != 1:
        raise ValueError("lists of different lengths")
    written = json.dumps(list(lists.values()), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return zlib.compress(written.encode("utf-8", "replace"))


def unpack(packed: bytes) -> Tokens:
    """The lists again."""
    return Tokens(*json.loads(zlib.decompress(packed)))
