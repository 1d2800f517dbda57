"""Every random choice is a pure function of the run's seed, its purpose and the step, so that a resumed run repeats nothing."""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit seed for one purpose, such as ("rollout", step); different purposes give unrelated ones."""
    text = "/".join([str(seed), purpose, *map(str, numbers)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
