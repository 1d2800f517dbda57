"""The leaderboard in a real browser: from a board to what was answered, and a snapshot that stays."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import synthetic
from playwright.sync_api import Page, expect, sync_playwright

from backend import store

pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHANCES = {"detach": 0.3, "occ-calibrated": 0.9}


def evaluate(home: Path, preset: str, seed: int) -> None:
    with store.writing() as connection:
        run = synthetic.add_run(connection, home, f"demo/{preset}", seed=seed, steps=12, now=time.time())
        chances = {"doubles": [CHANCES[preset]] * 12, "more": [0.5] * 8}
        synthetic.add_evaluation(connection, run, chances, now=time.time())


@pytest.fixture
def address(empty_store: Path) -> Iterator[str]:
    """A dashboard before three seeds of two methods."""
    synthetic.make_base(empty_store)
    for preset in CHANCES:
        for seed in range(3):
            evaluate(empty_store, preset, seed)
    with served(empty_store) as url:
        yield url


@contextmanager
def served(home: Path) -> Iterator[str]:
    """The address of a dashboard before this home."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("mtprl")), "dashboard", "--port", str(port)]
    with open(home / "dashboard.log", "wb") as log:
        process = subprocess.Popen(command, env={**os.environ, "MTPRL_HOME": str(home)}, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 60
            while not _answers(f"{url}/_stcore/health"):
                assert process.poll() is None, (home / "dashboard.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is on the PATH; install one (Debian: apt-get install chromium) to test in a browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(30_000)
        yield page
        browser.close()


def test_from_a_difference_to_answers_and_a_snapshot_that_stays(page: Page, address: str, empty_store: Path) -> None:
    page.goto(f"{address}/leaderboard")
    board = page.get_by_role("table", name="doubles, more · avg@4")
    expect(board).to_be_visible()
    expect(page.get_by_text("3 seeds a side cannot give p below 0.10").first).to_be_visible()
    board.get_by_role("row").filter(has_text="occ-calibrated").get_by_role("link").first.click()

    expect(page.get_by_role("heading", name=re.compile("What changed"))).to_be_visible()
    changes = page.get_by_role("table", name="Problems by how much they changed")
    changes.get_by_role("link").first.click()
    expect(page.get_by_text("What is <b>twice</b>")).to_be_visible()  # as text, not as markup
    expect(page.get_by_text("equal to the right answer").first).to_be_visible()

    page.get_by_role("link", name="Leaderboard").last.click()
    expect(board).to_be_visible()
    before = board.inner_text().split()
    page.get_by_role("button", name="Freeze").click()
    page.get_by_role("textbox", name="Title").fill("First look")
    page.get_by_role("button", name="Freeze a snapshot").click()
    page.get_by_role("link", name="First look").last.click()
    expect(page.get_by_text("No later run changes this page.")).to_be_visible()
    link = page.url

    evaluate(empty_store, "detach", 3)
    page.goto(f"{address}/leaderboard")
    expect(board.get_by_text("0–3")).to_be_visible()
    page.goto(link)
    expect(page.get_by_text("The leaderboard of now says something else")).to_be_visible()
    assert board.inner_text().split() == before


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
        return answer.status == 200
    return False
