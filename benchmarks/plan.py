"""What is run: arms, blocks of jobs, and the key by which a finished job is known again.

sweep   detach at several learning rates; the best one of each base and algorithm is used by the other blocks
main    every arm, seed by seed, so that whatever is finished is balanced
audit   some arms with exact gradients measured along the way (dapo only)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.bases import base_folder
from trainer.config import RunConfig, parse
from trainer.errors import ConfigError

BASES = ("sorting", "addition")
ALGORITHMS = ("dapo", "gspo")
SEEDS = 5
"""Of every arm in the main block, counted from 0."""
SWEEP_SEEDS = (1000, 1001)
"""Apart from the seeds that are reported: a rate chosen on them would flatter detach."""
SWEEP_LRS = (5e-5, 1e-4, 2e-4, 4e-4)
AUDIT_SEEDS = 3
AUDIT_EVERY = 2
AUDIT_ARMS = ("detach", "policy 1", "policy 1, own ratio", "occ", "occ-calibrated")

RECIPE: dict[str, Any] = {
    "steps": 40,
    "rollout": {"prompts_per_step": 32, "samples_per_prompt": 8, "max_prompt_tokens": 16, "max_response_tokens": 12},
    "update": {"mini_batches": 4},
    "optimizer": {"warmup_steps": 10, "weight_decay": 0.1},
    "logging": {"completions_every": 1_000_000},
}


@dataclass(frozen=True)
class Arm:
    """One way to train the heads: what it changes in the recipe."""

    name: str
    values: dict[str, Any]
    lr_factor: float = 1.0
    follows: str | None = None
    """The arm whose mean coefficient, in the run of the same base, algorithm and seed, this one keeps fixed."""


_CALIBRATED: dict[str, Any] = {"kind": "occ", "reference": "own", "clip": [0.0, 1.0]}
_OFFICIAL: dict[str, Any] = {"kind": "occ", "estimator": "token_mean", "window": "micro_batch"}
_HEADS_BY_CE = {"mtp": {"head_loss": "ce"}}

ARMS = (
    Arm("off", {"regime": {"kind": "off"}}),
    Arm("detach", {"regime": {"kind": "detach"}}),
    Arm("ce 0.1", {"regime": {"kind": "ce", "coefficient": 0.1}}),
    Arm("ce 1", {"regime": {"kind": "ce", "coefficient": 1.0}}),
    Arm("policy 0.1", {"regime": {"kind": "policy", "coefficient": 0.1}}),
    Arm("policy 1", {"regime": {"kind": "policy", "coefficient": 1.0}}),
    Arm("policy 1, own ratio", {"regime": {"kind": "policy", "coefficient": 1.0, "ratio": "own"}}),
    Arm("occ", {"regime": {"kind": "occ"}}),
    Arm("occ, own reference", {"regime": {"kind": "occ", "reference": "own"}}),
    # Two micro-batches to each mini-batch of 64 sequences, each with a coefficient of its own.
    Arm("occ-official", {"regime": _OFFICIAL, "update": {"micro_batch_sequences": 32}}),
    Arm("occ-calibrated", {"regime": _CALIBRATED, **_HEADS_BY_CE}),
    Arm("occ-calibrated, own ratio", {"regime": {**_CALIBRATED, "ratio": "own"}, **_HEADS_BY_CE}),
    Arm("matched-control", {"regime": {"kind": "policy"}, **_HEADS_BY_CE}, follows="occ-calibrated"),
    Arm("oracle", {"regime": {"kind": "oracle"}}),
    Arm("detach, 0.5 lr", {"regime": {"kind": "detach"}}, lr_factor=0.5),
    Arm("detach, 1.5 lr", {"regime": {"kind": "detach"}}, lr_factor=1.5),
    Arm("detach, 2 lr", {"regime": {"kind": "detach"}}, lr_factor=2.0),
)
_BY_NAME = {arm.name: arm for arm in ARMS}

Row = Mapping[str, Any]
"""The result of a job, as a line of the results file holds it."""


@dataclass(frozen=True)
class Job:
    """One training run to make."""

    block: str
    arm: Arm
    base: str
    algorithm: str
    seed: int
    lr: float
    recipe: dict[str, Any] = field(default_factory=lambda: RECIPE)

    @property
    def key(self) -> str:
        """Names the job and everything that its result depends on but the code."""
        what = {"arm": asdict(self.arm), "lr": self.lr, "recipe": self.recipe}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:10]
        return "/".join([self.block, self.base, self.algorithm, self.arm.name, str(self.seed), digest])

    @property
    def leader(self) -> str | None:
        """The key of the job that this one takes its coefficient from."""
        return replace(self, arm=_BY_NAME[self.arm.follows]).key if self.arm.follows else None

    def config(self, out: Path, coefficient: float | None = None) -> RunConfig:
        """The run's configuration.

        Args:
            out: the folder of the bases.
            coefficient: that of the run it follows, where it follows one.

        Raises:
            ConfigError: this version of the trainer does not know the arm's settings.
        """
        folder = base_folder(out, self.base)
        values = {
            **self.recipe,
            "seed": self.seed,
            "model": {"path": str(folder / "model")},
            "data": {"kind": "jsonl", "path": str(folder / "train.jsonl")},
            "algorithm": {"kind": self.algorithm},
        }
        lr = {"optimizer": {"lr": self.lr * self.arm.lr_factor}}
        fixed = {} if coefficient is None else {"regime": {"coefficient": coefficient}}
        return parse(merged(merged(merged(values, self.arm.values), lr), fixed))

    def is_known(self, out: Path) -> bool:
        """Whether this version of the trainer can run it."""
        try:
            self.config(out)
        except ConfigError:
            return False
        return True


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes` laid over them, section by section."""
    result = dict(values)
    for name, change in changes.items():
        old = result.get(name)
        result[name] = merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return result


def sweep(bases: Sequence[str] = BASES, algorithms: Sequence[str] = ALGORITHMS) -> list[Job]:
    """Detach at each learning rate."""
    return [
        Job("sweep", _BY_NAME["detach"], base, algorithm, seed, lr)
        for seed in SWEEP_SEEDS
        for base in bases
        for algorithm in algorithms
        for lr in SWEEP_LRS
    ]


def best_lrs(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """Per base and algorithm, the swept learning rate with the best mean final accuracy."""
    found: dict[tuple[str, str], dict[float, list[float]]] = {}
    for row in rows:
        if row["block"] == "sweep":
            by_lr = found.setdefault((row["base"], row["algorithm"]), {})
            by_lr.setdefault(row["lr"], []).append(row.get("final", 0.0))  # a run that broke off has none
    return {which: max(by_lr, key=lambda lr: fmean(by_lr[lr])) for which, by_lr in found.items()}


def main(seeds: int, lrs: Mapping[tuple[str, str], float]) -> list[Job]:
    """Every arm; seeds outermost."""
    return [
        Job("main", arm, base, algorithm, seed, lrs[base, algorithm])
        for seed in range(seeds)
        for base in BASES
        for algorithm in ALGORITHMS
        for arm in ARMS
    ]


def audit(lrs: Mapping[tuple[str, str], float]) -> list[Job]:
    """The arms that are looked at with exact gradients."""
    audited = merged(RECIPE, {"audit": {"every": AUDIT_EVERY}})
    return [
        Job("audit", _BY_NAME[name], base, "dapo", seed, lrs[base, "dapo"], audited)
        for seed in range(AUDIT_SEEDS)
        for base in BASES
        for name in AUDIT_ARMS
    ]
