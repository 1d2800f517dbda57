"""How soon are the pages usable, in a real browser, and how soon does a chart show what a run wrote?

    python -m benchmarks.dashboard [--minutes 3] [--repeat 5]

Fills a SQLite store with 1,000 runs, one run of 5 metrics x 1,000,000 points and 20 runs of 5 metrics x 100,000 points, serves it with the
real dashboard and opens each page in a fresh browser context of headless Chromium, `--repeat` times. Then 20 runs write at once, each
with the real supervisor and a recorded run in the place of its trainer (benchmarks.replay), and one browser watches a chart.
Writes docs/results/dashboard.md.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import Engine

from benchmarks import live
from benchmarks.markdown import table
from db import claims, engine, ingest
from db.runs import create_run
from db.statuses import Status
from trainer.config import parse, resolve
from trainer.events import EVENTS_FILE, parse_lines
from trainer.presets import presets

RESULTS = Path("docs/results/dashboard.md")
RUNS, LONG, COMPARED, SHORTER, LIVE = 1_000, 1_000_000, 20, 100_000, 20
NAMES = ("mtp/coefficient", "mtp/c_hat", "mtp/v2_hat", "mtp/gain", "mtp/acceptance_greedy")
AIMS = {"Runs": 1.5, "Run": 1.5, "Compare": 2.0, "event to chart, p95": 3.0}
_CHUNK = 50_000
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WARM_UP = 60.0
"""Seconds in which the supervisors are still being started, all at once on these cores; they do not count."""
_CHART = """() => {
  const chart = document.querySelector('.js-plotly-plot');
  return chart && chart.data ? Math.max(-1, ...Array.from(chart.data[chart.data.length - 1].x || [])) : -1;
}"""
DRAWN = "() => document.querySelectorAll('.js-plotly-plot .scatterlayer .trace path').length"


def fill(url: str, home: Path) -> tuple[int, list[int]]:
    """Make the store; the ids of the long run and of those that are compared."""
    engine.migrate(url)
    store = engine.connect(url)
    config = parse(resolve(presets()["demo/occ-calibrated"].values, (), {"MTPRL_HOME": str(home)})).model_dump(
        mode="json"
    )
    for number in range(RUNS):
        _run(store, home, config, f"run-{number}", steps=3)
    compared = [
        _run(store, home, config, f"compared-{number}", steps=SHORTER, seed=number) for number in range(COMPARED)
    ]
    long = _run(store, home, config, "long", steps=LONG)
    store.dispose()
    return long, compared


def _run(store: Engine, home: Path, config: dict[str, Any], name: str, *, steps: int, seed: int = 0) -> int:
    now, numbers = time.time(), random.Random(seed)
    with engine.writing(store) as connection:
        run = create_run(
            connection, experiment="benchmark", name=name, config=config, regime="occ", algorithm="dapo", seed=seed,
            total_steps=steps, preset="demo/occ-calibrated", folder=str(home / name), now=now,
        )  # fmt: skip
        claims.claim_next(connection, host="here", devices=[f"cpu:{run}"], now=now)
    for start in range(0, steps, _CHUNK):
        events = [
            {"type": "metrics", "attempt": 1, "step": step, "mini_batch": -1, "time": now + step,
             "values": {metric: math.sin(step / 999) + numbers.random() for metric in NAMES}}
            for step in range(start + 1, min(start + _CHUNK, steps) + 1)
        ]  # fmt: skip
        with engine.writing(store) as connection:
            ingest.ingest(connection, run, events, attempt=1, start=start, offset=start + _CHUNK, torn_lines=0)
    with engine.writing(store) as connection:
        claims.finish(connection, run_id=run, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=now + 1)
    return run


@contextmanager
def served(url: str, home: Path) -> Iterator[str]:
    """The dashboard on a free port; its address."""
    from backend import stack
    from backend.settings import environment

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {**environment(), "MTPRL_HOME": str(home), "MTPRL_DATABASE_URL": url}
    process = subprocess.Popen(
        stack.dashboard_command(port), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not stack.is_healthy(port):
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def chromium() -> str:
    """The browser's program; ends the program where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        sys.exit("no Chromium was found on the PATH; install one")
    return found


