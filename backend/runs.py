"""What users do with runs: submit, stop, wait. The command line and the pages call these; each opens its own transaction."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from backend import broker, store
from backend.celery_app import ring
from backend.settings import redis_url, settings, variables
from backend.trainer_process import CONFIG_FILE
from db import reads
from db import runs as writes
from db.reads import RunRow
from db.statuses import ENDED, Status
from trainer import preflight
from trainer.config import JsonlData, RunConfig, dump, parse, resolve
from trainer.errors import ConfigError, Problem, StoreError
from trainer.presets import presets

WORKER_SILENT = 20.0
"""Seconds without a heartbeat after which a worker counts as gone."""
ABANDONED = 60.0
"""Seconds without a sign of life after which nobody will end a run."""

_LONGEST_NAME = 120


def submit(config: RunConfig, *, experiment: str = "default", preset: str | None = None) -> int:
    """Queue one run and return its id. Relative paths are taken from the current folder. See `notice`, too.

    Raises:
        ConfigError: the run could not work; nothing was made.
    """
    return _submit_all([config], experiment, preset)[0]


def submit_many(
    values: Mapping[str, Any], seeds: Sequence[int], *, experiment: str = "default", preset: str | None = None
) -> list[int]:
    """Queue one run per seed, all of them or none, and return their ids. A name that was given gets the seed added.

    Args:
        values: a configuration, resolved but not yet validated; its own seed is not used.

    Raises:
        ConfigError: a run could not work, or a seed is given twice; nothing was made.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        given = ", ".join(map(str, seeds)) or "none"
        raise ConfigError([Problem("seeds", f"{given}: give each seed once, and at least one, such as 0,1,2")])
    name = values.get("name") or ""
    named = [f"{name}-seed{seed}" if name and len(seeds) > 1 else name for seed in seeds]
    configs = [parse({**values, "seed": seed, "name": name}) for seed, name in zip(seeds, named, strict=True)]
    return _submit_all(configs, experiment, preset)


def notice() -> str:
    """What somebody who has just queued a run should know: that no worker is alive, or the queue does not answer; or ""."""
    with store.reading() as connection:
        alive = workers_alive(connection)
    if not alive:
        return "no worker is alive, so the run waits; start one with `mtprl up`"
    if not broker.answers(redis_url()):
        return "the queue (Redis) does not answer; the run is queued all the same, and a worker will find it by itself"
    return ""


def stop(run_id: int) -> str:
    """Ask a run to stop and say, in words, what happens now.

    Raises:
        StoreError: there is no such run.
    """
    with store.writing() as connection:
        before = reads.get_run(connection, run_id).status
        after = writes.request_stop(connection, run_id, time.time())
    if before in ENDED:
        return f"run {run_id} has already ended ({before})"
    if after == Status.STOPPED:
        return f"run {run_id} was still queued and is stopped"
    grace = settings().stop_grace
    return (
        f"run {run_id} is stopping: it may write a checkpoint first, and is killed if it has not ended in {grace:g} s"
    )


def wait_for(
    run_ids: Sequence[int], look: Callable[[list[RunRow]], None] | None = None, *, interval: float = 1.0
) -> list[RunRow]:
    """Wait until all these runs have ended and return them in the order given.

    Args:
        run_ids: which runs.
        look: called with all of them about every `interval` seconds, and once at the end.
        interval: seconds between two looks at the store.

    Raises:
        StoreError: a run does not exist, or nothing is alive that could end one.
    """
    started = time.time()
    while True:
        with store.reading() as connection:
            rows: list[RunRow] = [reads.get_run(connection, run_id) for run_id in run_ids]
            alive = workers_alive(connection)
        if look is not None:
            look(rows)
        waiting = [row for row in rows if row.status not in ENDED]
        if not waiting:
            return rows
        last_sign = max([started, *(row.heartbeat_at or 0.0 for row in waiting)])
        if not alive and time.time() - last_sign > ABANDONED:
            named = ", ".join(str(row.id) for row in waiting)
            raise StoreError(
                f"run {named}: no worker and no supervisor is alive; `mtprl up` starts a worker, which goes on"
            )
        time.sleep(interval)


def workers_alive(connection: Connection) -> int:
    """How many workers have been heard of lately, on any host."""
    since = time.time() - WORKER_SILENT
    return sum(worker.ended_at is None and worker.heartbeat_at > since for worker in reads.workers(connection))


def _submit_all(configs: Sequence[RunConfig], experiment: str, preset: str | None) -> list[int]:
    if not experiment.strip() or len(experiment) > _LONGEST_NAME:
        raise ConfigError(
            [Problem("experiment", f"{experiment!r} is refused; give a name of 1 to {_LONGEST_NAME} characters")]
        )
    configs = [_with_absolute_paths(config) for config in configs]
    # Seeds change nothing that preflight looks at, and it reads every line of the data.
    for config in {
        config.model_copy(update={"seed": 0, "name": ""}).model_dump_json(): config for config in configs
    }.values():
        preflight.check(config)
    folders: list[Path] = []
    try:
        with store.writing() as connection:
            ids = [_create(connection, config, experiment, preset, folders) for config in configs]
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for run_id in ids:
        ring(run_id)
    return ids


def _unchanged(preset: str | None, config: RunConfig) -> str | None:
    """The preset, as long as the run's method is still the preset's: a name must not stand for another regime."""
    if preset is None or preset not in presets():
        return None
    original = parse(resolve(presets()[preset].values, variables=variables()))
    return preset if (original.regime, original.mtp) == (config.regime, config.mtp) else None


def _create(connection: Connection, config: RunConfig, experiment: str, preset: str | None, folders: list[Path]) -> int:
    preset = _unchanged(preset, config)
    method = preset.rpartition("/")[2] if preset else config.regime.kind
    name = config.name or f"{method}-{config.algorithm.kind}-seed{config.seed}"
    run_id = writes.create_run(
        connection,
        experiment=experiment,
        name=name,
        config=config.model_dump(mode="json"),
        regime=config.regime.kind,
        algorithm=config.algorithm.kind,
        seed=config.seed,
        total_steps=config.steps,
        preset=preset,
        folder="",
        now=time.time(),
    )
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
    # The random part keeps apart the folders of two databases that share a home.
    folder = settings().runs / f"{run_id:05d}-{slug}-{secrets.token_hex(2)}"
    folders.append(folder)
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(dump(config), encoding="utf-8")
    writes.set_folder(connection, run_id, str(folder))
    return run_id


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same configuration for a trainer that runs in another folder. A model that is no folder here is a hub name."""
    changes: dict[str, Any] = {}
    if Path(config.model.path).is_dir():
        changes["model"] = config.model.model_copy(update={"path": str(Path(config.model.path).absolute())})
    if isinstance(config.data, JsonlData):
        changes["data"] = _absolute(config.data)
    benchmarks = tuple(
        benchmark.model_copy(update={"data": _absolute(benchmark.data)})
        if isinstance(benchmark.data, JsonlData)
        else benchmark
        for benchmark in config.evaluation.benchmarks
    )
    changes["evaluation"] = config.evaluation.model_copy(update={"benchmarks": benchmarks})
    return config.model_copy(update=changes)


def _absolute(data: JsonlData) -> JsonlData:
    return data.model_copy(update={"path": str(Path(data.path).absolute())})
