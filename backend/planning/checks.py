"""What can be said of runs before they are queued, one line per check: good, worth knowing (note), or a reason not to start (bad)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from backend import fleet, services, words
from backend.advice import drafts_of_idle_heads
from backend.devices import memory_of
from backend.inspection.data import LARGEST, DataCount, count
from backend.inspection.models import ModelFacts, inspect_model
from backend.inspection.published import with_published_sizes
from backend.planning import duration, memory
from backend.planning.check import Check
from backend.planning.contents import contamination, too_long
from backend.runs import with_absolute_paths
from backend.settings import settings
from db import queue, reads
from db.statuses import Status
from trainer import preflight
from trainer.config import RunConfig
from trainer.errors import ConfigError, DataError
from trainer.rollout.vllm.installed import installed_version
from trainer.rollout.vllm.installed import problems as engine_problems

_SPARE = 0.9
"""A device is full from this share of its memory on."""
_BY_SIZE = {"Memory", "Disk"}
"""The checks that the sizes of a model decide."""


def checks(
    configs: Sequence[RunConfig],
    seeds: int,
    connection: Connection | None,
    most_compared: int = LARGEST,
    elsewhere: int | None = None,
) -> list[Check]:
    """All checks of a grid of runs on one budget, or of a single run.

    Args:
        configs: one per method, of whatever seed; at least one.
        seeds: runs per method.
        connection: a look at the store; None: there is none yet, and what it would say is left out.
        most_compared: bytes of training data that are compared with the benchmarks; more are left to `mtprl contamination`.
        elsewhere: bytes of each of the GPUs that are asked about in the place of the devices here; None: those here.
    """
    first = configs[0]
    found = inspect_model(first.model.path)
    published = with_published_sizes(found)
    model = published or found
    by = f"; by the published sizes of {model.path}, whose files are not here" if published else ""
    if elsewhere is not None:
        machine = [
            _asked_for(first, elsewhere),
            _memory_elsewhere(configs, model, elsewhere),
            _disk_elsewhere(configs, seeds, model),
        ]
    else:
        machine = [
            _devices(first, len(configs) * seeds, connection),
            _memory(configs, model, connection),
            _time(configs, seeds, connection),
            _disk(configs, seeds, model),
        ]
    return [
        _not_here(model) if elsewhere is not None and published else _model(first, found),
        *_sampler(first),
        *_data(first),
        *filter(None, [too_long(first), contamination(first, most_compared)]),
        *(check._replace(words=check.words + by) if check.name in _BY_SIZE else check for check in machine),
    ]


def _not_here(model: ModelFacts) -> Check:
    said = f"{model.path}: its files are not on this machine; {words.short(model.trunk_parameters or 0)} parameters without MTP heads"
    return Check("Model", "note", said)


def _model(config: RunConfig, model: ModelFacts) -> Check:
    found = [problem.message for problem in preflight.model_problems(config.model)]
    found += [problem for problem in model.problems if problem not in found]
    if found:
        return Check("Model", "bad", "; ".join(found))
    if model.folder is None:
        return Check(
            "Model",
            "note",
            f"{config.model.path} is fetched from the hub when the run starts; nothing of it is known here yet",
        )
    size = "" if not model.parameters else f", {words.short(model.parameters)} parameters"
    if model.heads is not None:
        return Check("Model", "good", f"{model.architecture}{size}; MTP heads: {model.heads.words}")
    depths = words.plural(config.model.mtp_depths, "depth")
    return Check(
        "Model",
        "note",
        f"{model.architecture}{size}; no MTP heads, so that {depths} of new ones start from its last block",
    )


def _sampler(config: RunConfig) -> Iterator[Check]:
    if said := drafts_of_idle_heads(config):
        yield Check("Drafts", "note", said)
    if config.rollout.engine != "vllm":
        return
    if found := engine_problems(config):
        yield Check("Sampler", "bad", "; ".join(f"{problem.field}: {problem.message}" for problem in found))
        return
    drafts = config.rollout.vllm.draft_tokens
    drafted = f"{words.plural(drafts, 'token')} drafted by the heads for each pass" if drafts else "no drafts"
    elsewhere = services.worker_elsewhere(settings())
    said = f"vLLM {installed_version()}, {drafted}"
    yield Check("Sampler", "note", f"{said}; but {elsewhere}") if elsewhere else Check("Sampler", "good", said)


def _data(config: RunConfig) -> Iterator[Check]:
    yield _counted("Data", "data", count(config.data), config)
    for index, benchmark in enumerate(config.evaluation.benchmarks):
        found = count(benchmark.data)
        if found.error:
            yield Check("Benchmarks", "bad", f"evaluation.benchmarks.{index}: {found.error}")
    for problem in preflight.chat_problems(config.model, {"data": config.data}):
        yield Check("Chat template", "bad", problem.message)


def _counted(name: str, field: str, found: DataCount, config: RunConfig) -> Check:
    if found.error:
        return Check(name, "bad", f"{field}: {found.error}")
    if found.problems is None:
        return Check(name, "note", found.later)
    needed = config.rollout.prompts_per_step
    if found.problems < needed:
        return Check(name, "bad", f"{found.problems:,} problems, but a step needs {needed} (rollout.prompts_per_step)")
    return Check(name, "good", f"{words.plural(found.problems, 'problem')} read, each step takes {needed}")


def _devices(config: RunConfig, runs: int, connection: Connection | None) -> Check:
    if connection is None:
        return Check("Devices", "note", "there is no store yet; run `mtprl up`")
    alive = [worker for worker in fleet.alive(connection) if not worker.draining]
    wanted = config.launch.num_processes
    if not alive:
        return Check(
            "Devices",
            "note",
            "no worker takes runs now, so that they wait; `mtprl up` starts one, `mtprl undrain` lets drained ones",
        )
    at_once = _at_once(connection, wanted)
    if not at_once:
        most = max(len(worker.devices) for worker in alive)
        return Check(
            "Devices",
            "note",
            f"launch.num_processes: {wanted} devices asked for, and no worker has more than {most}; it waits until one has",
        )
    waiting, leased = reads.status_counts(connection)[Status.QUEUED], len(queue.taken(connection))
    total = sum(len(worker.devices) for worker in alive)
    said = f"{words.plural(min(at_once, runs), 'run')} at once on {words.plural(total, 'device')} of {words.plural(len(alive), 'worker')}"
    free = f"{max(total - leased, 0)} free now"
    before = (
        f"{words.plural(waiting, 'run')} before {'them' if runs > 1 else 'it'} in the queue"
        if waiting
        else "nothing waits before"
    )
    return Check("Devices", "good", f"{said}, {free}; {before}")


def _asked_for(config: RunConfig, bytes_each: int) -> Check:
    wanted = words.plural(config.launch.num_processes, "GPU")
    said = (
        f"asked about: {wanted} of {words.size(bytes_each)} each (launch.num_processes); those here are not looked at"
    )
    return Check("Devices", "note", f"{said}, and hours are known only where such a run has made steps")


def _memory(configs: Sequence[RunConfig], model: ModelFacts, connection: Connection | None) -> Check:
    kind = _device_kind(connection)
    together = _at_once(connection, 1) if kind != "cuda" and connection is not None else 1
    return _weighed(configs, model, kind, memory_of(kind or "cpu") if _is_here(connection) else None, together)


def _memory_elsewhere(configs: Sequence[RunConfig], model: ModelFacts, bytes_each: int) -> Check:
    return _weighed(configs, model, "cuda", bytes_each, 1)


def _weighed(
    configs: Sequence[RunConfig], model: ModelFacts, kind: str | None, limit: int | None, together: int
) -> Check:
    """The most that one of the runs needs, against the bytes of a device, which `together` of them share; None: not known."""
    found = [(config, memory.estimate(config, model, on_gpu=kind == "cuda")) for config in configs]
    known = [(config, estimate) for config, estimate in found if estimate is not None]
    if not known:
        return Check("Memory", "note", "not estimated: the sizes of the model are not known here")
    config, most = max(known, key=lambda pair: pair[1].peak)
    where = "in the update" if most.in_update else "while sampling"
    parts = ", ".join(f"{name} {words.size(size)}" for name, size in list(most.at_peak.items())[:3])
    said = f"up to {words.size(most.peak)} {where} ({parts})"
    if limit is None:
        return Check("Memory", "good", f"{said}; how much a device has is not known")
    has = f"{'a GPU' if kind == 'cuda' else 'this machine'} has {words.size(limit)}"
    if most.peak > _SPARE * limit:
        lower = memory.what_to_lower(config, model, int(_SPARE * limit), on_gpu=kind == "cuda")
        return Check("Memory", "bad" if most.peak > limit else "note", f"{said}, and {has}; {lower}")
    if together * most.peak > limit:
        return Check(
            "Memory",
            "note",
            f"{said}; {has}, too little for {together} such runs at once: MTPRL_CPU_SLOTS lowers how many start",
        )
    return Check("Memory", "good", f"{said}; {has}")


def _time(configs: Sequence[RunConfig], seeds: int, connection: Connection | None) -> Check:
    if connection is None:
        return Check("Time", "note", "no run like it yet")
    kind, earlier = _device_kind(connection), duration.earlier(connection)
    paces = []
    for config in configs:
        try:
            paces.append((config, duration.pace(connection, with_absolute_paths(config), kind, earlier)))
        except (ConfigError, DataError):
            paces.append((config, None))
    known = [(config, pace) for config, pace in paces if pace is not None]
    if not known:
        return Check(
            "Time", "note", "no run like it yet: with these batches, this model and such devices none has made steps"
        )
    if len(configs) * seeds == 1:
        [(config, pace)] = known
        return Check("Time", "good", pace.words(config))
    total = seeds * sum(pace.total(config) for config, pace in known)
    at_once = max(1, _at_once(connection, configs[0].launch.num_processes))
    unknown = len(paces) - len(known)
    rest = f"; {words.plural(unknown, 'method')} without a run like it yet are not in it" if unknown else ""
    each = f"{words.duration(min(p.total(c) for c, p in known))} to {words.duration(max(p.total(c) for c, p in known))} each"
    runs = seeds * len(known)
    wall = words.duration(total / min(at_once, runs))
    return Check(
        "Time", "note" if unknown else "good", f"{words.plural(runs, 'run')} of {each}, about {wall} in all{rest}"
    )


def _disk(configs: Sequence[RunConfig], seeds: int, model: ModelFacts) -> Check:
    folder = _existing(settings().runs)
    free = shutil.disk_usage(folder).free
    needed = _checkpoints(configs, seeds, model)
    if needed is None:
        return Check("Disk", "note", f"the size of a checkpoint is not known here; {words.size(free)} are free")
    if needed.one_run > free:
        return Check(
            "Disk",
            "bad",
            f"{needed.words}, and {words.size(free)} are free in {folder}; make room, or lower checkpoint.keep",
        )
    if needed.all_runs > _SPARE * free:
        return Check(
            "Disk",
            "note",
            f"{needed.words}, and {words.size(free)} are free in {folder}; lower checkpoint.keep, or make room in time",
        )
    return Check("Disk", "good", f"{needed.words}; {words.size(free)} are free")


def _disk_elsewhere(configs: Sequence[RunConfig], seeds: int, model: ModelFacts) -> Check:
    needed = _checkpoints(configs, seeds, model)
    if needed is None:
        return Check("Disk", "note", "the size of a checkpoint is not known here")
    return Check(
        "Disk", "note", f"{needed.words}, and {words.size(needed.one_run)} for a run while it writes the next one"
    )


class _Needed(NamedTuple):
    """What checkpoints take on disk, in bytes."""

    one_run: int
    """Of the largest run, with one that is being written."""
    all_runs: int
    words: str


def _checkpoints(configs: Sequence[RunConfig], seeds: int, model: ModelFacts) -> _Needed | None:
    """None where the model's sizes are not known."""
    sizes = [size for config in configs if (size := memory.checkpoint_bytes(config, model)) is not None]
    if len(sizes) < len(configs):
        return None
    # Those that are kept, the best one, and one that is being written.
    kept = [config.checkpoint.keep + bool(config.evaluation.benchmarks) for config in configs]
    one = max((number + 1) * size for number, size in zip(kept, sizes, strict=True))
    all_runs = seeds * sum(number * size for number, size in zip(kept, sizes, strict=True))
    said = f"{words.size(all_runs)} of checkpoints ({words.size(max(sizes))} each, up to {max(kept)} a run)"
    return _Needed(one, all_runs, said)


def _at_once(connection: Connection | None, wanted: int) -> int:
    if connection is None:
        return 0
    return sum(len(worker.devices) // wanted for worker in fleet.alive(connection) if not worker.draining)


def _device_kind(connection: Connection | None) -> str | None:
    """cuda or cpu, as the workers have them that are alive; None where there are none."""
    if connection is None:
        return None
    kinds = [name.partition(":")[0] for worker in fleet.alive(connection) for name in worker.devices]
    return "cuda" if "cuda" in kinds else kinds[0] if kinds else None


def _is_here(connection: Connection | None) -> bool:
    """Whether runs would start on this host: the only one that can be asked for its memory."""
    alive = fleet.alive(connection) if connection is not None else []
    return not alive or any(worker.host == os.uname().nodename for worker in alive)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
