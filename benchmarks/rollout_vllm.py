"""Tokens per second of vLLM's build for processors beside the built-in sampler: same model, one process.

    .venv-vllm/bin/python -m benchmarks.rollout_vllm [--threads 1] [--rounds 5] [--write FILE]

The model is the demo's with heads of 32 numbers in the place of 16, which is what vLLM's attention on processors takes. Contenders take turns, as in
benchmarks.rollout.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from transformers import Qwen3ForCausalLM

from benchmarks.markdown import table
from benchmarks.rollout import PROMPT, Sample, Shape, measure
from trainer.config import parse
from trainer.models.demo_base import character_tokenizer, new_model
from trainer.models.joint import JointModel
from trainer.models.mtp import MtpDepth
from trainer.models.storage import load_joint, save_joint
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.vllm.engine import VllmEngine
from trainer.rollout.vllm.installed import installed_version

SHAPES = (Shape(256, 32, ends=True), Shape(64, 256, ends=True))
END = 1
"""vLLM wants one that can be drawn."""


def main() -> None:
    """Measure, print, and keep the table where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    with TemporaryDirectory() as folder:
        rows = against_vllm(Path(folder), settings.rounds)
    head = ["responses x tokens", "built-in, tokens/s", "vLLM, tokens/s", "ratio of the best", "median ratio"]
    lines = [
        "## Beside vLLM's build for processors",
        "",
        "The demo's model with 2 heads of 32 numbers in the place of 4 of 16, which is what vLLM's attention on processors takes; "
        f"{installed_version()} of vLLM, torch {torch.__version__}. All contenders in one process, by the clock on the wall.",
        "",
        *table(head, rows),
        "",
    ]
    print("\n".join(lines))
    if settings.write:
        settings.write.write_text("\n".join(lines))


def against_vllm(folder: Path, rounds: int) -> list[list[str]]:
    """A row of the table per shape."""
    save_joint(_model(), character_tokenizer(), folder)
    joint = load_joint(str(folder), 1).eval()
    config = parse(
        {
            "model": {"path": str(folder)},
            "regime": {"kind": "off"},
            "data": {"kind": "jsonl", "path": "unused"},
            "rollout": {
                "engine": "vllm",
                "vllm": {"cache_gib": 1},
                "max_response_tokens": max(shape.tokens for shape in SHAPES),
            },
        }
    )
    longest = PROMPT + max(shape.tokens for shape in SHAPES)
    ours = _of(BuiltinEngine(joint.trunk, END))
    ours(
        [[2] * PROMPT], Shape(1, 1), 0
    )  # before vLLM changes transformers' classes, after which the model's own forward pass fails
    vllm = VllmEngine(config, joint, END, longest, joint.trunk.device, longest)
    contenders = {"built-in": ours, "vLLM": _of(vllm)}
    rows = []
    for shape in SHAPES:
        speeds = measure(contenders, shape, rounds, time.perf_counter)
        best = {name: max(values) for name, values in speeds.items()}
        ratios = [ours / theirs for ours, theirs in zip(speeds["built-in"], speeds["vLLM"], strict=True)]
        numbers = [f"{best[name]:,.0f}" for name in contenders]
        rows.append([str(shape), *numbers, f"{best['built-in'] / best['vLLM']:.2f}", f"{median(ratios):.2f}"])
    return rows


def _model() -> JointModel:
    torch.manual_seed(0)
    config = new_model().trunk.config
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 2, 2, 32
    trunk = Qwen3ForCausalLM(config)
    return JointModel(trunk, [MtpDepth(trunk.get_decoder())])


def _of(engine: Engine) -> Sample:
    def sample(prompts: list[list[int]], shape: Shape, turn: int) -> int:
        groups = engine.generate(prompts, Sampling(1, shape.tokens, 1.0, 1.0, seed=turn))
        return sum(len(response.tokens) for group in groups for response in group)

    return sample


if __name__ == "__main__":
    main()
