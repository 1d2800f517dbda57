"""A whole step, against TRL's GRPOTrainer and regime against regime: same model, same numerics, in turn on one machine, one thread each.

    python -m benchmarks.trainer [--trl PYTHON [--compile]] [--rounds 7] [--write docs/results/trainer.md]

PYTHON has TRL and torch in an environment of its own: `python3 -m venv ENV && ENV/bin/pip install -c constraints.txt trl==1.16.0 torch`. A step
is 64 prompts x 8 responses of 32 tokens, 4 mini-batches. What counts is the processor's time for the program, in which it does not matter
much what else the machine does, plus the seconds that it waits for the graders, which are other programs. Contenders take turns, and
ratios are medians of ratios within a round.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.markdown import table
from trainer.config import parse
from trainer.events import MemorySink
from trainer.loop import collect, learn
from trainer.models.demo_base import character_tokenizer, new_model
from trainer.models.joint import JointModel
from trainer.models.mtp import MtpDepth
from trainer.models.storage import save_joint
from trainer.tasks import Grader
from trainer.tasks.addition import draw_pairs, write_problems
from trainer.training import Training, prepare

PROMPTS, SAMPLES, MINI_BATCHES, TOKENS = 64, 8, 4, 32
REGIMES = {
    "off": {"kind": "off"},
    "detach": {"kind": "detach"},
    "occ": {"kind": "occ"},
    "oracle": {"kind": "oracle"},
}
LAYERS, DEEP_PROMPTS = 24, 16

Step = Callable[[], dict[str, float]]
"""Makes one step and gives the processor's time for the "step" and its "update", and the "seconds" that it took."""


def main() -> None:
    """Measure, print, and keep the tables where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path)
    parser.add_argument("--compile", action="store_true", help="TRL compiled, too")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        grader = stack.enter_context(Grader())
        shallow, deep = Path(name) / "demo", Path(name) / "deep"
        _save(new_model(), shallow)
        _save(_deep(), deep)
        runs = {regime: _run(shallow, regime, grader) for regime in REGIMES}
        steps: dict[str, Step] = {regime: _own(run) for regime, run in runs.items()}
        if settings.trl:
            steps["TRL"] = stack.enter_context(_trl(settings.trl, shallow, compiled=False))
        if settings.trl and settings.compile:
            steps["TRL, compiled"] = stack.enter_context(_trl(settings.trl, shallow, compiled=True))
        whole = _measure(steps, settings.rounds)
        at_depth = {regime: _own(_run(deep, regime, grader, prompts=DEEP_PROMPTS)) for regime in ("off", "detach")}
        many_layers = _measure(at_depth, settings.rounds)
    lines = [*_about(settings), *_whole_steps(whole), *_updates(whole), *_depth(many_layers)]
    print("\n".join(lines))
    if settings.write:
        settings.write.write_text("\n".join(["# A step of training", "", *lines]) + "\n")


def _measure(steps: dict[str, Step], rounds: int) -> dict[str, list[dict[str, float]]]:
    """The parts of every step but each contender's first two, which lay out memory."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        names = list(steps)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            parts = steps[name]()
            if turn > 1:
                found[name].append(parts)
    return found


def _whole_steps(found: dict[str, list[dict[str, float]]]) -> list[str]:
    others = [name for name in found if name.startswith("TRL")]
    rows = []
    for name, rounds in found.items():
        ratios = [f"{_ratio(found[other], rounds, 'step'):.2f}" for other in others]
        quickest = 1000 * min(parts["seconds"] for parts in rounds)
        rows.append([name, *(_median(rounds, part) for part in ("step", "update")), f"{quickest:.0f}", *ratios])
    head = ["", "step, ms", "of it update", "seconds of the quickest, ms", *(f"{other} / this" for other in others)]
    return ["## Whole steps", "", *table(head, rows), ""]


def _updates(found: dict[str, list[dict[str, float]]]) -> list[str]:
    return ["## Updates against detach", "", *_ratios(found, "detach"), ""]


def _depth(found: dict[str, list[dict[str, float]]]) -> list[str]:
    return [f"## One depth at {LAYERS} layers", "", *_ratios(found, "off"), ""]


