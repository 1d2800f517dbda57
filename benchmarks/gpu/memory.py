"""Peak memory: log-probs in chunks against all at once, and what the plan estimates of whole runs against what they take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate.state import AcceleratorState

from backend.inspection.models import inspect_model
from backend.planning.memory import Memory, estimate
from benchmarks import log_probs
from benchmarks import memory as on_processor
from benchmarks.gpu import models
from benchmarks.gpu.parts import Cell, Found, Part, Setting, Values, failures, of
from benchmarks.markdown import table
from trainer.config import RunConfig, parse
from trainer.events import MemorySink
from trainer.loop import collect, learn
from trainer.models.demo_base import new_model
from trainer.tasks import Grader
from trainer.training import prepare

TOKENS, SMALL_TOKENS = (1024, 8192), (512,)
WAYS = {"in chunks, as trained": False, "all at once": True}
SHARED: dict[str, Any] = {
    "steps": 1,
    "regime": {"kind": "occ"},
    "rollout": {
        "prompts_per_step": 8,
        "samples_per_prompt": 8,
        "max_prompt_tokens": 16,
        "max_response_tokens": 1024,
    },
    "update": {"mini_batches": 2, "micro_batch_sequences": 4},
    "logging": {"completions_every": 1_000_000},
}
RUNS: Mapping[str, dict[str, Any]] = {
    "micro-batches of 4": {},
    "bf16": {"model": {"mixed_precision": "bf16"}},
    "blocks run again": {"model": {"gradient_checkpointing": True}, "update": {"micro_batch_sequences": 16}},
    "bf16, blocks run again, token budget": {
        "model": {"mixed_precision": "bf16", "gradient_checkpointing": True},
        "update": {"micro_batch_sequences": None, "micro_batch_tokens": 8192},
    },
    "oracle": {"regime": {"kind": "oracle"}},
}
SMALLER = {"rollout": {"prompts_per_step": 2, "samples_per_prompt": 4, "max_response_tokens": 16}}


def cells(setting: Setting) -> Iterator[Cell]:
    """Log-probs of each length, then the runs."""
    for tokens in SMALL_TOKENS if setting.small else TOKENS:
        for way, at_once in WAYS.items():
            yield Cell(f"{tokens} tokens {way}", partial(of_log_probs, tokens, setting, at_once=at_once))
    for name in list(RUNS)[:1] if setting.small else RUNS:
        yield Cell(name, partial(of_run, RUNS[name], setting))


def of_log_probs(tokens: int, setting: Setting, *, at_once: bool) -> Values:
    """MiB at most, above what one token takes."""
    vocabulary = 50_000 if setting.small else models.VOCABULARY
    if not setting.on_gpu:
        least, most = (log_probs.peak_of(count, vocabulary, at_once=at_once) for count in (1, tokens))
        return {"mib": most - least}
    peaks = []
    for count in (1, tokens):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        log_probs.make(count, vocabulary, at_once=at_once, device=str(setting.device))
        peaks.append(torch.cuda.max_memory_allocated())
    return {"mib": (peaks[1] - peaks[0]) // 2**20}


def of_run(changes: Mapping[str, Any], setting: Setting) -> Values:
    """MiB estimated and measured, of sampling and of the update, without the program itself."""
    config = config_of(changes, setting)
    expected = estimate(config, inspect_model(config.model.path), on_gpu=setting.on_gpu, program=0)
    assert expected is not None, "the sizes of the model are known"
    measured = _on_gpu(config, setting.work) if setting.on_gpu else _on_processor(config, setting.work)
    return {"estimated": _estimated(expected), "measured": {name: size // 2**20 for name, size in measured.items()}}


def config_of(changes: Mapping[str, Any], setting: Setting) -> RunConfig:
    """A step of a model like Qwen3-0.6B; in small, of the demo's."""
    name, make = ("demo", new_model) if setting.small else ("0.6-b", models.as_06b)
    folder = models.saved(setting.work, name, make)
    data = {"kind": "jsonl", "path": str(folder / "problems.jsonl")}
    values: dict[str, Any] = {**SHARED, "model": {"path": str(folder)}, "data": data}
    for sections in (changes, SMALLER if setting.small else {}):
        values = {name: _merged(values.get(name), sections.get(name)) for name in {**values, **sections}}
    return parse(values)


def _merged(value: Any, change: Any) -> Any:
    if change is None:
        return value
    kinds = isinstance(change, Mapping) and "kind" in change  # another regime has other settings
    return {**value, **change} if isinstance(value, Mapping) and not kinds else change


def _on_gpu(config: RunConfig, work: Path) -> dict[str, int]:
    """Bytes allocated at most, by phase; `reserved` is what the allocator had of the device."""
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.cuda.reset_peak_memory_stats()
    peaks = {}
    with Grader() as grader:
        run = prepare(config, work / "no-checkpoints", MemorySink(), grader)
        run.step = 1
        peaks["loaded"] = torch.cuda.max_memory_allocated()
        for _ in range(2):  # in the first, the optimiser's state comes after everything else
            torch.cuda.reset_peak_memory_stats()
            found = collect(run)
            peaks["sampling"] = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            learn(run, *found)
            peaks["update"] = torch.cuda.max_memory_allocated()
            run.step += 1
    peaks["reserved"] = torch.cuda.max_memory_reserved()
    AcceleratorState._reset_state(reset_partial_state=True)
    return peaks


def _on_processor(config: RunConfig, work: Path) -> dict[str, int]:
    with TemporaryDirectory(dir=work) as folder:
        return {"whole process": on_processor.peak_of(config, Path(folder) / "run")}


def _estimated(expected: Memory) -> dict[str, int]:
    fixed, update, sampling = (sum(part.values()) for part in (expected.fixed, expected.update, expected.rollout))
    return {"sampling": (fixed + sampling) // 2**20, "update": (fixed + update) // 2**20}


def tell(found: Found) -> list[str]:
    """Two tables."""
    rows = []
    for tokens in sorted({*TOKENS, *SMALL_TOKENS}):
        mib = [(of(found, f"{tokens} tokens {way}") or {}).get("mib") for way in WAYS]
        if any(one is not None for one in mib):
            rows.append([f"{tokens:,}", *("" if one is None else f"{one:,}" for one in mib)])
    lines = [*table(["tokens", *(f"{way}, MiB" for way in WAYS)], rows), ""]
    rows = []
    for name in RUNS:
        if values := of(found, name):
            for phase, expected in values["estimated"].items():
                measured = values["measured"].get(phase)
                ratio = "" if measured is None else f"{expected / measured:.2f}"
                rows.append([name, phase, f"{expected:,}", "" if measured is None else f"{measured:,}", ratio])
    head = ["run", "phase", "estimated, MiB", "measured, MiB", "estimated / measured"]
    return [*lines, *table(head, rows, words=2), *failures(found)]


PART = Part("memory", "Memory", cells, tell)
