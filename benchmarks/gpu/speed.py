"""Tokens per second of update and sampler, with drafts and without."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from typing import Any

import torch
from accelerate.state import AcceleratorState

from benchmarks import rollout
from benchmarks.gpu import models
from benchmarks.gpu.parts import Cell, Found, Part, Setting, Values, failures, of
from benchmarks.markdown import table
from benchmarks.rollout import NEVER, Shape, generated, measure, of_engine, perfect, scattered
from trainer.config import parse
from trainer.events import MemorySink
from trainer.loop import collect, learn
from trainer.models.demo_base import new_model
from trainer.models.joint import JointModel
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.decoding import Way
from trainer.tasks import Grader
from trainer.training import Training, prepare

REGIMES = ("off", "detach", "occ", "oracle")
PRECISIONS = {"float32": "no", "bf16": "bf16"}
ROUNDS = 3
SHAPES = (Shape(256, 64), Shape(64, 256))
DRAFTED = (Shape(8, 64), Shape(64, 64))

Make = Callable[[], JointModel]


def cells(setting: Setting) -> Iterator[Cell]:
    """Updates, the sampler against `generate`, drafts against none."""
    sizes: list[tuple[str, Make, str]] = [
        ("38 M", models.learner, "float32"),
        ("38 M", models.learner, "bf16"),
        ("0.6 B", models.as_06b, "bf16"),
    ]
    if setting.small:
        sizes = [("demo", new_model, "float32"), ("demo", new_model, "bf16")]
    for name, make, precision in sizes:
        for kind in REGIMES:
            yield Cell(f"{name}, {precision}: {kind}", partial(updates, name, make, kind, precision, setting))
        yield Cell(f"sampler, {name}, {precision}", partial(sampler, make, precision, setting))
        yield Cell(f"drafts, {name}, {precision}", partial(drafts, make, precision, setting))
    if not setting.small:
        for of_rollout in (rollout.against_generate, rollout.drafts):
            yield Cell(f"benchmarks.rollout, {of_rollout.__name__}", partial(_printed, of_rollout, setting))


def updates(name: str, make: Make, kind: str, precision: str, setting: Setting) -> Values:
    """Seconds of the parts of a step, the update's of several on the same responses, and response tokens."""
    folder = models.saved(setting.work, name.replace(" ", "-").lower(), make)
    AcceleratorState._reset_state(reset_partial_state=True)
    with Grader() as grader:
        run = _run(str(folder), kind, precision, setting, grader)
        found = collect(run)
        collected = _parts(run)
        rounds = []
        for _ in range(ROUNDS + 1):  # in the first, memory is laid out
            run.seconds.clear()
            run.seconds["time/rollout_seconds"] = collected["rollout"]
            learn(run, *found)
            rounds.append(_parts(run)["update"])
    AcceleratorState._reset_state(reset_partial_state=True)
    parts = {**collected, "update": median(rounds[1:])}
    return {"parts": parts, "tokens": found[0].sampled_tokens, "of": f"{name}, {precision}", "regime": kind}


def _run(folder: str, kind: str, precision: str, setting: Setting, grader: Grader) -> Training:
    prompts, longest = (2, 8) if setting.small else (16, 256)
    config = parse(
        {
            "steps": 10**6,
            "model": {"path": folder, "mixed_precision": PRECISIONS[precision]},
            "data": {"kind": "jsonl", "path": f"{folder}/problems.jsonl"},
            "regime": {"kind": kind},
            "rollout": {"prompts_per_step": prompts, "samples_per_prompt": 8, "max_response_tokens": longest},
            "update": {"mini_batches": 2, "micro_batch_tokens": 8_192},
            "logging": {"completions_every": 10**6},
        }
    )
    run = prepare(config, setting.work / "no-checkpoints", MemorySink(), grader)
    run.step = 2  # the first step logs completions
    return run


def _parts(run: Training) -> dict[str, float]:
    return {name.removeprefix("time/").removesuffix("_seconds"): value for name, value in run.seconds.items()}


