"""Tokens per second of the built-in sampler against transformers' `generate`, and of drafts against none: same model, same numerics, one process.

    python -m benchmarks.rollout [--threads 1] [--rounds 9] [--device cuda] [--vllm PYTHON] [--write docs/results/rollout.md]

Contenders take turns, in another order in every round. Each one's speed is that of its best round, because a machine that does other things
at the same time only ever makes a round slower; beside it stands the median of the ratios within the rounds. On a processor, seconds are
those that the process had it, not those that it waited for it.

PYTHON is one whose environment has vLLM and this program: benchmarks.rollout_vllm is then measured with it, too.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.markdown import table
from trainer.models.demo_base import new_model
from trainer.models.joint import JointModel
from trainer.models.mtp import MtpDepth
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.engine import Drafted, Sampling

PROMPT = 8
VLLM = ".venv-vllm/bin/python"
"""Where `make test-vllm` puts an interpreter with vLLM."""
NEVER = 10**6
"""An end token that no model draws: every response has the full length."""


class Shape(NamedTuple):
    """What is sampled."""

    rows: int
    tokens: int
    ends: bool = False
    """Whether responses may end before that."""

    def __str__(self) -> str:
        return f"{self.rows} x {self.tokens}{', ends drawn' if self.ends else ''}"


SHAPES = (Shape(256, 32), Shape(64, 256), Shape(256, 256, ends=True))
DRAFTED = (Shape(1, 32), Shape(8, 32), Shape(64, 32))

Sample = Callable[[list[list[int]], Shape, int], int]
"""(prompts, shape, round) -> sampled tokens."""


def main() -> None:
    """Measure, print, and keep the tables where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--vllm", metavar="PYTHON")
    parser.add_argument("--write", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    lines: list[str] = []
    sections = (against_generate, drafts)
    for section in (partial(_about, settings), *(partial(section, settings.device) for section in sections)):
        found = section(settings.rounds)
        print("\n".join(found), flush=True)
        lines += found
    if settings.vllm:
        lines += _with_vllm(settings)
    if settings.write:
        settings.write.write_text("\n".join(["# Sampling", "", *lines]) + "\n")


def against_generate(device: torch.device, rounds: int) -> list[str]:
    """The built-in sampler and `generate` on the demo's model with random parameters."""
    joint = new_model().to(device).eval()
    contenders = {"generate": generated(joint), "built-in": _builtin(joint)}
    rows = []
    for shape in SHAPES:
        speeds = measure(contenders, shape, rounds, clock_of(device))
        best = {name: max(values) for name, values in speeds.items()}
        ratios = [ours / theirs for ours, theirs in zip(speeds["built-in"], speeds["generate"], strict=True)]
        rows.append(
            [
                str(shape),
                *(f"{best[name]:,.0f}" for name in contenders),
                f"{best['built-in'] / best['generate']:.2f}",
                f"{median(ratios):.2f}",
            ]
        )
    head = ["responses x tokens", "generate, tokens/s", "built-in, tokens/s", "ratio of the best", "median ratio"]
    return ["## Against transformers' generate", "", *table(head, rows), ""]


def drafts(device: torch.device, rounds: int) -> list[str]:
    """Drafts on and off, with a drafter that is always right and with one that knows nothing."""
    rows = []
    for name, joint in {"always right": perfect(deep().to(device)), "at random": scattered(deep().to(device))}.items():
        engines = {
            "none": BuiltinEngine(joint.trunk, NEVER),
            "on": BuiltinEngine(joint.trunk, NEVER, drafter=joint, drafts_always=True),
            "auto": BuiltinEngine(joint.trunk, NEVER, drafter=joint),
            "auto, known": BuiltinEngine(joint.trunk, NEVER, drafter=joint),
        }
        for shape in DRAFTED:
            of_engine(engines["on"])([[2] * PROMPT] * 64, Shape(64, 32), 0)
            known = (_first(engines["on"].finish()),)
            contenders = {
                key: of_engine(engine, known if key == "auto, known" else ()) for key, engine in engines.items()
            }
            speeds = measure(contenders, shape, rounds, clock_of(device))
            told = {key: engine.finish() for key, engine in engines.items()}
            medians = {
                key: median(ours / plain for ours, plain in zip(speeds[key], speeds["none"], strict=True))
                for key in engines
            }
            rows.append(
                [
                    name,
                    str(shape),
                    f"{_first(told['on']):.2f}",
                    f"{max(speeds['none']):,.0f}",
                    f"{medians['on']:.2f}",
                    *(f"{medians[key]:.2f}{'' if told[key].drafts else ' (none)'}" for key in ("auto", "auto, known")),
                ]
            )
    head = ["heads", "responses x tokens", "acceptance", "no drafts, tokens/s", "on", "auto", "auto, acceptance known"]
    return [
        "## Drafts of one MTP depth in 24 layers, median speed relative to none",
        "",
        *table(head, rows, words=2),
        "",
        "(none): nothing was drafted.",
        "",
    ]


def clock_of(device: torch.device) -> Callable[[], float]:
    """What seconds are read from."""
    return time.process_time if device.type == "cpu" else time.perf_counter


def measure(
    contenders: dict[str, Sample], shape: Shape, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Tokens per second of each in every round, after one that does not count."""
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        prompts = torch.randint(2, 100, (shape.rows, PROMPT), generator=torch.Generator().manual_seed(turn)).tolist()
        names = list(contenders)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = clock()
            tokens = contenders[name](prompts, shape, turn)
            if turn:
                speeds[name].append(tokens / (clock() - began))
    return speeds


def deep() -> JointModel:
    """A model of 24 layers as wide as the demo's, with one depth."""
    trunk = Qwen3ForCausalLM(
        Qwen3Config(**{**new_model().trunk.config.to_dict(), "num_hidden_layers": 24, "layer_types": None})
    )
    return JointModel(trunk, [MtpDepth(trunk.get_decoder())]).eval()


def scattered(joint: JointModel) -> JointModel:
    """With parameters so large that predictions are sharp and the heads' have nothing to do with the main head's."""
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return joint


def perfect(joint: JointModel) -> JointModel:
    """A model whose next token depends on the last one alone, with a head that knows it: the work is done, and adds nothing."""
    blocks = [*joint.trunk.get_decoder().layers, *(depth.block for depth in joint.mtp)]
    with torch.no_grad():
        for block in blocks:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        for depth in joint.mtp:
            width = depth.eh_proj.weight.shape[0]
            depth.eh_proj.weight.zero_()
            depth.eh_proj.weight[:, :width] = torch.eye(width)
    return joint


def _builtin(joint: JointModel) -> Sample:
    ending, endless = (BuiltinEngine(joint.trunk, end) for end in (joint.trunk.config.eos_token_id, NEVER))
    return lambda prompts, shape, turn: of_engine(ending if shape.ends else endless)(prompts, shape, turn)


def of_engine(engine: BuiltinEngine, acceptance: tuple[float, ...] = ()) -> Sample:
    """The built-in sampler; `acceptance`: what is known of its heads' drafts."""

    def sample(prompts: list[list[int]], shape: Shape, turn: int) -> int:
        groups = engine.generate(prompts, Sampling(1, shape.tokens, 1.0, 1.0, seed=turn, acceptance=acceptance))
        return sum(len(response.tokens) for group in groups for response in group)

    return sample


def generated(joint: JointModel, precision: Callable[[], AbstractContextManager[None]] = nullcontext) -> Sample:
    """transformers' `generate`, in the context of its forward passes."""
    end, padding = joint.trunk.config.eos_token_id, joint.trunk.config.pad_token_id

    def sample(prompts: list[list[int]], shape: Shape, turn: int) -> int:
        torch.manual_seed(turn)
        given = torch.tensor(prompts, device=joint.trunk.device)
        with torch.inference_mode(), precision():
            whole = joint.trunk.generate(
                given,
                attention_mask=torch.ones_like(given),
                do_sample=True,
                top_k=0,
                top_p=1.0,
                max_new_tokens=shape.tokens,
                eos_token_id=end if shape.ends else NEVER,
                pad_token_id=padding,
            )
        drawn = whole[:, PROMPT:]
        ended = (drawn == end).long().cumsum(dim=1) - (drawn == end).long() > 0
        counted = int((~ended).sum())  # waits for a GPU
        return counted if shape.ends else drawn.numel()

    return sample


def _first(drafted: Drafted) -> float:
    return drafted.accepted[0] / drafted.drafts


def _with_vllm(settings: argparse.Namespace) -> list[str]:
    with TemporaryDirectory() as folder:
        found = Path(folder) / "found.md"
        told = ["--threads", str(settings.threads), "--rounds", str(settings.rounds), "--write", str(found)]
        subprocess.run([settings.vllm, "-m", "benchmarks.rollout_vllm", *told], check=True)
        return found.read_text().splitlines()


def _about(settings: argparse.Namespace, rounds: int) -> list[str]:
    threads, on_gpu = settings.threads, settings.device.type == "cuda"
    where = f"{threads} thread{'s' if threads > 1 else ''} of a {platform.machine()} machine"
    return [
        f"`python -m benchmarks.rollout --threads {threads} --rounds {rounds}{' --device cuda' if on_gpu else ''}{f' --vllm {VLLM}' if settings.vllm else ''}`: the demo's model (Qwen3, 0.2 M "
        f"parameters, random), float32, {torch.cuda.get_device_name() if on_gpu else where}, torch {torch.__version__}. Temperature 1, "
        f"prompts of {PROMPT} tokens, speed of the best of {rounds} rounds, contenders in turn, "
        f"{'by the clock' if on_gpu else 'by the seconds that the process had the processor'}.",
        "",
    ]


if __name__ == "__main__":
    main()
