"""What a user does: launch a run from the form, watch its coefficient grow, stop another, read the leaderboard."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import time

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.slow


def fill(page: Page, label: str, text: str) -> None:
    box = page.get_by_role("textbox", name=label, exact=True)
    box.fill(text)
    box.press("Tab")


def launch(page: Page, address: str, **fields: str) -> int:
    """Fill in the form of a new run and launch it; the run's id."""
    page.goto(f"{address}/new")
    expect(page.get_by_role("heading", name="New run")).to_be_visible()
    for label, text in fields.items():
        fill(page, label, text)
        expect(page.get_by_role("textbox", name=label, exact=True)).to_have_value(text)
    page.get_by_role("button", name="Launch").click()
    link = page.get_by_role("link", name=re.compile(r"Watch run \d+"))
    expect(link).to_be_visible()
    return int(re.findall(r"\d+", link.inner_text())[-1])


def status(mtprl, run: int) -> dict:
    shown = mtprl("show", str(run), "--json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)


def test_launch_watch_and_rank_a_run(page, address, mtprl, tmp_path):
    run = launch(page, address, Steps="4", Seeds="3")
    page.goto(f"{address}/run?run={run}")
    expect(page.get_by_text("running", exact=True).first).to_be_visible(timeout=60_000)
    expect(page.get_by_text(re.compile(r"^4 / 4 steps$"))).to_be_visible(timeout=90_000)  # arrives without a reload
    expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=60_000)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()

    shown = status(mtprl, run)
    assert (shown["status"], shown["step"], shown["seed"], shown["regime"]) == ("finished", 4, 3, "occ")
    exported = mtprl("export", str(run), "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(exported.stdout)))
    assert list(rows[0]) == ["run", "attempt", "metric", "step", "mini_batch", "value", "time"]
    coefficients = [row for row in rows if row["metric"] == "mtp/coefficient" and row["mini_batch"] != "-1"]
    assert len(coefficients) == 4 * 4
    assert all(0 <= float(row["value"]) <= 1 for row in coefficients)
    assert all(float(row["value"]) == 0 for row in coefficients if row["mini_batch"] == "0")

    page.get_by_role("tab", name="Completions").click()
    expect(page.get_by_text(re.compile("no answer found|not equal to")).first).to_be_visible()
    page.goto(f"{address}/leaderboard")
    expect(page.get_by_text("these checkpoints, not these methods").first).to_be_visible()
    board = json.loads(mtprl("leaderboard", "--json").stdout)
    assert "occ" in json.dumps(board)

    page.get_by_role("button", name="Report").click()
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="HTML, one file").click()
    download.value.save_as(tmp_path / "report.html")
    page.goto((tmp_path / "report.html").as_uri())
    expect(page.get_by_role("heading", name="Answer")).to_be_visible()
    expect(page.locator(".js-plotly-plot .scatterlayer").first).to_be_visible()


def test_a_refused_value_stands_beside_its_field_and_keeps_the_rest(page, address, mtprl):
    before = json.loads(mtprl("runs", "--json").stdout)
    page.goto(f"{address}/new")
    fill(page, "Steps", "7")
    fill(page, "Lambda plus", "-1")
    expect(page.get_by_text(re.compile("-1 is too small")).first).to_be_visible()
    expect(page.get_by_role("textbox", name="Steps", exact=True)).to_have_value("7")
    assert json.loads(mtprl("runs", "--json").stdout) == before


def test_a_run_stopped_midway_ends_as_stopped_with_a_checkpoint(page, address, mtprl, home):
    run = launch(page, address, Steps="5000")
    page.goto(f"{address}/run?run={run}")
    expect(page.get_by_text(re.compile(r"^[1-9]\d* / 5,000 steps$"))).to_be_visible(timeout=90_000)
    page.get_by_role("button", name=re.compile("^.*Stop$")).first.click()
    page.get_by_role("button", name=f"Stop run {run}").click()
    expect(page.get_by_text("stopped", exact=True).first).to_be_visible(timeout=60_000)
    shown = status(mtprl, run)
    assert shown["status"] == "stopped"
    folder = next((home / "runs").glob(f"{run:05d}-*"))
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step-{shown['step']:06d}"]


def test_kill_9_of_the_worker_leaves_no_phantom(address, mtprl, home):
    submitted = mtprl("submit", "demo/detach", "--set", "steps=6")
    assert submitted.returncode == 0, submitted.stderr
    run = int(re.findall(r"run (\d+)", submitted.stdout)[0])
    await_status(mtprl, run, "running")
    os.kill(json.loads((home / "stack.json").read_text())["services"]["worker"]["pid"], signal.SIGKILL)
    shown = await_status(mtprl, run, "finished")
    assert shown["step"] == 6
    again = mtprl("up")
    assert again.returncode == 0, again.stderr
    doctor = mtprl("doctor")
    assert doctor.returncode == 0, doctor.stdout


def await_status(mtprl, run: int, wanted: str, seconds: float = 90) -> dict:
    """The run once it has this status; fails where it ends in another, or in time."""
    deadline = time.monotonic() + seconds
    while (shown := status(mtprl, run))["status"] != wanted:
        assert shown["status"] not in ("finished", "failed", "stopped"), shown
        assert time.monotonic() < deadline, shown
        time.sleep(0.3)
    return shown
