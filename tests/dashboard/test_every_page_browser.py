"""Every page in a real browser, empty and full, on a narrow screen: nothing overflows, fails, or stands there without a name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import synthetic
from playwright.sync_api import ConsoleMessage, Page, expect
from test_leaderboard_browser import CHANCES, evaluate, page, served  # noqa: F401 (page is a fixture)

from backend import store
from db import labels
from db.statuses import Status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAGES = ("", "new", "run", "compare", "leaderboard", "changes", "models", "data", "machines", "alerts")
TABS = ("Learning", "Audit", "Completions", "Evaluation", "Events")
PROBES = "/_stcore/"
"""Streamlit asks for these below a page's own path first, and is told that they are not there."""
OVERFLOW = """() => { const main = document.querySelector('[data-testid="stMain"]');
    return Math.max(document.documentElement.scrollWidth - innerWidth, main.scrollWidth - main.clientWidth); }"""
NAMELESS = """() => [...document.querySelectorAll('input, textarea, select, button, a[href]')].filter(each =>
    each.checkVisibility() && !each.ariaLabel && !each.getAttribute('aria-labelledby') && !each.innerText.trim()
    && !each.title && ![...(each.labels || [])].some(label => label.innerText.trim())).map(each => each.outerHTML)"""


def wrong_with(page: Page, url: str) -> list[str]:  # noqa: F811
    """What is wrong with a page."""
    page.goto(url)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    found = page.get_by_test_id("stException").all_inner_texts()
    beyond = page.evaluate(OVERFLOW)
    found += [f"{beyond} pixels wider than the screen"] if beyond > 0 else []
    found += [f"without a name: {each[:200]}" for each in page.evaluate(NAMELESS)]
    return [f"{url}: {what}" for what in found]


def fill(home: Path) -> list[str]:
    """Runs of every kind; the addresses of the views that they have."""
    synthetic.make_base(home)
    for preset in CHANCES:
        for seed in range(2):
            evaluate(home, preset, seed)
    with store.writing() as connection:
        few = {"steps": 12, "now": time.time()}
        changes = {"audit.every": 1, "evaluation.every": 4, "model.mtp_depths": 2}
        audited = synthetic.add_run(connection, home, "demo/occ", changes=changes, **few)
        for status in (Status.FAILED, Status.RUNNING, Status.QUEUED):
            done = {Status.FAILED: 3, Status.RUNNING: 5}.get(status)
            synthetic.add_run(connection, home, "demo/ce", status=status, done=done, reason="a long reason " * 9, **few)
        labels.change_tags(connection, [audited], ["a-tag"], [])
        labels.archive(connection, [audited], time.time())
        synthetic.add_worker(connection, now=time.time())
    return [
        "?archived=true",
        f"new?clone_of={audited}",
        *(f"compare?runs=1,3,{audited}&view={view}" for view in ("Metrics", "Settings")),
        *(f"run?run={audited}&tab={tab}" for tab in TABS),
        "run?run=2&tab=Answers",
        "run?run=99",
    ]


def test_no_page_overflows_fails_or_has_a_nameless_control(page: Page, empty_store: Path) -> None:  # noqa: F811
    found: list[str] = []
    page.set_viewport_size({"width": 800, "height": 1000})
    page.on("pageerror", lambda error: found.append(f"{page.url}: {error}"))
    page.on("console", lambda said: found.extend(_errors(page, said)))
    with served(empty_store) as address:
        for name in PAGES:
            found += wrong_with(page, f"{address}/{name}")
        for name in (*PAGES, *fill(empty_store)):
            found += wrong_with(page, f"{address}/{name}")
    assert not found, "\n".join(found)


def _errors(page: Page, said: ConsoleMessage) -> list[str]:  # noqa: F811
    wrong = said.type == "error" and PROBES not in said.location["url"]
    return [f"{page.url}: {said.text}"] if wrong else []