def _ratios(found: dict[str, list[dict[str, float]]], base: str) -> list[str]:
    own = {name: rounds for name, rounds in found.items() if name in REGIMES}
    rows = [
        [name, _median(rounds, "update"), f"{_ratio(rounds, own[base], 'update'):.2f}"] for name, rounds in own.items()
    ]
    return table(["regime", "update, ms", f"/ {base}"], rows)


def _median(rounds: list[dict[str, float]], part: str) -> str:
    return f"{1000 * median(parts[part] for parts in rounds):.0f}" if part in rounds[0] else ""


def _ratio(rounds: list[dict[str, float]], base: list[dict[str, float]], part: str) -> float:
    return median(mine[part] / other[part] for mine, other in zip(rounds, base, strict=True))


def _own(run: Training) -> Step:
    def step() -> dict[str, float]:
        run.step += 1
        run.seconds.clear()
        began, spent = time.perf_counter(), time.process_time()
        experience, old = collect(run)
        collected = time.process_time()
        learn(run, experience, old)
        ended = time.process_time()
        return {
            "step": ended - spent + run.seconds["time/grading_seconds"],
            "update": ended - collected,
            "seconds": time.perf_counter() - began,
        }

    return step


@contextmanager
def _trl(python: Path, folder: Path, *, compiled: bool) -> Iterator[Step]:
    words = [folder, PROMPTS, SAMPLES, MINI_BATCHES, TOKENS, int(compiled)]
    command = [python, Path(__file__).parent / "trl_steps.py", *words]
    log = folder / f"trl-{compiled}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin
        assert process.stdout

        def step() -> dict[str, float]:
            print(file=process.stdin, flush=True)
            for line in process.stdout or ():
                if line.startswith("SECONDS"):
                    _, seconds, spent = line.split()
                    return {"step": float(spent), "seconds": float(seconds)}
            raise SystemExit(f"TRL ended: {log.read_text()[-2000:]}")

        yield step
        process.kill()


def _run(folder: Path, regime: str, grader: Grader, prompts: int = PROMPTS) -> Training:
    config = parse(
        {
            "steps": 10**6,
            "model": {"path": str(folder)},
            "data": {"kind": "jsonl", "path": str(folder / "problems.jsonl")},
            "regime": REGIMES[regime],
            "rollout": {"prompts_per_step": prompts, "samples_per_prompt": SAMPLES, "max_response_tokens": TOKENS},
            "update": {"mini_batches": MINI_BATCHES},
            "logging": {"completions_every": 10**6},
        }
    )
    run = prepare(config, folder / f"run-{regime}", MemorySink(), grader)
    run.step = 1  # the first step logs completions
    return run


def _deep() -> JointModel:
    config = {**new_model().trunk.config.to_dict(), "num_hidden_layers": LAYERS, "layer_types": None}
    trunk = Qwen3ForCausalLM(Qwen3Config(**config))
    return JointModel(trunk, [MtpDepth(trunk.get_decoder())])


def _save(joint: JointModel, folder: Path) -> None:
    folder.mkdir()
    save_joint(joint, character_tokenizer(), folder)
    write_problems(folder / "problems.jsonl", draw_pairs(4096, 1))


def _about(settings: Any) -> list[str]:
    trl = f" --trl PYTHON{' --compile' if settings.compile else ''}" if settings.trl else ""
    return [
        f"`python -m benchmarks.trainer{trl} --rounds {settings.rounds}`: the demo's model with random parameters, float32, one thread of a "
        f"{platform.machine()} machine, torch {torch.__version__}; {PROMPTS} prompts x {SAMPLES} responses of at most {TOKENS} tokens, {MINI_BATCHES} "
        f"mini-batches, each one micro-batch ({LAYERS} layers: {DEEP_PROMPTS} prompts). TRL recomputes old log-probs as this trainer does, has no MTP "
        f"head, and compares strings where this trainer grades. Times are the processor's for the program, medians over the rounds, in "
        f"which contenders take turns; ratios are medians of ratios within a round.",
        "",
    ]


if __name__ == "__main__":
    main()
