"""bfloat16 beside float32, regime by regime: one step's updates from the same parameters on the same responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from benchmarks.bases import base_folder
from benchmarks.gpu import models
from benchmarks.gpu.parts import Cell, Found, Part, Setting, Values, failures, of
from benchmarks.markdown import number, table
from benchmarks.plan import ARMS, RECIPE, Arm, merged
from trainer.config import RunConfig, parse
from trainer.events import MemorySink
from trainer.loop import collect
from trainer.rollout.collect import Experience
from trainer.tasks import Grader
from trainer.training import Training, prepare

NAMES = ("off", "detach", "ce 0.1", "policy 1", "occ", "occ-calibrated", "oracle")
CHOSEN = [arm for arm in ARMS if arm.name in NAMES]
LR = 3e-5
WAYS: Mapping[str, Mapping[str, Any]] = {
    "bf16": {"model": {"mixed_precision": "bf16"}},
    # What float32 itself leaves open: sums in another order.
    "float32 in pieces": {"update": {"micro_batch_sequences": 16}},
}
PARTS = ("trunk", "head")


class Phase(NamedTuple):
    """What a step's updates did."""

    first: dict[str, Tensor]
    """Clipped gradient of the first mini-batch, by part of the model."""
    change: dict[str, Tensor]
    """Of the parameters, by all mini-batches together."""
    metrics: dict[str, float]
    """Of the last mini-batch."""


def cells(setting: Setting) -> Iterator[Cell]:
    """One for each regime."""
    for arm in CHOSEN:
        yield Cell(arm.name, partial(compared, arm, setting))


def compared(arm: Arm, setting: Setting) -> Values:
    """Each way against float32."""
    models.base(setting)
    with Grader() as grader:
        run = _run(config_of(arm, setting, {}), setting.work, grader)
        run.step = 1
        experience, _ = collect(run)
        exact = made(run, experience)
        found = {}
        for name, changes in WAYS.items():
            other = _run(config_of(arm, setting, changes), setting.work, grader)
            found[name] = differences(exact, made(other, experience))
    AcceleratorState._reset_state(reset_partial_state=True)
    return {"ways": found, "coefficient": exact.metrics.get("mtp/coefficient")}


def config_of(arm: Arm, setting: Setting, changes: Mapping[str, Any]) -> RunConfig:
    """One step of the arm."""
    folder = base_folder(setting.work, models.TASK)
    values = {
        **RECIPE,
        "steps": 1,
        "seed": 0,
        "model": {"path": str(folder / "model")},
        "data": {"kind": "jsonl", "path": str(folder / "train.jsonl")},
        "rollout": {
            "prompts_per_step": 8 if setting.small else 32,
            "samples_per_prompt": 8,
            "max_prompt_tokens": 32,
            "max_response_tokens": 96,
        },
        "optimizer": {"lr": LR, "warmup_steps": 0},
    }
    return parse(merged(merged(values, arm.values), changes))


def _run(config: RunConfig, work: Path, grader: Grader) -> Training:
    AcceleratorState._reset_state(reset_partial_state=True)  # it keeps one precision for the whole process
    return prepare(config, work / "no-checkpoints", MemorySink(), grader)


def made(run: Training, experience: Experience) -> Phase:
    """Make the updates of a step."""
    before, gradients = _flat(run, "data"), []
    run.updater.optimizer.optimizer.register_step_pre_hook(lambda *_: gradients.append(_flat(run, "grad")))
    metrics = list(run.updater.run(experience, run.updater.old_log_probs(experience.sequences)))
    after = _flat(run, "data")
    return Phase(gradients[0], {part: after[part] - before[part] for part in PARTS}, metrics[-1])


def _flat(run: Training, what: str) -> dict[str, Tensor]:
    """Parameters or gradients of each part as one vector on the host; zeros where there is no gradient."""
    found = {}
    for part, module in zip(PARTS, (run.joint.trunk, run.joint.mtp), strict=True):
        tensors = [(getattr(p, what), p) for p in module.parameters()]
        found[part] = torch.cat(
            [(torch.zeros_like(p) if t is None else t).detach().flatten().cpu() for t, p in tensors]
        )
    return found


def differences(exact: Phase, other: Phase) -> Values:
    """Cosine and relative error of gradient and change, and the numbers of the coefficient on both sides."""
    found: Values = {}
    for part in PARTS:
        for name, mine, theirs in (
            ("gradient", exact.first[part], other.first[part]),
            ("change", exact.change[part], other.change[part]),
        ):
            if mine.any():
                found[f"{name} {part}"] = _apart(mine.double(), theirs.double())
    for name in ("coefficient", "c_hat", "v2_hat"):
        if f"mtp/{name}" in exact.metrics:
            found[name] = [exact.metrics[f"mtp/{name}"], other.metrics[f"mtp/{name}"]]
    return found


def _apart(exact: Tensor, other: Tensor) -> dict[str, float]:
    cosine = exact @ other / (exact.norm() * other.norm())
    return {"cosine": float(cosine), "relative error": float((other - exact).norm() / exact.norm())}


def tell(found: Found) -> list[str]:
    """A line for each regime and way."""
    rows = []
    for arm in NAMES:
        for way, values in ((of(found, arm) or {}).get("ways") or {}).items():
            cells = []
            for part in PARTS:
                for name in ("gradient", "change"):
                    apart = values.get(f"{name} {part}")
                    cells.append("" if apart is None else f"{apart['cosine']:.5f}, {apart['relative error']:.1%}")
            pairs = (values.get(name) for name in ("coefficient", "c_hat", "v2_hat"))
            cells += ["" if pair is None else " → ".join(number(value, 3) for value in pair) for pair in pairs]
            rows.append([arm, way, *cells])
    head = ["regime", "against float32"]
    head += [f"{name}, {part}: cosine, error" for part in PARTS for name in ("first gradient", "change")]
    return [*table([*head, "λ", "ĉ", "v̂²"], rows, words=2), *failures(found)]


PART = Part("parity", "bfloat16 beside float32", cells, tell)
