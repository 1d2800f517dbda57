"""A home of its own for every test, a real Redis, real processes; and nothing that stays behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import standin_supervisor
from backend_harness import REDIS_SERVER, free_port, kill_processes_of, look, until

from backend import broker, cli, processes, runs, settings, store
from db import claims, engine
from trainer.config import RunConfig, parse


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty MTPRL_HOME with a migrated database and one slot; at the end, every process that belongs to it is killed."""
    for name in [name for name in os.environ if name.startswith("MTPRL_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("MTPRL_HOME", str(folder))
    monkeypatch.setenv("MTPRL_CPU_SLOTS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    engine.migrate(settings.settings().database_url)
    handler = signal.getsignal(signal.SIGTERM)
    yield folder
    signal.signal(signal.SIGTERM, handler)
    kill_processes_of(folder)
    store.engine().dispose()
    store._engine.cache_clear()


@pytest.fixture
def redis(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A real Redis, named by MTPRL_REDIS_URL."""
    port = free_port()
    command = [str(REDIS_SERVER), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    monkeypatch.setenv("MTPRL_REDIS_URL", f"redis://127.0.0.1:{port}/0")
    until(lambda: broker.answers(settings.redis_url()), 10)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def values(home: Path, tmp_path: Path) -> dict[str, Any]:
    """A configuration that preflight lets pass: files that look like a model, and four problems."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "qwen3"}')
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    data = tmp_path / "problems.jsonl"
    data.write_text("".join(f'{{"problem": "{n}+{n}", "answer": "{2 * n}"}}\n' for n in range(4)))
    return {
        "name": "finish",
        "steps": 5,
        "model": {"path": str(model)},
        "regime": {"kind": "detach"},
        "data": {"kind": "jsonl", "path": str(data)},
        "rollout": {"prompts_per_step": 4, "samples_per_prompt": 2, "max_response_tokens": 8},
    }


@pytest.fixture
def mtprl(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: (exit code, output, errors)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtprl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def config(values: dict[str, Any]) -> Callable[..., RunConfig]:
    """Make a configuration; the name chooses what the stand-in trainer does."""
    return lambda name="finish", steps=5, **more: parse({**values, "name": name, "steps": steps, **more})


@pytest.fixture
def claimed(config: Callable[..., RunConfig]) -> Callable[..., int]:
    """Submit a run and claim it, as a worker would before it starts the supervisor."""

    def claim(name: str = "finish", steps: int = 5, **launch: Any) -> int:
        run_id = runs.submit(config(name, steps, launch=launch))
        with store.writing() as connection:
            claim = claims.claim_next(connection, host=socket.gethostname(), devices=["cpu:0"], now=time.time())
        assert claim is not None
        assert claim.run_id == run_id
        return run_id

    return claim


@pytest.fixture
def start_supervisor(home: Path) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Start a supervisor of the stand-in trainer as a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run_id: int) -> subprocess.Popen[bytes]:
        command = [*standin_supervisor.COMMAND, str(run_id), "1"]
        log = Path(look(run_id).folder) / "supervisor.log"
        started.append(processes.start(command, log, settings.environment()))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
