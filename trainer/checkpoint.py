"""Checkpoints: model, heads, optimiser and coefficient after a step, written aside and moved into place.

    <run folder>/checkpoints/step-000040/model/      what load_joint reads
    <run folder>/checkpoints/step-000040/state.pt    optimiser state, updates made, the coefficient's sums

Everything random is derived from seed and step (trainer.seeds), so that no generator state needs to be kept.
"""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerBase

from trainer.errors import ModelError
from trainer.models.joint import JointModel
from trainer.models.storage import save_joint
from trainer.update.phase import Updater

_NAME = re.compile(r"step-(\d{6,})")


class StoredCheckpoint(NamedTuple):
    """A complete checkpoint on disk."""

    step: int
    path: Path

    @property
    def model(self) -> Path:
        """Folder of model, heads and tokenizer."""
        return self.path / "model"


def stored(folder: Path) -> list[StoredCheckpoint]:
    """The complete checkpoints of a run folder, oldest first."""
    found = [
        StoredCheckpoint(int(match[1]), path)
        for path in (folder / "checkpoints").glob("step-*")
        if (match := _NAME.fullmatch(path.name))
    ]
    return sorted(found)


def save(
    folder: Path, step: int, joint: JointModel, tokenizer: PreTrainedTokenizerBase, updater: Updater, *, keep: int
) -> Path:
    """Write the checkpoint of a step and remove all but the newest `keep`.

    Raises:
        ModelError: the disk is full or cannot be written; what was there before is untouched.
    """
    final = folder / "checkpoints" / f"step-{step:06d}"
    partial = final.with_name(f".{final.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_joint(joint, tokenizer, partial / "model")
        torch.save(_state(updater), partial / "state.pt")
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk comes as any of these, by who was writing
        shutil.rmtree(partial, ignore_errors=True)
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{final}: the checkpoint cannot be written ({reason}); free disk space") from error
    for old in stored(folder)[:-keep]:
        shutil.rmtree(old.path, ignore_errors=True)
    return final


def restore(checkpoint: StoredCheckpoint, updater: Updater) -> None:
    """Put optimiser, schedule and coefficient back where the checkpoint left them; the model is loaded from `model`.

    Raises:
        ModelError: the state cannot be read.
    """
    try:
        state = torch.load(checkpoint.path / "state.pt", map_location="cpu", weights_only=True)
        _put_back(state, updater)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{checkpoint.path}: the optimiser state cannot be read ({reason}); remove this checkpoint"
        ) from error


def _put_back(state: dict[str, Any], updater: Updater) -> None:
    optimizer: Optimizer = updater.optimizer
    optimizer.load_state_dict(state["optimizer"])
    updater.updates = state["updates"]
    updater.tracker.restore(state["coefficient"])


def _state(updater: Updater) -> dict[str, Any]:
    return {
        "optimizer": updater.optimizer.state_dict(),
        "updates": updater.updates,
        "coefficient": updater.tracker.state(),
    }
