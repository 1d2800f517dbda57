"""How a checkpoint is served with vLLM's own server, as lines for a shell."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from trainer.models.readable import carried_by, config_of
from trainer.rollout.vllm.installed import installed_version, is_for_processors

_CLASSES_OF_OURS = {"mimo": "trainer.models.mimo"}
"""Modules that register a `model_type` with transformers, which has no class for it."""


def module_to_load(model: Path) -> str | None:
    """The module of this program without which transformers cannot load a model; None where it has a class of its own."""
    return _CLASSES_OF_OURS.get(str(config_of(model).get("model_type")))


def loading_lines(model: Path) -> str:
    """Python that loads a model's policy with transformers."""
    module = module_to_load(model)
    first = f"import {module}  # registers the model's class\n" if module else ""
    return (
        f"{first}from transformers import AutoModelForCausalLM, AutoTokenizer\n\npath = {str(model)!r}\n"
        "model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)"
    )


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
