"""A base trained from scratch on written addition, then RL on it in every regime, seed by seed, several runs at once on one device.

The runs are those of `benchmarks.regimes` with another base and recipe: made by its workers, kept line by line in learning.jsonl, compared by
its statistics. A base that is made again on another machine may differ by rounding; runs count together where they began from the same one.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.comparisons import Contrast, adjusted, difference, level
from benchmarks.gpu import models
from benchmarks.gpu.models import TASK
from benchmarks.gpu.parity import CHOSEN
from benchmarks.gpu.parts import Cell, Found, Part, Setting, Values, failures
from benchmarks.markdown import p_value, percent, points, seeds, table
from benchmarks.plan import RECIPE, Job, Row, best_lrs, merged
from benchmarks.records import Block, final, metric
from benchmarks.workers import Results, run_all

ALGORITHM = "dapo"
SEEDS, SWEEP_SEED = 3, 1000
SWEEP_LRS = (1e-5, 3e-5, 1e-4)
WORKERS = 6
"""Runs at a time: each of them leaves the device idle for most of a step."""
RUN_SECONDS = 150
"""Of the part's time that must be left for a run to begin."""
LONG: dict[str, Any] = merged(
    RECIPE,
    {
        "rollout": {
            "prompts_per_step": 32,
            "samples_per_prompt": 8,
            "max_prompt_tokens": 32,
            "max_response_tokens": 112,
        },
    },
)
SHORT: dict[str, Any] = merged(
    LONG,
    {
        "steps": 5,
        "rollout": {"prompts_per_step": 2, "samples_per_prompt": 2, "max_response_tokens": 12},
        "update": {"mini_batches": 2},
    },
)


def cells(setting: Setting) -> Iterator[Cell]:
    """One, which is done when all runs are."""
    yield Cell("runs", partial(runs, setting))


def runs(setting: Setting) -> Values | None:
    """Make the base and the runs that are missing; None where some still are."""
    made = digest(models.base(setting) / "model")
    results = Results(setting.out / "learning.jsonl", stamp={"made": made})
    results.rows = {key: row for key, row in results.rows.items() if row.get("made") == made}
    wanted = sweep(setting)
    _make(wanted, setting, results)
    if all(job.key in results.rows for job in wanted):
        (lr,) = best_lrs(results.rows[job.key] for job in wanted).values()
        wanted += main(setting, lr)
        _make(wanted, setting, results)
    if any(job.key not in results.rows for job in wanted):
        return None
    return {"base": made, "runs": [_short(results.rows[job.key]) for job in wanted]}


def sweep(setting: Setting) -> list[Job]:
    """Detach at each learning rate."""
    detach = next(arm for arm in CHOSEN if arm.name == "detach")
    lrs = SWEEP_LRS[:1] if setting.small else SWEEP_LRS
    return [Job("sweep", detach, TASK, ALGORITHM, SWEEP_SEED, lr, _recipe(setting)) for lr in lrs]


def main(setting: Setting, lr: float) -> list[Job]:
    """Every regime; seeds outermost, so that whatever is done is balanced."""
    count = 2 if setting.small else SEEDS
    return [Job("main", arm, TASK, ALGORITHM, seed, lr, _recipe(setting)) for seed in range(count) for arm in CHOSEN]


def digest(model: Path) -> str:
    """Of the parameters."""
    found = hashlib.sha256()
    for path in sorted(model.glob("*.safetensors")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


def tell(found: Found) -> list[str]:
    """The regimes against detach."""
    rows: Sequence[Row] = (found.get("runs") or {}).get("runs") or []
    if not rows:
        return ["No table before all runs are there.", *failures(found)]
    of_main = sorted((row for row in rows if row["block"] == "main"), key=lambda row: row["arm"])
    by_arm = {arm: {row["seed"]: row for row in group} for arm, group in groupby(of_main, lambda row: row["arm"])}
    numbers = sorted({row["seed"] for row in of_main})
    return _table(Block(TASK, ALGORITHM, tuple(numbers), by_arm))


def _table(block: Block) -> list[str]:
    sampled, greedy, before = metric("sampled"), metric("greedy"), metric("accuracy", 0)
    apart = {arm.name: difference(block, Contrast(arm.name), sampled) for arm in CHOSEN if arm.name != "detach"}
    p = adjusted(apart)
    head = ["regime", "avg@8, %", "Δ to detach", f"p (Holm, {len(p)})", "greedy, %", "Δ", "taught way, %", "before, %"]
    head += ["acceptance at the end, %", "λ", "seconds per update"]
    rows = []
    for name in (arm.name for arm in CHOSEN):
        coefficient, seconds = (level(block, name, metric(key)) for key in ("coefficient_mean", "seconds_per_update"))
        rows.append(
            [
                name,
                percent(level(block, name, sampled)),
                points(apart.get(name)),
                p_value(p.get(name)),
                percent(level(block, name, greedy)),
                "" if name == "detach" else points(difference(block, Contrast(name), greedy)),
                percent(level(block, name, final)),
                percent(level(block, name, before)),
                percent(level(block, name, metric("mtp/acceptance_sampled", 1))),
                "" if coefficient is None else f"{coefficient.value:.2g}",
                "" if seconds is None else f"{seconds.value:.3f}",
            ]
        )
    lr = next(iter(next(iter(block.runs.values())).values()))["lr"]
    return [
        f"{seeds(len(block.seeds))}, {ALGORITHM}, learning rate {lr:g} (the best of detach's on a seed apart); differences are paired by seed, ± is half a 95 % "
        "interval of Student's t. *Taught way*: mean probability of the response that the base was taught.",
        "",
        *table(head, rows),
    ]


def _make(jobs: Sequence[Job], setting: Setting, results: Results) -> None:
    def finished(job: Job, row: dict[str, Any], left: int) -> None:
        outcome = row.get("failed") or f"avg@8 {row['sampled']:.3f}, {row['seconds']:.0f} s"
        _tell(f"{job.block} {job.arm.name} seed {job.seed} lr {job.lr:g}: {outcome}; {left} to do")

    before_end = 10 if setting.small else RUN_SECONDS
    workers = 2 if setting.small else WORKERS
    run_all(jobs, setting.work, results, workers, setting.deadline - before_end, finished)


def _recipe(setting: Setting) -> dict[str, Any]:
    return SHORT if setting.small else LONG


_KEPT = ("block", "arm", "seed", "lr", "final", "accuracy", "sampled", "greedy", "coefficient_mean", "failed")


def _short(row: Row) -> dict[str, Any]:
    kept = (*_KEPT, "seconds_per_update", "seconds", "mtp/acceptance_sampled", "coefficient_curve")
    return {name: row[name] for name in kept if name in row}


def _tell(line: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')} {line}", flush=True)


PART = Part("learning", "Learning", cells, tell)