def sampler(make: Make, precision: str, setting: Setting) -> Values:
    """Tokens per second of `generate`, of the built-in sampler, and of the latter with transformers' own attention and cache."""
    joint = _placed(make, setting)
    ours, plainly = (BuiltinEngine(joint.trunk, NEVER, _precision(precision, setting)) for _ in range(2))
    plainly.way = Way.OWN
    contenders = {
        "generate": generated(joint, _precision(precision, setting)),
        "built-in": of_engine(ours),
        "built-in, as transformers reads it": of_engine(plainly),
    }
    return _speeds(contenders, setting, SHAPES)


def drafts(make: Make, precision: str, setting: Setting) -> Values:
    """Tokens per second without drafts, with them, and where the sampler decides; heads that are always right, and that know nothing."""
    found: Values = {}
    for heads, change in {"always right": perfect, "at random": scattered}.items():
        joint = change(_placed(make, setting))
        precisely = _precision(precision, setting)
        engines = {
            "none": BuiltinEngine(joint.trunk, NEVER, precisely),
            "on": BuiltinEngine(joint.trunk, NEVER, precisely, drafter=joint, drafts_always=True),
            "auto": BuiltinEngine(joint.trunk, NEVER, precisely, drafter=joint),
        }
        found[heads] = _speeds({name: of_engine(engine) for name, engine in engines.items()}, setting, DRAFTED)
        told = engines["on"].finish()
        found[heads]["acceptance"] = told.accepted[0] / told.drafts
    return found


def _speeds(contenders: dict[str, Any], setting: Setting, shapes: tuple[Shape, ...]) -> Values:
    asked, rounds = ((Shape(2, 8),), 1) if setting.small else (shapes, ROUNDS)
    found: Values = {}
    for shape in asked:
        speeds = measure(contenders, shape, rounds, time.perf_counter)
        found[str(shape)] = {name: median(values) for name, values in speeds.items()}
    return found


def _placed(make: Make, setting: Setting) -> JointModel:
    torch.manual_seed(0)
    return make().to(setting.device).eval()


def _precision(precision: str, setting: Setting) -> Callable[[], AbstractContextManager[None]]:
    return partial(torch.autocast, setting.device.type, torch.bfloat16, enabled=precision == "bf16")


def _printed(section: Callable[[torch.device, int], list[str]], setting: Setting) -> Values:
    return {"lines": section(setting.device, ROUNDS)}


def tell(found: Found) -> list[str]:
    """A table of each kind."""
    lines: list[str] = []
    rows = []
    for values in found.values():
        if "parts" in values:
            spent = [values["parts"][part] for part in ("rollout", "log_probs", "update")]
            base = (of(found, f"{values['of']}: detach") or {}).get("parts")
            ratio = "" if base is None else f"{spent[-1] / base['update']:.2f}"
            speed = f"{values['tokens'] / spent[-1]:,.0f}"
            rows.append([values["of"], values["regime"], *(f"{1000 * one:.0f}" for one in spent), speed, ratio])
    head = ["model", "regime", "rollout, ms", "old log-probs, ms", "update, ms", "update, response tokens/s"]
    lines += [*table([*head, "update / detach's"], rows, words=2), ""]
    rows = []
    for name in found:
        for shape, speeds in (of(found, name) or {}).items() if name.startswith("sampler") else ():
            if isinstance(speeds, dict):
                rows.append([name, shape, *(f"{speed:,.0f}" for speed in speeds.values())])
    head = ["model", "responses x tokens", "generate, tokens/s", "built-in", "built-in, as transformers reads it"]
    lines += [*table(head, rows, words=2), ""]
    rows = []
    for name in found:
        for heads, shapes in (of(found, name) or {}).items() if name.startswith("drafts") else ():
            for shape, speeds in shapes.items() if isinstance(shapes, dict) else ():
                if isinstance(speeds, dict):
                    none = speeds["none"]
                    cells = [f"{none:,.0f}", *(f"{speeds[how] / none:.2f}" for how in ("on", "auto"))]
                    rows.append([name, heads, shape, f"{shapes['acceptance']:.2f}", *cells])
    head = ["model", "heads", "responses x tokens", "acceptance", "no drafts, tokens/s", "on", "auto"]
    lines += [*table(head, rows, words=3), ""]
    for values in found.values():
        lines += [line.replace("## ", "### ") for line in values.get("lines", [])]
    return [*lines, *failures(found)]


PART = Part("speed", "Speed", cells, tell)
