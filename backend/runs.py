"""What users do with runs: submit, stop, wait. The command line and the pages call these; each opens its own transaction."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from backend import broker, fleet, services, store
from backend.celery_app import ring
from backend.settings import redis_url, settings, variables
from db import reads
from db import runs as writes
from db.reads import RunDetail, RunRow
from db.statuses import ENDED, Kind, Status
from trainer import preflight
from trainer.config import Benchmark, EvaluatedModel, EvaluationConfig, RunConfig, parse, resolve
from trainer.config.continuing import differences
from trainer.config.rules import experiment_problems
from trainer.errors import ConfigError, Problem, StoreError
from trainer.evaluation import suites
from trainer.folder import write_config
from trainer.presets import presets
from trainer.tasks import settled

ABANDONED = 60.0
"""Seconds without a sign of life after which nobody will end a run."""


def submit(
    config: RunConfig, *, experiment: str = "default", preset: str | None = None, cloned_from: int | None = None
) -> int:
    """Queue one run and return its id. Relative paths are taken from the current folder. See `notice`, too.

    Args:
        config: what to train.
        experiment: it stands together with other runs of this experiment.
        preset: what the configuration was made from; kept as long as the method is still the preset's.
        cloned_from: the run that it was made from; what differs is kept with the new run.

    Raises:
        ConfigError: the run could not work; nothing was made.
    """
    return submit_all([Planned(config, preset)], experiment=experiment, cloned_from=cloned_from)[0]


def submit_many(
    values: Mapping[str, Any],
    seeds: Sequence[int],
    *,
    experiment: str = "default",
    preset: str | None = None,
    cloned_from: int | None = None,
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
    planned = [Planned(config, preset) for config in configs]
    return submit_all(planned, experiment=experiment, cloned_from=cloned_from)


class Planned(NamedTuple):
    """A run to queue, and the preset that its configuration was made from."""

    config: RunConfig
    preset: str | None


def submit_all(planned: Sequence[Planned], *, experiment: str, cloned_from: int | None = None) -> list[int]:
    """Queue these runs in one transaction, all of them or none, and return their ids.

    Raises:
        ConfigError: a run could not work; nothing was made.
    """
    with store.reading() as connection:
        check_experiment(connection, experiment)
    planned = [one._replace(config=with_absolute_paths(one.config)) for one in planned]
    for config in {_looked_at(one.config): one.config for one in planned}.values():
        preflight.check(config)
        _check_afterwards(config)
    with folders_or_none() as folders, store.writing() as connection:
        origin = None if cloned_from is None else reads.get_run(connection, cloned_from)
        ids = [_create(connection, one.config, experiment, one.preset, origin, folders) for one in planned]
    for run_id in ids:
        ring(run_id)
    return ids


def _looked_at(config: RunConfig) -> str:
    """All that preflight looks at, and it reads every line of the data: of runs that are alike in this, one is checked."""
    prompts = config.rollout.prompts_per_step, getattr(config.regime, "held_out", 0)
    return repr((config.model, config.data, config.evaluation, prompts))


def notice(run_ids: Sequence[int] = ()) -> str:
    """What somebody who has just queued these runs should know: that nothing could start them, that the queue does not answer,
    or that they will look for vLLM in another environment; or ""."""
    with store.reading() as connection:
        alive = fleet.alive(connection)
        configs = [reads.get_run(connection, run_id).config for run_id in run_ids]
    wanted = max(map(devices_asked_for, configs), default=1)
    if not alive:
        return "no worker is alive, so the run waits; start one with `mtprl up`"
    if all(worker.draining for worker in alive):
        return "every worker is drained, so the run waits; `mtprl undrain` lets them take runs"
    most = max(len(worker.devices) for worker in alive)
    if wanted > most:
        return (
            f"the run asks for {wanted} devices (launch.num_processes) and no worker has more than {most}, so it waits until one has; "
            f"`mtprl stop` takes it back"
        )
    if not broker.answers(redis_url()):
        return "the queue (Redis) does not answer; the run is queued all the same, and a worker will find it by itself"
    if any(config.get("rollout", {}).get("engine") == "vllm" for config in configs):
        return services.worker_elsewhere(settings()) or ""
    return ""


def stop(run_id: int) -> str:
    """Ask a run to stop and say, in words, what happens now.

    Raises:
        StoreError: there is no such run.
    """
    with store.writing() as connection:
        run = reads.get_run(connection, run_id)
        before = run.status
        after = writes.request_stop(connection, run_id, time.time())
    if before in ENDED:
        return f"run {run_id} has already ended ({before})"
    if after == Status.STOPPED:
        return f"run {run_id} was still queued and is stopped"
    first = "answer the problems that it has begun" if run.kind == Kind.EVALUATION else "write a checkpoint"
    grace = settings().stop_grace
    return f"run {run_id} is stopping: it may {first} first, and is killed if it has not ended in {grace:g} s"


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
            alive = fleet.alive(connection)
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


def devices_asked_for(config: Mapping[str, Any]) -> int:
    """How many devices a run of this configuration, which may be an older version's, asks for."""
    return int((config.get("launch") or {}).get("num_processes", 1))


