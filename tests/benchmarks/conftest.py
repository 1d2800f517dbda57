"""Made-up measurements for the tests of the report: every arm on every block, with effects that a test chooses."""

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan
from benchmarks.single import CURVE_POINTS

Rows = list[dict[str, Any]]
AUDITS = 12
START = 0.36


def main_rows(
    shift: Mapping[str, float] | None = None,
    greedy: Mapping[str, float] | None = None,
    sampled: Mapping[str, float] | None = None,
) -> Rows:
    """Five seeds that differ by far more than the arms do; what is given is added to accuracy and acceptances of the arms it names."""
    rows = []
    for job in plan.main(plan.SEEDS, dict.fromkeys(_everywhere(), 1e-4)):
        arm, seed = job.arm.name, job.seed
        wobble = random.Random(f"{arm} {seed} {job.base} {job.algorithm}").gauss(0, 0.002)
        final = 0.5 + 0.05 * seed + (shift or {}).get(arm, 0.0) + wobble
        accepted = {
            f"mtp/acceptance_{how}": [0.8, 0.8 + 0.02 * seed + (added or {}).get(arm, 0.0) + wobble]
            for how, added in (("greedy", greedy), ("sampled", sampled))
        }
        rows.append(
            {
                **_which(job),
                "final": final,
                "auc": final - 0.1,
                "accuracy": [START, final - 0.05, final],
                "sampled": final + wobble,
                **accepted,
                "policy/entropy": [0.9, 0.5],
                "clip_fraction_mean": 0.01,
                "coefficient_mean": 0.3,
                **{f"{name}_curve": [0.1 + wobble] * CURVE_POINTS for name in ("coefficient", "c_hat", "v2_hat")},
                **{f"coefficient_{name}_curve": [0.2 + wobble] * CURVE_POINTS for name in ("main", "own")},
                "seconds": 30.0,
            }
        )
    return rows


def audit_rows(change: Callable[[random.Random, dict[str, list[float]]], Mapping[str, list[float]]]) -> Rows:
    """Audited runs in which everything is noise but c; `change` gives the series that a test chooses."""
    rows = []
    for job in plan.audit(dict.fromkeys(_everywhere(), 1e-4)):
        draw = random.Random(f"audit {job.arm.name} {job.seed} {job.base}")
        series = {
            name: [draw.gauss(0, 1) for _ in range(AUDITS)]
            for name in (
                *("coefficient", "coefficient_half_1", "coefficient_half_2", "proxy_main", "proxy_own"),
                *("predicted_change", "measured_change", "ce_c", "ce_c_cross"),
            )
        }
        series |= {"c": [draw.uniform(1.5, 2.5) for _ in range(AUDITS)], "v2": [10.0] * AUDITS, "ce_v2": [1.0] * AUDITS}
        series |= {"c_cross": [c * draw.uniform(0.1, 0.3) for c in series["c"]]}
        series |= {
            "g_rl_squared": [4.0] * AUDITS,
            "g_rl_squared_cross": [draw.uniform(0.5, 1.5) for _ in range(AUDITS)],
        }
        series |= change(draw, series)
        if job.arm.name == "detach":  # nothing of the MTP loss reaches the trunk
            del series["predicted_change"], series["measured_change"]
        rows.append({**_which(job), "seconds": 30.0, "audit": series})
    return rows


def sweep_rows() -> Rows:
    """A sweep whose second rate is the best."""
    finals = dict(zip(plan.SWEEP_LRS, (0.3, 0.5, 0.4, 0.2), strict=True))
    return [{**_which(job), "final": finals[job.lr], "seconds": 30.0} for job in plan.sweep()]


def about(oracle: float = 2.0) -> dict[str, Any]:
    """What is known beside the runs; an update of the oracle takes `oracle` times detach's."""
    versions = {"torch": "2.0", "python": "3.11", "machine": "abacus"}
    attempt = {
        "started": "2020-01-01T00:00:00+00:00",
        "commit": "abc1234",
        **versions,
        "clean": True,
        "runs": {"main": 340},
    }
    arms = [arm.name for arm in plan.ARMS if arm.lr_factor == 1.0]
    times = {arm: {"seconds": 0.04, "ratio": {"oracle": oracle, "policy 1": 1.02}.get(arm, 1.0)} for arm in arms}
    return {
        "attempts": [attempt],
        "bases": {base: {"steps": 100, "accuracy": START} for base in plan.BASES},
        "timing": {"about": {**attempt, "load": 0.1}, "updates": dict.fromkeys(plan.ALGORITHMS, times)},
    }


def keep(folder: Path, rows: Rows, known: Mapping[str, Any]) -> Path:
    """Write them as the measurement that a report is made of."""
    (folder / "regimes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "regimes.about.json").write_text(json.dumps(known))
    return folder


class Made:
    """The functions above, for tests."""

    main = staticmethod(main_rows)
    audit = staticmethod(audit_rows)
    sweep = staticmethod(sweep_rows)
    about = staticmethod(about)
    keep = staticmethod(keep)


@pytest.fixture(scope="session")
def made() -> type[Made]:
    return Made


def _everywhere() -> list[tuple[str, str]]:
    return [(base, algorithm) for base in plan.BASES for algorithm in plan.ALGORITHMS]


def _which(job: plan.Job) -> dict[str, Any]:
    names = {"block": job.block, "base": job.base, "algorithm": job.algorithm, "arm": job.arm.name}
    return {**names, "seed": job.seed, "lr": job.lr}
