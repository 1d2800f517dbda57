"""Writing a model to be served or published into a folder of its own, which looks like a model only once it is one."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from trainer.errors import ModelError
from trainer.models.joint import JointModel
from trainer.models.storage import save_joint

_UNFINISHED = ".unfinished"
"""Where files stand until all are written; what is in it after a process was killed is no model."""


def why_not_into(folder: Path) -> str | None:
    """Why nothing can be exported into a folder, in words with the fix; None where nothing speaks against it."""
    if (folder / _UNFINISHED).exists():
        return f"another export writes into {folder}, or was interrupted there; wait for it, or remove the folder"
    if folder.is_symlink() and not folder.exists():
        return f"{folder} is a link to nowhere; give a folder that is empty, or that is to be made"
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file; give a folder that is empty, or that is to be made"
    if folder.is_dir() and any(folder.iterdir()):
        return f"{folder} is not empty; give one that is, or that is to be made"
    return None


def export(joint: JointModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model in its stored form: config.json, without which a folder is no model, comes to its place last.

    Raises:
        ModelError: another export writes there, or the disk is full.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / _UNFINISHED
    try:
        unfinished.mkdir()
    except FileExistsError:
        raise ModelError(f"{why_not_into(folder)}") from None
    try:
        if len(list(folder.iterdir())) > 1:
            raise ModelError(f"{folder} was filled meanwhile; give another folder")
        save_joint(joint, tokenizer, unfinished)
        for file in sorted(unfinished.iterdir(), key=lambda file: file.name == "config.json"):
            file.rename(folder / file.name)
    except SafetensorError as error:
        raise ModelError(
            f"{folder}: the weights cannot be written ({error}); make room, or give another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
