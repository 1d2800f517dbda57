"""A researcher's afternoon in one piece: two methods launched, watched, stopped, resumed, cloned, compared, shared and exported, with nothing lost."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, WebSocket, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from test_browser import fill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a minute or two on a quiet machine
PATIENCE, USUAL = 180_000, 30_000  # milliseconds

EXPERIMENT, STEPS = "story", 40
COMPARED = ("mtp/coefficient", "policy/entropy")
TICKS, FRAGMENTS = 10, 2  # the Run page has two parts that draw themselves every two seconds
T_OF_TWO = math.tan(math.pi * 0.475)
"""Student's t at 97.5 % with one degree of freedom, which is Cauchy's distribution."""
QUIET = 0.5  # pixels
# Streamlit's own front end asks for these beside the page's address first, and then at the root.
PROBES = ("/_stcore/health", "/_stcore/host-config")
TELL_EXCEPTIONS = """new MutationObserver(() => {
  const box = document.querySelector('[data-testid="stException"]');
  if (box) console.error('exception box: ' + box.innerText);
}).observe(document, {childList: true, subtree: true});"""
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => ({
  title: plot.layout.title.text,
  traces: plot.data.map(trace => ({name: trace.name, fill: trace.fill, x: [...trace.x], y: [...trace.y]}))}))"""

Drawn = dict[str, dict[str, dict[str, Any]]]
"""By title of the chart and name of the trace."""


@pytest.fixture
def patient() -> Iterator[None]:
    """Runs take their time on a busy machine."""
    expect.set_options(timeout=PATIENCE)
    yield
    expect.set_options(timeout=USUAL)


@pytest.fixture
def complaints(page: Page, patient: None) -> list[str]:
    """What any page of the browser complained of in its console, a box of an exception included."""
    found: list[str] = []
    page.set_default_timeout(PATIENCE)
    page.context.set_default_timeout(PATIENCE)
    listen(page.context, found)
    return found


