"""Which MTP heads a model carries, by the names of its tensors.

attached    mtp.safetensors beside the model, as this program saves them
MiMo        model.mtp_layers.<k>.*
DeepSeek    model.layers.<n>.eh_proj.weight behind the last layer (DeepSeek-V3; GLM-4.5 and its Air, too)
Qwen        mtp.fc.weight and mtp.layers.<k>.* (Qwen3-Next, Qwen3.5)
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

ATTACHED = "attached"
# Configuration keys by which published checkpoints say that they carry heads of their own, as in trainer.models.storage.
_COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")
_PATTERNS = {
    "MiMo": re.compile(r"(?:model\.)?mtp_layers\.(\d+)\."),
    "DeepSeek": re.compile(r"model\.layers\.(\d+)\.eh_proj\.weight"),
    "Qwen": re.compile(r"(?:model\.)?mtp\.layers\.(\d+)\."),
}


@dataclass(frozen=True, slots=True)
class Heads:
    """MTP heads that a model carries."""

    layout: str
    depths: int
    keys: str
    """Where their tensors stand, as a pattern."""

    @property
    def readable(self) -> bool:
        """Whether a run can use them."""
        return self.layout == ATTACHED

    @property
    def words(self) -> str:
        """What is there, in a few words."""
        depths = "1 depth" if self.depths == 1 else f"{self.depths} depths"
        unread = "" if self.readable else ", not readable yet"
        return f"{depths}, {self.layout} layout ({self.keys}){unread}"


def published(names: Collection[str], config: Mapping[str, Any]) -> Heads | None:
    """Heads among a model's own tensors; None where there are none.

    Args:
        names: of its tensors; none where they are not known.
        config: its config.json.
    """
    for layout, pattern in _PATTERNS.items():
        numbers = {int(match[1]) for name in names if (match := pattern.match(name))}
        if numbers:
            shown = pattern.pattern.replace(r"(\d+)", str(min(numbers))).replace("\\", "").replace("(?:model.)?", "")
            called = "GLM" if layout == "DeepSeek" and str(config.get("model_type", "")).startswith("glm") else layout
            return Heads(called, len(numbers), shown + ("*" if shown.endswith(".") else ""))
    for key in _COUNTS:
        count = config.get(key)
        if isinstance(count, int) and count > 0:
            return Heads("unknown", count, f"config.json, {key}")
    return None


def is_head(name: str, layers: int) -> bool:
    """Whether a tensor belongs to MTP heads of a published layout, given the model's number of layers."""
    behind = re.match(r"model\.layers\.(\d+)\.", name)
    return any(_PATTERNS[layout].match(name) for layout in ("MiMo", "Qwen")) or bool(
        re.match(r"(?:model\.)?mtp\.", name) or (behind and int(behind[1]) >= layers > 0)
    )
