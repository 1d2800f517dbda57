"""What alerts cost where events are stored: a step of 50 metrics, each committed by itself, without rules and with 20.

    python -m benchmarks.alerts [--url URL]

Of the rules, 16 are each on one metric and 4 are patterns that match ten metrics; conditions begin and end all the time, which is dearer
than rules that hardly ever speak. Both take turns; printed are the median and the range of this process's own time over the turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.stores import _NAMES as NAMES
from benchmarks.stores import STEPS, Mtprl, _rows
from db import alerts
from db.engine import connect, writing
from db.rules import Rule

_TURNS = 5
_RULES = [
    *(Rule(f"one {number}", NAMES[number], "above", 1.0, steps=number % 3 + 1) for number in range(16)),
    *(Rule(f"many {number}", f"group_{number}/*", "below", -1.0, steps=2) for number in range(4)),
]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url")
    with tempfile.TemporaryDirectory() as folder:
        url = parser.parse_args().url or f"sqlite:///{Path(folder) / 'mtprl.db'}"
        system, engine = Mtprl(url), connect(url)
        with writing(engine) as connection:
            for rule in _RULES:
                alerts.add(connection, rule, 1.0)
        times: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(2 * _TURNS):
            active = turn % 2 == 1
            with writing(engine) as connection:
                for rule in _RULES:
                    alerts.switch(connection, rule.name, active, 1.0)
            took = system.one_by_one(f"turn {turn}", list(_rows(STEPS, NAMES, seed=turn // 2)))
            times[active].append(1000 * took.processor / STEPS)
        engine.dispose()
    print("| rules | processor ms per step, median | range |\n| ---: | ---: | ---: |")
    for active, each in times.items():
        print(f"| {len(_RULES) * active} | {median(each):.2f} | {min(each):.2f} to {max(each):.2f} |")


if __name__ == "__main__":
    main()
