"""Is one version of the dashboard sooner usable than another, on a machine that has other work?

    python -m benchmarks.in_turn BEFORE AFTER [--repeat 5] PATH ...

BEFORE and AFTER are addresses of two dashboards over the same store, started from two checkouts, such as http://127.0.0.1:8501; PATH is of a
page with charts, such as /run?run=1. Each page is opened in a fresh browser context, in turn at the one and the other, so that
what else the machine does slows both alike; usable means that three lines are drawn. Prints medians and their ratio.
"""

from __future__ import annotations

import argparse
import os
import sys
from statistics import median

from playwright.sync_api import sync_playwright

from benchmarks.dashboard import CHROMIUM_FLAGS, DRAWN, chromium, opened
from benchmarks.markdown import table

_LINES = 3


def main() -> None:
    """Visit in turn and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.in_turn", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("paths", nargs="+", metavar="path")
    parser.add_argument(
        "--repeat", type=int, default=5, help="visits of each page after the first, which does not count"
    )
    given = parser.parse_args()
    rows = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=CHROMIUM_FLAGS)
        for path in given.paths:
            seconds: dict[str, list[float]] = {given.before: [], given.after: []}
            for visit in range(given.repeat + 1):
                for address, taken in seconds.items():
                    one = opened(browser, address + path, f"() => ({DRAWN})() >= {_LINES}")
                    taken += [one] if visit else []
            before, after = (median(taken) for taken in seconds.values())
            rows.append([path.split("?")[0], f"{before:.1f}", f"{after:.1f}", f"{after / before:.2f}"])
            print(rows[-1], file=sys.stderr, flush=True)
        browser.close()
    print("\n".join(table(["page", "before, median, s", "after, median, s", "after / before"], rows)))
    print("\nload average at the end:", ", ".join(f"{number:.1f}" for number in os.getloadavg()))


if __name__ == "__main__":
    main()
