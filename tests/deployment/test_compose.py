"""docker-compose.yml and the Dockerfile, without Docker: valid, pinned, closed to the outside, and naming only what exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from backend import settings
from backend.cli import app

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "backend" / "Dockerfile"
GUIDE = ROOT / "docs" / "deploy.md"
OURS = ("migrate", "dashboard", "worker-cpu", "worker-gpu")

PINNED = re.compile(r":\d+\.\d+(\.\d+)?(-[a-z]+)*$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def dockerfile() -> list[list[str]]:
    """Instructions of the Dockerfile, word by word."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_compose_file_is_valid():
    program = Path(sys.executable).with_name("check-jsonschema")
    command = [program, "--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_is_pinned(compose, dockerfile):
    images = [service["image"] for service in compose["services"].values()]
    images += [words[1] for words in dockerfile if words[0] == "FROM"]
    assert len(images) == 7
    assert [image for image in images if not PINNED.search(image)] == []


def test_whatever_a_service_refers_to_is_there(compose):
    services = compose["services"]
    assert set(services) == {"postgres", "redis", *OURS}
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services, name
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}"
        assert set(service["secrets"]) <= compose["secrets"].keys(), name
        named = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert set(named) <= compose["volumes"].keys(), name
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
    for secret in compose["secrets"].values():
        path = secret["file"].removeprefix("./")
        assert path.split("/")[0] + "/" in (ROOT / ".gitignore").read_text().splitlines()
        assert path.split("/")[0] in GUIDE.read_text()


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_of_mtprl(compose, dockerfile, name):
    assert ["ENTRYPOINT", '["tini",', '"--",', '"mtprl"]'] in dockerfile
    service = compose["services"][name]
    commands = [service["command"]]
    check = service.get("healthcheck", {}).get("test", [""])
    if check[:2] == ["CMD", "mtprl"]:
        commands.append(check[2:])
    for command, *options in commands:
        answer = CliRunner().invoke(app, [command, "--help"])
        assert answer.exit_code == 0, command
        shown = re.sub(r"\x1b\[[0-9;]*m", "", answer.output)
        assert all(option in shown for option in options), (command, options)


def test_every_variable_is_one_that_somebody_reads(compose):
    known = set(re.findall(r"\b(MTPRL_[A-Z_]+)\b", settings.__doc__ or ""))
    known |= {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "NVIDIA_VISIBLE_DEVICES", "HF_HOME"}
    given = {name for service in compose["services"].values() for name in service.get("environment", {})}
    assert given <= known
    text = re.sub(r"^\s*#.*$", "", COMPOSE.read_text(), flags=re.MULTILINE)
    asked_of_the_user = set(re.findall(r"(?<!\$)\$\{(\w+):-", text))
    assert asked_of_the_user
    missing = [name for name in asked_of_the_user if f"`{name}`" not in GUIDE.read_text()]
    assert missing == []
    assert re.findall(r"(?<!\$)\$\{\w+\}", text) == [], "a variable without a default stops compose"


def test_nothing_is_open_to_the_outside_and_no_secret_is_written_down(compose):
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("${MTPRL_BIND:-127.0.0.1}:"), name
        for variable, value in service.get("environment", {}).items():
            assert not ("PASSWORD" in variable and not variable.endswith("_FILE")), (name, variable)
            assert not re.search(r"//[^/@]*:[^/@$]+@", str(value)), (name, variable)
    redis = " ".join(compose["services"]["redis"]["command"])
    assert "--requirepass" in redis
    assert "--maxmemory-policy noeviction" in redis


def test_our_services_run_without_rights(compose, dockerfile):
    users = [words[1] for words in dockerfile if words[0] == "USER"]
    assert users == ["mtprl"]
    assert dockerfile.index(["USER", "mtprl"]) > max(i for i, words in enumerate(dockerfile) if words[0] == "RUN")
    for name in OURS:
        assert compose["services"][name]["cap_drop"] == ["ALL"]
        assert compose["services"][name]["security_opt"] == ["no-new-privileges:true"]


def test_every_file_that_the_image_copies_exists_and_is_not_ignored(dockerfile):
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [source for words in dockerfile if words[0] == "COPY" for source in words[1:-1]]
    assert set(copied) == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_holds_every_package_that_the_distribution_has(dockerfile):
    copied = {source for words in dockerfile if words[0] == "COPY" for source in words[1:-1]}
    assert {"trainer", "db", "backend", "dashboard"} <= copied
