"""What the tests of the configuration share."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.config import parse
from trainer.errors import ConfigError

LEAST: dict[str, Any] = {
    "model": {"path": "m"},
    "regime": {"kind": "occ"},
    "data": {"kind": "jsonl", "path": "d.jsonl"},
}


def refusals(**changes: Any) -> list[str]:
    """What `parse` says of the least configuration with these changes."""
    with pytest.raises(ConfigError) as refused:
        parse({**LEAST, **changes})
    return [str(problem) for problem in refused.value.problems]
