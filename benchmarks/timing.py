"""Seconds per update of every arm, side by side: one process, one thread, the arms taking turns step by step."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.plan import ALGORITHMS, ARMS, Job
from trainer.events import STEP_LEVEL, MemorySink
from trainer.loop import collect, learn
from trainer.tasks import Grader
from trainer.training import Training, prepare

ROUNDS, WARM_UP = 12, 2
"""Steps of every arm; the first few, in which memory is still being laid out, do not count."""
COEFFICIENT, LR = 0.3, 1e-4
"""Of the control, which has no run to follow here; the times depend on neither."""


BASE = "sorting"
"""The base model that is timed."""


def measure(out: Path, algorithm: str) -> dict[str, dict[str, float]]:
    """Per arm, the median seconds of an update and the median ratio to detach's in the same round."""
    with ExitStack() as stack:
        grader = stack.enter_context(Grader())
        sinks, runs = {}, {}
        for job in (Job("timing", arm, BASE, algorithm, 0, LR) for arm in ARMS if arm.lr_factor == 1.0):
            if job.is_known(out):
                sink = sinks[job.arm.name] = MemorySink()
                config = job.config(out, COEFFICIENT if job.arm.follows else None)
                runs[job.arm.name] = prepare(config, out / "no-checkpoints", sink, grader)
        for place in range(ROUNDS):
            for run in _turned(list(runs.values()), place):
                run.step += 1
                run.seconds.clear()
                learn(run, *collect(run))
    seconds = {name: list(_update_seconds(sinks[name], runs[name])) for name in runs}
    return {
        name: {
            "seconds": median(own),
            "ratio": median(mine / base for mine, base in zip(own, seconds["detach"], strict=True)),
        }
        for name, own in seconds.items()
    }


def _turned(runs: Sequence[Training], by: int) -> Sequence[Training]:
    """The same in another order, so that no arm always follows the same one."""
    by %= len(runs)
    return [*runs[by:], *runs[:by]]


def _update_seconds(sink: MemorySink, run: Training) -> Iterator[float]:
    for step, place, value in sink.series("time/update_seconds"):
        if place == STEP_LEVEL and step > WARM_UP:
            yield value / run.config.updates_per_step


def write(out: Path, about: Mapping[str, Any]) -> Path:
    """Measure both algorithms on one base and keep the result in `timing.json`, with what is known of code and machine."""
    path = out / "timing.json"
    found = {algorithm: measure(out, algorithm) for algorithm in ALGORITHMS}
    path.write_text(json.dumps({"about": about, "updates": found}, indent=1) + "\n")
    return path