def _check_afterwards(config: RunConfig) -> None:
    """Refuse a training whose evaluation afterwards names no suite.

    Raises:
        ConfigError: naming `evaluation.afterwards.suite`.
    """
    if config.evaluation.afterwards is None:
        return
    try:
        suites.resolve(config.evaluation.afterwards.suite, {**os.environ, **variables()})
    except ConfigError as error:
        raise ConfigError([Problem("evaluation.afterwards.suite", item.message) for item in error.problems]) from None


def check_experiment(connection: Connection, name: str) -> None:
    """Refuse what cannot be the name of an experiment; one that there is already takes more runs, whatever it is called.

    Raises:
        ConfigError: it is too long, says nothing, or has characters that are refused.
    """
    problems = experiment_problems(name)
    if problems and name not in {one.name for one in reads.experiments(connection)}:
        raise ConfigError(problems)


@contextmanager
def folders_or_none() -> Iterator[list[Path]]:
    """Run folders that are made within; where that ends in an error, none of them is left."""
    folders: list[Path] = []
    try:
        yield folders
    except BaseException:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _unchanged(preset: str | None, config: RunConfig) -> str | None:
    """The preset, as long as the run's method is still the preset's: a name must not stand for another regime."""
    if preset is None or preset not in presets():
        return None
    original = parse(resolve(presets()[preset].values, variables=variables()))
    return preset if (original.regime, original.mtp) == (config.regime, config.mtp) else None


def _create(
    connection: Connection,
    config: RunConfig,
    experiment: str,
    preset: str | None,
    origin: RunDetail | None,
    folders: list[Path],
) -> int:
    preset = _unchanged(preset, config)
    method = preset.rpartition("/")[2] if preset else config.regime.kind
    name = config.name or f"{method}-{config.algorithm.kind}-seed{config.seed}"
    return make(
        connection,
        config,
        folders,
        experiment=experiment,
        name=name,
        regime=config.regime.kind,
        algorithm=config.algorithm.kind,
        seed=config.seed,
        total_steps=config.steps,
        preset=preset,
        cloned_from=None if origin is None else origin.id,
        difference=None if origin is None else difference(origin.config, config.model_dump(mode="json")),
    )


def make(
    connection: Connection, config: RunConfig | EvaluationConfig, folders: list[Path], *, name: str, **columns: Any
) -> int:
    """Queue a run with its folder in the caller's transaction; the folder is added to `folders`. `columns` are those of `create_run`."""
    values = config.model_dump(mode="json")
    run_id = writes.create_run(
        connection,
        name=name,
        config=values,
        folder="",
        now=time.time(),
        devices=devices_asked_for(values),
        priority=config.launch.priority,
        retries=config.launch.retries,
        **columns,
    )
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "run"
    # The random part keeps apart the folders of two databases that share a home.
    folder = settings().runs / f"{run_id:05d}-{slug}-{secrets.token_hex(2)}"
    folders.append(folder)
    folder.mkdir(parents=True)
    write_config(config, folder)
    writes.set_folder(connection, run_id, str(folder))
    return run_id


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(field, there, here) of every setting that differs, the name apart."""
    return [change for change in differences(old, new) if change[0] != "name"]


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same configuration for a trainer that runs in another folder. A model that is no folder here is a hub name."""
    changes: dict[str, Any] = {}
    environment = {**os.environ, **variables()}
    changes["model"] = settled_model(config.model)
    changes["data"] = settled(config.data, environment)
    changes["evaluation"] = config.evaluation.model_copy(
        update={"benchmarks": settled_benchmarks(config.evaluation.benchmarks)}
    )
    return config.model_copy(update=changes)


M = TypeVar("M", bound=EvaluatedModel)


def settled_model(model: M) -> M:
    """The model for a program that runs in another folder. What is no folder here is a hub name."""
    if not Path(model.path).is_dir():
        return model
    return model.model_copy(update={"path": str(Path(model.path).absolute())})


def settled_benchmarks(benchmarks: Sequence[Benchmark]) -> tuple[Benchmark, ...]:
    """The benchmarks for a program that runs in another folder."""
    environment = {**os.environ, **variables()}
    return tuple(
        benchmark.model_copy(update={"data": settled(benchmark.data, environment)}) for benchmark in benchmarks
    )