def listen(context: BrowserContext, found: list[str]) -> None:
    def hear(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.location["url"].endswith(PROBES):
            found.append(f"{message.text} ({message.location['url']})")

    context.add_init_script(TELL_EXCEPTIONS)
    context.on("console", hear)
    context.on("weberror", lambda error: found.append(str(error.error)))


class Ticks:
    """How often parts of a page have drawn themselves anew."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        page.on("websocket", lambda socket: self._follow(socket))

    def _follow(self, socket: WebSocket) -> None:
        socket.on("framereceived", self._hear)

    def _hear(self, frame: bytes | str) -> None:
        if isinstance(frame, bytes):
            message = ForwardMsg.FromString(frame)
            self.count += (
                message.WhichOneof("type") == "script_finished"
                and message.script_finished == ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
            )


def test_from_a_grid_to_a_comparison_that_others_see(page, address, mtprl, complaints, tmp_path):
    ticks = Ticks(page)
    watched, *_ = runs = launch_grid(page, address)
    watch_it_grow(page, watched)
    stop(page, watched)
    resume(page, watched)
    clone = clone_with_another_rate(page, watched)
    half, rest = "the learning rate was ", "too high"
    write_note(page, half)

    other = page.context.new_page()
    typed = type_into_the_form(other, address)
    running(page, clone)
    place = scroll(page)
    begun = ticks.count

    third = page.context.new_page()
    compare(third, address, runs, clone)
    charts, table = drawn(third), downloaded(third, "What is drawn, as CSV")
    exported = export(mtprl, runs, tmp_path)
    the_means_are_numpys(exported, {"occ-calibrated": runs[:2], "detach": runs[2:]}, charts, table)
    fresh = page.context.browser.new_context(viewport={"width": 1440, "height": 1000})
    fresh.set_default_timeout(PATIENCE)
    listen(fresh, complaints)
    shared = fresh.new_page()
    shared.goto(third.url)
    settled(shared)
    assert captions(shared) == captions(third)
    assert drawn(shared) == charts
    third.goto(f"{address}/run?run={watched}")
    assert downloaded(third, "CSV") == [row for row in exported if row["run"] == str(watched)]

    while ticks.count - begun < TICKS * FRAGMENTS:
        page.wait_for_timeout(200)  # frames are heard meanwhile
    running(page, clone)
    assert abs(scrolled(page) - place) < QUIET
    page.keyboard.type(rest)
    expect(page.get_by_role("textbox", name="Note")).to_have_value(half + rest)
    for label, text in typed.items():
        expect(other.get_by_role("textbox", name=label, exact=True)).to_have_value(text)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(f"✎ {half}{rest}")).to_be_visible()
    stop(page, clone)
    assert complaints == []


# --- what the researcher does ----------------------------------------------------------------------------


def launch_grid(page: Page, address: str) -> list[int]:
    """Two methods, two seeds each, in short steps; the runs' ids."""
    page.goto(f"{address}/new")
    page.get_by_text("Grid of methods", exact=True).click()
    detach = "heads learn apart (detach)"
    for title in (detach, "joint cross-entropy (ce)", "joint policy loss (policy)"):
        page.get_by_role("button", name=f"Remove {title}").click()
        expect(page.get_by_role("button", name=f"Remove {title}")).to_have_count(0)
    page.get_by_role("combobox", name="Regimes").click()
    page.get_by_role("option", name=detach).click()
    page.keyboard.press("Escape")
    fill(page, "Seeds", "0,1")
    fill(page, "Experiment", EXPERIMENT)
    fill(page, "Steps", str(STEPS))
    page.get_by_text("Rollout", exact=True).click()
    fill(page, "Prompts per step", "8")
    fill(page, "Samples per prompt", "4")
    fill(page, "Max response tokens", "16")
    expect(page.get_by_text("2 methods × 2 seeds")).to_be_visible()
    page.get_by_role("button", name="Launch").click()
    links = page.get_by_role("link", name=re.compile(r"Watch run \d+"))
    expect(links).to_have_count(4)
    return [int(re.findall(r"\d+", link.inner_text())[-1]) for link in links.all()]


def watch_it_grow(page: Page, run: int) -> None:
    """A new point stands in the chart of the coefficient without a reload."""
    page.get_by_role("link", name=f"Watch run {run}").click()
    page.evaluate("window.neverReloaded = true")
    points = "() => document.querySelector('.js-plotly-plot')?.data?.find(trace => trace.name == 'coefficient')?.x.length ?? 0"
    page.wait_for_function(f"({points})() > 0")
    before = page.evaluate(points)
    page.wait_for_function(f"({points})() > {before}")
    assert page.evaluate("window.neverReloaded")


def stop(page: Page, run: int) -> None:
    page.get_by_role("button", name=re.compile("Stop$")).first.click()
    page.get_by_role("button", name=f"Stop run {run}").click()
    expect(page.get_by_text("stopped", exact=True).first).to_be_visible()


def resume(page: Page, run: int) -> None:
    page.get_by_role("button", name=re.compile("Resume$")).first.click()
    page.get_by_role("button", name=f"Resume run {run}").click()
    expect(page.get_by_text(re.compile("^(queued|starting|running)$")).first).to_be_visible()
    expect(page.get_by_text(re.compile("attempt 2|place . in the queue")).first).to_be_visible()


def clone_with_another_rate(page: Page, parent: int) -> int:
    """A clone that lives until it is stopped; the form says in what it differs."""
    page.get_by_role("link", name="Clone").click()
    expect(page.get_by_text("In nothing yet")).to_be_visible()
    page.get_by_text("Optimiser", exact=True).click()
    fill(page, "Learning rate", "0.0003")
    fill(page, "Steps", "5000")
    differences = page.get_by_role("table", name=f"Differences to run {parent}")
    expect(differences.get_by_role("row")).to_have_text(
        [re.compile("Setting"), f"steps{STEPS}5000", "optimizer.lr0.00020.0003"]
    )
    page.get_by_role("button", name="Launch").click()
    link = page.get_by_role("link", name=re.compile(r"Watch run \d+"))
    run = int(re.findall(r"\d+", link.inner_text())[-1])
    link.click()
    expect(page.get_by_text(f"cloned from run {parent}")).to_be_visible()
    return run


def write_note(page: Page, text: str) -> None:
    page.get_by_role("button", name=re.compile("Edit$")).click()
    page.get_by_role("textbox", name="Note").click()
    page.keyboard.type(text)


def type_into_the_form(page: Page, address: str) -> Mapping[str, str]:
    page.goto(f"{address}/new")
    fill(page, "Experiment", "next week")
    fill(page, "Steps", "777")
    fill(page, "Name", "not committed")
    return {"Experiment": "next week", "Steps": "777", "Name": "not committed"}


def running(page: Page, run: int) -> None:
    """The page says that the run makes steps."""
    expect(page.get_by_text(re.compile(rf"^run {run} · "))).to_be_visible()
    expect(page.get_by_text("running", exact=True).first).to_be_visible()
    expect(page.locator(".js-plotly-plot").nth(3)).to_be_visible()


def scroll(page: Page) -> float:
    page.set_viewport_size({"width": 1440, "height": 700})
    page.wait_for_function(
        """() => {
          const main = document.querySelector('[data-testid=stMain]');
          main.scrollTo(0, 250);
          return main.scrollTop == 250;
        }"""
    )
    return scrolled(page)


def scrolled(page: Page) -> float:
    return page.get_by_test_id("stMain").evaluate("main => main.scrollTop")


def compare(page: Page, address: str, runs: Sequence[int], clone: int) -> None:
    """From the list to the seeds of both methods together, without the clone."""
    page.goto(f"{address}/?experiment={EXPERIMENT}")
    listed = page.get_by_role("table", name="Runs")
    expect(listed.get_by_role("row").filter(has_text="finished")).to_have_count(len(runs))
    page.get_by_role("link", name="Compare the first 5 of these").click()
    page.get_by_role("button", name=re.compile(rf"^Remove {clone} · ")).click()
    expect(page.get_by_text(re.compile("^4 runs"))).to_be_visible()
    page.get_by_role("combobox", name="Lines").click()
    page.get_by_role("option", name="Seeds together").click()
    page.get_by_role("combobox", name="Metrics").fill("policy/entropy")  # of a long list only a part is drawn
    page.get_by_role("option", name="policy/entropy").click()
    page.keyboard.press("Escape")
    settled(page)


def settled(page: Page) -> None:
    expect(page.get_by_text("2 groups of 4 runs")).to_be_visible()
    for metric in COMPARED:
        expect(page.locator(".js-plotly-plot").filter(has_text=metric)).to_be_visible()
    expect(page.get_by_text("What is drawn, as CSV")).to_be_visible()


# --- what is seen, and what it must be -------------------------------------------------------------------


def drawn(page: Page) -> Drawn:
    """The data of the charts, as the browser holds them."""
    return {
        re.sub("<[^>]*>", "", chart["title"]): {trace["name"]: trace for trace in chart["traces"]}
        for chart in page.evaluate(DRAWN)
    }


def captions(page: Page) -> list[str]:
    return [caption.inner_text() for caption in page.get_by_test_id("stCaptionContainer").all()]


def downloaded(page: Page, button: str) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name=re.compile(rf"{button}$")).click()
    return list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))


