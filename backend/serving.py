"""How a checkpoint is served with vLLM's own server, as lines for a shell."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from trainer.models.readable import carried_by
from trainer.rollout.vllm.installed import installed_version, is_for_processors


def drafting_depths(model: Path) -> int:
    """MTP depths that vLLM can draft with; 0: it has no class for the heads, or there are none."""
    found = carried_by(model)
    return found.depths if found else 0


def export_line(model: Path, folder: str) -> str:
    """Write a model in the layout and dtypes that it came in."""
    return shlex.join(["mtprl", "models", "export", str(model), folder])


def serve_line(folder: str, depths: int) -> str:
    """Serve a folder, its heads drafting where there are depths.

    With the interpreter of this program where vLLM is beside it. Its build for processors has a command `vllm` that fails (0.32), and a module
    that does the same.
    """
    drafting = json.dumps({"method": "mtp", "num_speculative_tokens": depths})
    options = ["--speculative-config", drafting] if depths else []
    if installed_version() is None:
        return shlex.join(["vllm", "serve", folder, *options])
    if is_for_processors():
        return shlex.join([sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, *options])
    return shlex.join([str(Path(sys.executable).with_name("vllm")), "serve", folder, *options])
