"""What a model's folder says of itself, before anything of it is loaded: its configuration, the heads it carries, and what speaks against it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.models import headers
from trainer.models.layouts import Carried, carried, trouble


def json_of(file: Path) -> dict[str, Any]:
    """A file of settings; empty where it cannot be read."""
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def config_of(folder: Path) -> dict[str, Any]:
    """config.json; empty where it cannot be read."""
    return json_of(folder / "config.json")


def carried_by(folder: Path) -> Carried | None:
    """The heads in a published layout that a folder carries; None where it carries none that can be read."""
    return carried(config_of(folder), headers.tensors(folder) or {})


def why_not_trained(folder: Path) -> str | None:
    """Why a model cannot be trained, in words with the fix; None where nothing speaks against it."""
    config = config_of(folder)
    quantised = config.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method", "unknown") if isinstance(quantised, dict) else quantised
        return f"it is quantised ({method}), and what is quantised cannot be trained; use a copy in bfloat16"
    return trouble(config, headers.tensors(folder) or {})
