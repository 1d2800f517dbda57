"""Checkpoints: model, heads, optimiser and coefficient after a step, written aside, sealed and moved into place.

    <run folder>/checkpoints/step-000040/model/          what load_joint reads
    <run folder>/checkpoints/step-000040/state.pt        optimiser state, updates made, the state of every further part
    <run folder>/checkpoints/step-000040/about.json      step, configuration, held-out accuracy
    <run folder>/checkpoints/step-000040/manifest.json   size and SHA-256 of every other file (trainer.manifest)

What does not agree with its manifest is never loaded. Nothing is removed before what takes its place is on the disk, so that
a process that is killed, at whatever moment, leaves the checkpoints it had, or those and the new one. Folders whose name begins with
a dot are being written or removed; the next start clears those that were left.

Everything random is derived from seed and step (trainer.seeds), so that no generator state needs to be kept.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from trainer.config import RunConfig
from trainer.errors import ModelError
from trainer.folder import CHECKPOINTS, asked
from trainer.launch.sharding import load_state, whole_state
from trainer.manifest import flaw, seal, to_disk
from trainer.models.joint import JointModel
from trainer.models.storage import save_joint
from trainer.update.phase import Updater

_NAME = re.compile(r"step-\d{6,}")
_LATER = {"heads"}
"""Parts that checkpoints of earlier versions do not have: a run that goes on from one has them as a new run does."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Part(Protocol):
    """Something that a resumed run needs as it was."""

    def state(self) -> Any:
        """What a checkpoint keeps: plain numbers, texts, lists, mappings and tensors."""

    def restore(self, state: Any) -> None:
        """Continue from `state()`."""


class StoredCheckpoint(NamedTuple):
    """A complete checkpoint on disk."""

    step: int
    path: Path
    config: dict[str, Any]
    """The run's configuration when it was saved."""
    accuracy: float | None
    """Held-out accuracy at that step, 0 to 1, mean over the benchmarks; None: not evaluated at it."""

    @property
    def model(self) -> Path:
        """Folder of model, heads and tokenizer."""
        return self.path / "model"


class BrokenCheckpoint(NamedTuple):
    """A checkpoint that must not be loaded."""

    path: Path
    flaw: str
    """What is wrong with it, in words."""


