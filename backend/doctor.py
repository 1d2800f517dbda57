"""`mtprl doctor`: everything that runs need, each with a verdict and, where it is not right, the fix."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError

from backend import broker, services, stack, store
from backend.devices import cores, devices, visible_gpus
from backend.fleet import WORKER_SILENT
from backend.settings import Settings, check_packages, environment, read_stack, redis_url, settings
from db import reads
from trainer.errors import MtprlError
from trainer.rollout.vllm.installed import installed_problems, installed_version, is_for_processors

LEAST_DISK, GOOD_DISK = 2**30, 10 * 2**30
"""Free bytes below which checkpoints fail soon, and below which that may happen."""

_TORCH = "import json, torch; print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available()]))"


class Verdict(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """What was found of one subject."""

    subject: str
    verdict: Verdict
    words: str


def examine() -> Iterator[Finding]:
    """Look at one thing after the other; raises nothing."""
    try:
        of = settings()
        check_packages()
    except MtprlError as error:
        yield Finding("settings", Verdict.FAIL, str(error))
        return
    yield Finding("home", Verdict.OK, str(of.home))
    yield _python()
    yield _torch(bool(visible_gpus()))
    yield _vllm()
    yield _devices(of)
    yield _disk(of)
    yield _redis(of)
    ready = _database()
    yield ready
    if ready.verdict == Verdict.OK:
        yield _worker(of)
    yield _dashboard(of)


def _python() -> Finding:
    return Finding("python", Verdict.OK, f"{platform.python_version()} at {sys.executable}")


def _torch(has_gpu: bool) -> Finding:
    # In a process of its own: torch takes seconds to import, and may fail in ways that end the process.
    try:
        answer = subprocess.run(
            [sys.executable, "-P", "-c", _TORCH], capture_output=True, text=True, timeout=180, env=environment()
        )
    except subprocess.TimeoutExpired:
        return Finding("torch", Verdict.FAIL, "cannot be imported within 180 s; the disk may be overloaded, try again")
    if answer.returncode:
        cause = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        return Finding("torch", Verdict.FAIL, f"cannot be imported ({cause}); run `make setup` again")
    version, cuda, works = json.loads(answer.stdout.splitlines()[-1])
    if has_gpu and not works:
        built = f"built for CUDA {cuda}" if cuda else "built without CUDA"
        return Finding(
            "torch",
            Verdict.FAIL,
            f"{version} ({built}) cannot use this machine's GPU; install a torch that fits its driver",
        )
    return Finding("torch", Verdict.OK, f"{version}, CUDA {cuda}" if works else f"{version}, on the processor")


def _vllm() -> Finding:
    installed = installed_version()
    if installed is None:
        words = f"not in this environment ({sys.prefix}); only rollout.engine vllm needs it: docs/engines.md says how to install it"
        return Finding("vllm", Verdict.OK, words)
    if found := installed_problems():
        return Finding("vllm", Verdict.WARN, "; ".join(problem.message for problem in found))
    return Finding("vllm", Verdict.OK, f"{installed}, {'for processors' if is_for_processors() else 'for GPUs'}")


def _devices(of: Settings) -> Finding:
    names = devices(of)
    return Finding(
        "devices",
        Verdict.OK,
        f"{len(names)} {'run' if len(names) == 1 else 'runs'} at once on {', '.join(names)}; {cores()} cores",
    )


def _disk(of: Settings) -> Finding:
    folder = next(path for path in (of.home, *of.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    words = f"{free / 2**30:.1f} GiB free at {folder}"
    if free < LEAST_DISK:
        return Finding("disk", Verdict.FAIL, f"{words}; make room, or set MTPRL_HOME to a larger disk")
    if free < GOOD_DISK:
        return Finding(
            "disk", Verdict.WARN, f"{words}, which checkpoints of large models fill; set MTPRL_HOME to a larger disk"
        )
    return Finding("disk", Verdict.OK, words)


def _redis(of: Settings) -> Finding:
    if broker.answers(redis_url(of)):
        policy = broker.eviction_policy(redis_url(of))
        if policy not in (None, "noeviction"):
            return Finding(
                "redis",
                Verdict.WARN,
                f"forgets messages when its memory is full (maxmemory-policy {policy}); set it to noeviction",
            )
        return Finding("redis", Verdict.OK, "answers" + ("" if of.redis_url else f" at {redis_url(of)}"))
    if of.redis_url:
        return Finding(
            "redis", Verdict.FAIL, "the one that MTPRL_REDIS_URL names does not answer; start it, or unset the variable"
        )
    try:
        program = services.redis_server()
    except MtprlError as error:
        return Finding("redis", Verdict.FAIL, str(error))
    return Finding("redis", Verdict.WARN, f"does not run; `mtprl up` starts {program}")


def _database() -> Finding:
    try:
        if store.is_ready():
            return Finding(
                "database", Verdict.OK, f"answers: {store.engine().url.render_as_string(hide_password=True)}"
            )
    except MtprlError as error:
        return Finding("database", Verdict.FAIL, str(error))
    except SQLAlchemyError as error:
        cause = str(error).splitlines()[0]
        return Finding("database", Verdict.FAIL, f"does not answer ({cause}); start it, or check MTPRL_DATABASE_URL")
    return Finding("database", Verdict.WARN, "is not there yet, or of another version; `mtprl up` prepares it")


def _worker(of: Settings) -> Finding:
    with store.reading() as connection:
        rows = [row for row in reads.workers(connection) if row.ended_at is None]
    ages = {row.name: time.time() - row.heartbeat_at for row in rows}
    alive = [f"{name} ({age:.0f} s ago)" for name, age in ages.items() if age < WORKER_SILENT]
    if alive:
        heard = f"heard of {', '.join(alive)}"
        elsewhere = services.worker_elsewhere(of)
        return (
            Finding("worker", Verdict.WARN, f"{heard}; {elsewhere}")
            if elsewhere
            else Finding("worker", Verdict.OK, heard)
        )
    last = f"last heard of {min(ages.values()):.0f} s ago" if ages else "none runs"
    return Finding("worker", Verdict.WARN, f"{last}; `mtprl up` starts one")


def _dashboard(of: Settings) -> Finding:
    address = stack.dashboard_url(of)
    if address is not None:
        return Finding("dashboard", Verdict.OK, f"runs at {address}")
    recorded = "ended by itself" if "dashboard" in read_stack(of) else "does not run"
    try:
        port = of.dashboard_port or services.free_port(stack.DASHBOARD_PORT)
    except MtprlError as error:
        return Finding("dashboard", Verdict.FAIL, str(error))
    if not services.port_is_free(port):
        return Finding(
            "dashboard",
            Verdict.FAIL,
            f"port {port} (MTPRL_DASHBOARD_PORT) is in use by another program; choose another one",
        )
    return Finding("dashboard", Verdict.WARN, f"{recorded}; `mtprl up` starts it at port {port}")