def opened(browser: Browser, address: str, usable: str) -> float:
    """Seconds from asking for a page in a fresh context until `usable` (JavaScript) is true in it."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.wait_for_function(usable, timeout=120_000, polling=20)
    seconds = time.perf_counter() - begun
    context.close()
    return seconds


def pages(browser: Browser, address: str, long: int, compared: Sequence[int], repeat: int) -> list[list[str]]:
    """A row of the table per page: the first visit after the start, and the median and longest of the later ones."""
    chosen = ",".join(map(str, compared))
    metric = "mtp/coefficient"
    visits = {
        "Runs": ("/", "() => document.querySelectorAll('table[aria-label=\"Runs\"] tbody tr').length > 20"),
        "Run": (f"/run?run={long}", f"() => ({DRAWN})() >= 3"),
        "Compare": (f"/compare?runs={chosen}&metrics={metric}", f"() => ({DRAWN})() >= {COMPARED}"),
    }
    rows = []
    for name, (path, usable) in visits.items():
        first = opened(browser, address + path, usable)
        again = [opened(browser, address + path, usable) for _ in range(repeat)]
        rows.append([name, f"{first:.1f}", f"{median(again):.1f}", f"{max(again):.1f}", f"{AIMS[name]:.1f}"])
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def event_to_chart(browser: Browser, home: Path, seconds: float) -> list[str]:
    """The row of the table for live runs: seconds from the writing of a step until the chart of its run reaches it."""
    url = f"sqlite:///{home}/mtprl.db"
    os.environ |= {
        "MTPRL_HOME": str(home), "MTPRL_DATABASE_URL": url, "MTPRL_CPU_SLOTS": str(LIVE), "MTPRL_REDIS_URL": "redis://127.0.0.1:1/0",
    }  # fmt: skip
    engine.migrate(url)
    store = engine.connect(url)
    ids = live.submit(store, home, LIVE)
    store.dispose()
    context = multiprocessing.get_context("spawn")
    supervisors = [context.Process(target=live.supervise_replay, args=(run_id, seconds)) for run_id in ids]
    with served(url, home) as address:
        for supervisor in supervisors:
            supervisor.start()
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(f"{address}/run?run={ids[0]}&tab=Coefficient")
        seen = _watched(page, seconds)
        page.close()
        for supervisor in supervisors:
            supervisor.join()
    written = {
        event["step"]: event["time"]
        for event, _ in parse_lines((home / "runs" / "0" / EVENTS_FILE).read_bytes())
        if event and event["type"] == "metrics" and event["mini_batch"] == -1 and "reward/mean" in event["values"]
    }
    delays = sorted(at - written[step] for step, at in seen.items() if step in written)
    cuts = quantiles(delays, n=20)
    return [
        f"{len(delays)}",
        f"{median(delays):.1f}",
        f"{cuts[18]:.1f}",
        f"{delays[-1]:.1f}",
        f"{AIMS['event to chart, p95']:.1f}",
    ]


def _watched(page: Page, seconds: float) -> dict[int, float]:
    """By step: when the first chart reached it; the first `WARM_UP` seconds are left out."""
    seen: dict[int, float] = {}
    last, begun = -1, time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        newest, now = int(page.evaluate(_CHART)), time.time()
        if last >= 0 and passed > WARM_UP:
            seen.update(dict.fromkeys(range(last + 1, newest + 1), now))
        last = max(last, newest)
        time.sleep(0.1)
    return seen


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dashboard", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the live runs write")
    parser.add_argument("--repeat", type=int, default=5, help="visits of each page after the first")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        home = Path(folder) / "filled"
        home.mkdir()
        begun = time.perf_counter()
        long, compared = fill(f"sqlite:///{home}/mtprl.db", home)
        print(f"filled in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
        with served(f"sqlite:///{home}/mtprl.db", home) as address:
            rows = pages(browser, address, long, compared, given.repeat)
        load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
        (Path(folder) / "live").mkdir()
        delays = event_to_chart(browser, Path(folder) / "live", 60 * given.minutes)
        browser.close()
    text = [
        "# The pages, measured in a browser",
        "",
        f"One SQLite store with {RUNS:,} short runs, one run of {len(NAMES)} metrics x {LONG:,} points and {COMPARED} runs of {len(NAMES)} metrics x "
        f"{SHORTER:,} points; the real dashboard; headless Chromium, a fresh context for every visit, on the same two cores. Usable means: the list "
        "has its rows, the charts have drawn their lines. The first visit after the start of the server also imports the pages.",
        "",
        *table(["page", "first visit, s", "later, median, s", "later, longest, s", "aim, s"], rows),
        "",
        f"{LIVE} runs write at once for {given.minutes:g} minutes, of which the first does not count; one browser watches the chart of a run's "
        "coefficient. From the writing of a step to the chart that has it; the page asks every 2 s, the supervisor looks every 0.3 s, and all of it "
        "shares the two cores:",
        "",
        *table(["steps seen", "median, s", "p95, s", "longest, s", "aim for p95, s"], [delays], words=0),
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; load average after the pages: {load} (1, 5, 15 minutes).",
        "",
        "    python -m benchmarks.dashboard"
        + (f" --minutes {given.minutes:g}" if given.minutes != 3 else "")
        + (f" --repeat {given.repeat}" if given.repeat != 5 else ""),
        "",
    ]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("\n".join(text))
    print("\n".join(text))
    print(json.dumps(AIMS), file=sys.stderr)


if __name__ == "__main__":
    main()
