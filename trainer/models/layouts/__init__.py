"""The layouts in which checkpoints carry MTP heads, one small file each, and which of them a checkpoint has. No torch.

A new layout is a new file here and a line in LAYOUTS; tests/trainer/models/layouts says what it has to pass.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from trainer.models.layouts.attached import ATTACHED
from trainer.models.layouts.deepseek_v3 import DEEPSEEK_V3
from trainer.models.layouts.glm4_moe import GLM4_MOE
from trainer.models.layouts.layout import OWN, Layout, Shared
from trainer.models.layouts.mimo import MIMO
from trainer.models.layouts.qwen3_5 import QWEN3_5
from trainer.models.layouts.qwen3_next import QWEN3_NEXT

__all__ = ["ATTACHED", "LAYOUTS", "OWN", "Carried", "Layout", "Shared", "carried", "layers_of", "trouble"]

LAYOUTS = (MIMO, DEEPSEEK_V3, GLM4_MOE, QWEN3_NEXT, QWEN3_5)
"""The published ones."""

# Configuration keys by which published checkpoints say that they carry heads of their own.
_COUNTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")
# Names by which heads in a layout that is not read are recognised.
_LOOKS_LIKE_HEADS = re.compile(r"(^|\.)mtp(_layers|_block|_heads?)?\.|\.eh_proj\.")


class Carried(NamedTuple):
    """MTP heads of a published layout that a checkpoint carries."""

    layout: Layout
    depths: int
    layers: int
    """Layers of the trunk."""

    def missing(self, names: Collection[str]) -> list[str]:
        """Keys of the depths' own tensors that are not there."""
        wanted = [key for depth in range(self.depths) for key in self.layout.keys(depth, self.layers).values()]
        return [key for key in dict.fromkeys(wanted) if key not in names]

    def holds(self, name: str) -> bool:
        """Whether a tensor belongs to the heads, as their own or as a copy."""
        return any(
            self.layout.holds(name, depth, self.layers) or name in self.layout.copied(depth, self.layers)
            for depth in range(self.depths)
        )


def carried(config: Mapping[str, Any], names: Collection[str]) -> Carried | None:
    """The heads that a checkpoint carries in a published layout; None where it carries none that can be read.

    Args:
        config: its config.json.
        names: of its tensors.
    """
    layers = layers_of(config)
    types = {kind for kind in (config.get("model_type"), text_of(config).get("model_type")) if isinstance(kind, str)}
    for layout in LAYOUTS:
        if types & set(layout.model_types) and layers and (depths := layout.depths(names, layers)):
            return Carried(layout, depths, layers)
    return None


def trouble(config: Mapping[str, Any], names: Collection[str]) -> str | None:
    """Why the heads of a checkpoint cannot be read, in words with the fix; None where they can, or where there are none.

    Args:
        config: its config.json.
        names: of its tensors; empty where they are in no safetensors file.
    """
    text, found = text_of(config), carried(config, names)
    said = next((key for key in _COUNTS if isinstance(count := text.get(key), int) and count > 0), None)
    if found is None:
        known = any(config.get("model_type") in layout.model_types for layout in LAYOUTS)
        if said and known:
            return (
                f"config.json says {said} = {text[said]}, but there are no tensors of MTP heads in its safetensors files; "
                f"fetch the complete model, or set {said} to 0 to have new heads attached"
            )
        seen = next((name for name in names if _LOOKS_LIKE_HEADS.search(name)), None)
        if said or seen:
            return (
                f"it carries MTP heads of its own ({said or seen}), in a layout that cannot be read; "
                "new heads would silently take their place. Use a model without heads, or one of " + _known()
            )
        return None
    if found.layout.one_only and found.depths > 1:
        return f"it carries {found.depths} MTP blocks behind one projection ({found.layout.name}), of which only one can be read"
    if text.get("mtp_use_dedicated_embeddings"):
        return "its MTP heads have embeddings of their own (mtp_use_dedicated_embeddings), which cannot be read; use a model whose heads share the trunk's"
    if said and text[said] > found.depths:
        return (
            f"config.json says {said} = {text[said]}, but there are tensors of {found.depths} in its safetensors files: "
            f"{found.layout.prefix(found.depths, found.layers)}* is missing; fetch the complete model, or set {said} to {found.depths}"
        )
    if missing := found.missing(names):
        return f"tensors of its MTP heads are missing: {', '.join(missing[:5])}; fetch the model again"
    return None


def layers_of(config: Mapping[str, Any]) -> int:
    """Layers of the trunk; 0 where config.json does not say."""
    count = text_of(config).get("num_hidden_layers")
    return count if isinstance(count, int) else 0


def text_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What config.json says of the text model, where it is one of several."""
    text = config.get("text_config")
    return text if isinstance(text, Mapping) else config


def _known() -> str:
    return ", ".join(layout.name for layout in LAYOUTS)
