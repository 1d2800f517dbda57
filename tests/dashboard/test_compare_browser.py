"""Compare in a real browser: what is chosen there stands in the address, which is the same view for somebody else."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from test_leaderboard_browser import address, page  # noqa: F401 (fixtures)

pytestmark = pytest.mark.slow


def _said(page: Page) -> list[str]:  # noqa: F811
    expect(page.get_by_text("2 groups of 6 runs")).to_be_visible()
    expect(page.get_by_text("What is drawn, as CSV")).to_be_visible()
    return [caption.inner_text() for caption in page.get_by_test_id("stCaptionContainer").all()]


def test_a_view_is_shared_by_its_address_and_its_table_parses(page: Page, address: str) -> None:  # noqa: F811
    page.goto(f"{address}/compare")
    page.get_by_role("button", name="Choose all 6").click()
    expect(page.get_by_text(re.compile("^6 runs"))).to_be_visible()
    page.get_by_text("Hours", exact=True).click()
    expect(page.get_by_text("pauses between them are left out").first).to_be_visible()
    page.get_by_text("Centred mean", exact=True).click()
    expect(page.get_by_text("centred mean over 9 steps").first).to_be_visible()
    page.get_by_role("combobox", name="Lines").click()
    page.get_by_role("option", name="Seeds together").click()
    page.get_by_text("Has not measured it: detach.").wait_for()  # the groups are drawn, no longer the runs
    said = _said(page)
    browser = page.context.browser
    assert browser is not None
    other = browser.new_context().new_page()
    other.goto(page.url)
    assert _said(other) == said
    with other.expect_download() as download:
        other.get_by_text("What is drawn, as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert {row["n"] for row in rows if row["what"] == "smoothed mean"} == {"3"}
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows if row["low"])
