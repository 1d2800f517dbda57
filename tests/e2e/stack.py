"""The whole product on free ports in a home of its own, as `mtprl up` starts it, and a real browser in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Headless, without the services that a browser calls by itself.
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

Shell = Callable[..., subprocess.CompletedProcess[str]]


def shell(home: Path) -> Shell:
    """The command line in this home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MTPRL_")}
    env |= {"MTPRL_HOME": str(home), "CUDA_VISIBLE_DEVICES": "", "MTPRL_CPU_SLOTS": "2"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("mtprl")), *arguments]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=180)

    return run


@contextmanager
def running_stack(home: Path, mtprl: Shell) -> Iterator[str]:
    """Address of the running dashboard. Afterwards nothing of the stack may be left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = mtprl("up", "--port", str(port))
    assert started.returncode == 0, started.stdout + started.stderr
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stopped = mtprl("down")
        left = processes_of(home)
        for process in left:
            process.kill()
    assert stopped.returncode == 0, stopped.stderr
    assert not left, [process.cmdline() for process in left]


def processes_of(home: Path) -> list[psutil.Process]:
    """Every live process that was started for this home."""
    found = []
    for process in psutil.process_iter():
        try:
            # redis-server overwrites its environment; it works in the folder of its log.
            mine = process.environ().get("MTPRL_HOME") == str(home) or process.cwd() == str(home / "logs")
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@contextmanager
def browser_page() -> Iterator[Page]:
    """A page of a real Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is on the PATH; install one (Debian: apt-get install chromium) to test in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
        page.set_default_timeout(30_000)
        yield page
        browser.close()