def export(mtprl: Any, runs: Sequence[int], folder: Path) -> list[dict[str, str]]:
    """The rows of the runs as CSV, after the same were read from Parquet."""
    ids = [str(run) for run in runs]
    rows = list(csv.DictReader(io.StringIO(mtprl("export", *ids).stdout)))
    assert {row["run"] for row in rows} == set(ids)
    written = mtprl("export", *ids, "--format", "parquet", "--output", str(folder / "runs.parquet"))
    assert written.returncode == 0, written.stderr
    parquet = pd.read_parquet(folder / "runs.parquet").astype({"run": str, "step": str, "mini_batch": str})
    names = ["run", "metric", "step", "mini_batch"]
    assert parquet[names].to_dict("records") == [{name: row[name] for name in names} for row in rows]
    assert np.array_equal(parquet["value"], [float(row["value"]) for row in rows], equal_nan=True)
    return rows


def the_means_are_numpys(
    exported: Sequence[dict[str, str]],
    methods: Mapping[str, Sequence[int]],
    charts: Drawn,
    table: Sequence[dict[str, str]],
) -> None:
    """Mean and 95 % interval over the seeds of each method, in chart and table, are those of the exported values."""
    at: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
    for row in exported:
        if row["mini_batch"] == "-1":
            at[row["metric"], int(row["step"])][int(row["run"])] = float(row["value"])
    steps = list(range(1, STEPS + 1))
    checked = 0
    for method, runs in methods.items():
        for metric in COMPARED:
            values = [[at[metric, step][run] for run in runs if run in at[metric, step]] for step in steps]
            if not any(values):  # detach has no coefficient
                assert method not in charts[metric]
                continue
            means, deviations = np.mean(values, axis=1), np.std(values, axis=1, ddof=1)
            half = T_OF_TWO * deviations / math.sqrt(2)
            assert np.any(half > 0)

            line, band = charts[metric][method], charts[metric][f"{method}, 95 % interval"]
            assert line["x"] == steps
            assert band["x"] == steps + steps[::-1]
            assert line["y"] == pytest.approx(means, rel=1e-9)
            assert band["y"] == pytest.approx([*(means + half), *(means - half)[::-1]], rel=1e-9, abs=1e-15)

            rows = [row for row in table if (row["metric"], row["line"], row["what"]) == (metric, method, "mean")]
            assert [(int(row["n"]), float(row["x"])) for row in rows] == [(2, step) for step in steps]
            assert [float(row["value"]) for row in rows] == pytest.approx(means, rel=1e-9)
            assert [float(row["low"]) for row in rows] == pytest.approx(means - half, rel=1e-9, abs=1e-15)
            assert [float(row["high"]) for row in rows] == pytest.approx(means + half, rel=1e-9, abs=1e-15)
            checked += 1
    assert checked == 3