class Checkpoints:
    """The checkpoints of a run folder, which has one writer. Broken ones are left alone."""

    def __init__(self, folder: Path, config: RunConfig):
        """Clear what a killed process left half-written or half-removed, and read and verify all the others.

        Raises:
            ModelError: no checkpoint could be written there: better said now than after the first `checkpoint.every` steps.
        """
        self._folder = folder / CHECKPOINTS
        self._config = config
        self.good: list[StoredCheckpoint] = []
        """Oldest first."""
        self.broken: list[BrokenCheckpoint] = []
        trial = self._folder / ".step-trial"
        try:
            for leftover in self._folder.glob(".step-*"):
                _clear(leftover)
            trial.mkdir(parents=True)
            trial.rmdir()
        except OSError as error:
            raise ModelError(_cannot_be_written(self._folder, error)) from error
        named = [path for path in self._folder.glob("step-*") if _NAME.fullmatch(path.name)]
        for path in sorted(named, key=lambda path: (len(path.name), path.name)):
            found = _inspect(path)
            if isinstance(found, StoredCheckpoint):
                self.good.append(found)
            else:
                self.broken.append(found)

    @property
    def newest(self) -> StoredCheckpoint | None:
        """The one to resume from."""
        return self.good[-1] if self.good else None

    @property
    def best(self) -> StoredCheckpoint | None:
        """The one with the highest held-out accuracy by the configured evaluation, of equals the newest."""
        wanted = asked(self._config.model_dump(mode="json"))
        rated = [one for one in self.good if one.accuracy is not None and asked(one.config) == wanted]
        return max(rated, key=lambda one: (one.accuracy, one.step), default=None)

    def save(
        self,
        step: int,
        accuracy: float | None,
        joint: JointModel,
        tokenizer: PreTrainedTokenizerBase,
        state: Mapping[str, Any],
    ) -> StoredCheckpoint:
        """Write the checkpoint of a step; then remove all good ones but the newest `checkpoint.keep` and the best.

        Args:
            step: later than that of every good checkpoint. A broken one of this step is replaced.
            accuracy: held-out accuracy at this step; None: not evaluated at it.
            joint: the model with its heads.
            tokenizer: saved beside the model.
            state: as `state_of` gives it.

        Raises:
            ModelError: the disk is full or cannot be written; the good ones are untouched.
        """
        assert self.newest is None or self.newest.step < step, "a good checkpoint would be away for a moment"
        final = self._folder / _name(step)
        partial = final.with_name(f".{final.name}.partial")
        config = self._config.model_dump(mode="json")
        about = {"step": step, "accuracy": accuracy, "config": config}
        try:
            _clear(partial)
            partial.mkdir(parents=True)
            save_joint(joint, tokenizer, partial / "model", full_precision=True)
            torch.save(dict(state), partial / "state.pt")
            (partial / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            seal(partial)
            if os.path.lexists(final):
                _remove(final)
            partial.rename(final)
            to_disk(self._folder)
            to_disk(self._folder.parent)
        except (
            OSError,
            RuntimeError,
            SafetensorError,
        ) as error:  # a full disk comes as any of these, by who was writing
            shutil.rmtree(partial, ignore_errors=True)
            raise ModelError(_cannot_be_written(final, error)) from error
        saved = StoredCheckpoint(step, final, config, accuracy)
        self.good.append(saved)
        kept = [*self.good[-self._config.checkpoint.keep :], self.best]
        for old in [one for one in self.good if one not in kept]:
            self.good.remove(old)
            with contextlib.suppress(OSError):  # one folder too many is no reason to stop training
                _remove(old.path)
        return saved


def restore(checkpoint: StoredCheckpoint, updater: Updater, parts: Mapping[str, Part]) -> None:
    """Put optimiser, schedule and `parts` back where the checkpoint left them; the model is loaded from `model`.

    Raises:
        ModelError: the state cannot be read.
    """
    try:
        state = torch.load(checkpoint.path / "state.pt", map_location="cpu", weights_only=True)
        _put_back(state, updater, parts)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{checkpoint.path}: the optimiser state cannot be read ({reason}); remove this checkpoint"
        ) from error


def state_of(updater: Updater, parts: Mapping[str, Part]) -> dict[str, Any]:
    """What a resumed run needs beside the model: optimiser, schedule and `parts`. All processes must ask for it alike."""
    return {
        "optimizer": whole_state(updater.optimizer, updater.world),
        "updates": updater.updates,
        "parts": {name: part.state() for name, part in parts.items()},
    }


def _put_back(state: dict[str, Any], updater: Updater, parts: Mapping[str, Part]) -> None:
    load_state(updater.optimizer, state["optimizer"])
    updater.updates = int(state["updates"])
    for name, part in parts.items():
        if name in state["parts"] or name not in _LATER:
            part.restore(state["parts"][name])


def _name(step: int) -> str:
    return f"step-{step:06d}"


def _inspect(path: Path) -> StoredCheckpoint | BrokenCheckpoint:
    """Read every byte of a checkpoint and say what it is."""
    wrong = flaw(path)
    if wrong:
        return BrokenCheckpoint(path, wrong)
    try:
        about = json.loads((path / "about.json").read_bytes())
        found = StoredCheckpoint(about["step"], path, about["config"], about["accuracy"])
        name = _name(found.step)
        asked(found.config)
        if not isinstance(found.accuracy, float | int | None):
            raise TypeError(f"accuracy is {found.accuracy!r}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return BrokenCheckpoint(path, f"about.json is not one of this program's ({error!r})")
    return found if path.name == name else BrokenCheckpoint(path, f"it is {name} under another name")


def _remove(path: Path) -> None:
    """Take a checkpoint away, under another name first: killed half-way, it must not pass for a broken one."""
    aside = path.with_name(f".{path.name}.removed")
    _clear(aside)
    path.rename(aside)
    _clear(aside)


def _clear(path: Path) -> None:
    """Remove whatever lies there, as far as it can be: a folder, or a file or link that somebody put in its place."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _cannot_be_written(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    refused = isinstance(error, OSError) and error.errno not in _FULL
    fix = "make it a folder that can be written to, or train into another" if refused else "free disk space"
    return f"{path}: the checkpoint cannot be written ({reason}); {fix}"
