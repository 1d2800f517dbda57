"""The measurement as it is kept in the repository: a short line for each run that counts, and what else the report needs to know.

`refresh` makes both files from the folder that the benchmark ran in; the report is made from them alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import plan
from benchmarks.bases import base_folder
from benchmarks.plan import Row
from benchmarks.single import rounded
from benchmarks.workers import Results

FOLDER = Path("docs/results")
RUNS, ABOUT = "regimes.jsonl", "regimes.about.json"

_ABOUT = ("started", "commit", "torch", "python", "machine")
"""What is known of code and machine; no name and no path of the machine."""
_WHICH = ("block", "base", "algorithm", "arm", "seed", "lr")
_KEPT = (
    "failed",
    "final",
    "auc",
    "accuracy",
    "sampled",
    "mtp/acceptance_greedy",
    "mtp/acceptance_sampled",
    "policy/entropy",
    "clip_fraction_mean",
    "coefficient_mean",
    "coefficient_curve",
    "coefficient_main_curve",
    "coefficient_own_curve",
    "c_hat_curve",
    "v2_hat_curve",
    "seconds",
)
_KEPT_OF = {"sweep": ("failed", "final", "seconds"), "main": _KEPT, "audit": ("failed", "seconds", "audit")}
_AUDIT = (
    "c",
    "v2",
    "c_cross",
    "coefficient",
    "coefficient_half_1",
    "coefficient_half_2",
    "proxy_main",
    "proxy_own",
    "ce_c",
    "ce_v2",
    "ce_c_cross",
    "g_rl_squared",
    "g_rl_squared_cross",
    "predicted_change",
    "measured_change",
)

Measure = Callable[[Row], float | None]
"""What is looked at in a run; None where the run does not have it."""


class Records(NamedTuple):
    """What the report is made of."""

    rows: list[Row]
    about: Mapping[str, Any]
    """`attempts`: when the benchmark was started, on which commit and with what, and how many runs of each block that made; `bases`:
    their steps and accuracy; `timing`, once there is one: per algorithm and arm, seconds of an update and their ratio to detach's."""


class Block(NamedTuple):
    """The runs of one base and algorithm."""

    base: str
    algorithm: str
    seeds: tuple[int, ...]
    """Those that have a run of every arm; no other counts."""
    runs: Mapping[str, Mapping[int, Row]]
    """By arm and seed, of these seeds."""

    @property
    def name(self) -> str:
        """How the block is called in tables."""
        return f"{self.base}, {self.algorithm}"

    def of(self, arm: str, measure: Measure) -> dict[int, float]:
        """The measure of an arm's runs, by seed, of those that have it."""
        values = {seed: measure(row) for seed, row in self.runs.get(arm, {}).items()}
        return {seed: value for seed, value in values.items() if value is not None}


def final(row: Row) -> float:
    """Final accuracy; a run that broke off has none, and counts as one that solves nothing."""
    return float(row.get("final", 0.0))


def area(row: Row) -> float:
    """Area under the accuracy curve, likewise."""
    return float(row.get("auc", 0.0))


def metric(name: str, place: int | None = None) -> Measure:
    """A value of the run by its name, or one of its values: 0 before, 1 after."""

    def measure(row: Row) -> float | None:
        value = row.get(name)
        return value[place] if isinstance(value, list) and place is not None else value

    return measure


def blocks(rows: Iterable[Row], block: str, arms: Sequence[str]) -> list[Block]:
    """The blocks of one kind, in the order of the plan, with the seeds that are complete in each."""
    found: dict[tuple[str, str], dict[str, dict[int, Row]]] = {}
    for row in rows:
        if row["block"] == block:
            by_arm = found.setdefault((row["base"], row["algorithm"]), {})
            by_arm.setdefault(row["arm"], {})[row["seed"]] = row
    return [
        _complete(base, algorithm, found[base, algorithm], arms)
        for base in plan.BASES
        for algorithm in plan.ALGORITHMS
        if (base, algorithm) in found
    ]


def _complete(base: str, algorithm: str, runs: Mapping[str, Mapping[int, Row]], arms: Sequence[str]) -> Block:
    seeds = set.intersection(*(set(runs.get(arm, {})) for arm in arms))
    kept = {arm: {seed: runs[arm][seed] for seed in sorted(seeds)} for arm in arms if arm in runs}
    return Block(base, algorithm, tuple(sorted(seeds)), kept)


def refresh(out: Path, folder: Path) -> None:
    """Take the runs of the plan, and what is known of them, from the folder that the benchmark ran in.

    Lines of other plans (another recipe, another learning rate) are left out, and so are starts that made no run of the plan.

    Raises:
        SystemExit: the sweep is not complete, or a run does not say which start made it.
    """
    results = Results(out / "runs.jsonl").rows
    swept = [job for job in plan.sweep() if job.key in results]
    lrs = plan.best_lrs(results[job.key] for job in swept)
    if len(swept) < len(plan.sweep()):
        raise SystemExit(
            f"{out}/runs.jsonl has {len(swept)} of {len(plan.sweep())} runs of the sweep; finish it first: run"
        )
    jobs = [*swept, *(job for job in [*plan.main(plan.SEEDS, lrs), *plan.audit(lrs)] if job.key in results)]
    rows = [results[job.key] for job in jobs]
    if lost := [row["key"] for row in rows if "started" not in row]:
        raise SystemExit(
            f"{out}/runs.jsonl: {len(lost)} runs have no `started`, the start in attempts.jsonl that made them, the first one {lost[0]}; "
            "fill it in, or make them again"
        )
    attempts = [_attempt(line, rows) for line in (out / "attempts.jsonl").read_text().splitlines()]
    about: dict[str, Any] = {
        "attempts": [attempt for attempt in attempts if attempt["runs"]],
        "bases": {base: rounded(json.loads((base_folder(out, base) / "made.json").read_text())) for base in plan.BASES},
    }
    if (out / "timing.json").is_file():
        timing = rounded(json.loads((out / "timing.json").read_text()))
        about["timing"] = {**timing, "about": {name: timing["about"][name] for name in (*_ABOUT, "load")}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RUNS).write_text("".join(json.dumps(_short(row)) + "\n" for row in rows))
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")


def load(folder: Path) -> Records:
    """What `refresh` wrote.

    Raises:
        SystemExit: there is nothing yet.
    """
    try:
        lines, about = (folder / RUNS).read_text(), (folder / ABOUT).read_text()
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename} is not there; make it from a measurement: report --out DIR") from None
    return Records([json.loads(line) for line in lines.splitlines()], json.loads(about))


def _attempt(line: str, rows: Sequence[Row]) -> dict[str, Any]:
    attempt = json.loads(line)
    made = Counter(row["block"] for row in rows if row["started"] == attempt["started"])
    return {**{name: attempt[name] for name in (*_ABOUT, "clean")}, "runs": dict(made)}


def _short(row: Row) -> dict[str, Any]:
    short = {name: rounded(row[name]) for name in (*_WHICH, *_KEPT_OF[row["block"]]) if name in row}
    if "audit" in short:
        series = {name.removeprefix("audit/"): values for name, values in short["audit"].items()}
        short["audit"] = {name: series[name] for name in _AUDIT if name in series}
    return short
