"""The models that are measured: Qwen3 with random parameters and one MTP depth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.bases import SMALL, Making, make_base
from benchmarks.gpu.parts import Setting
from trainer.models.demo_base import character_tokenizer
from trainer.models.joint import JointModel
from trainer.models.mtp import MtpDepth
from trainer.models.storage import save_joint
from trainer.tasks.addition import draw_pairs, write_problems

VOCABULARY = 151_936
"""Tokens of the Qwen models."""


def qwen3(hidden: int, layers: int, inner: int, heads: int, *, key_heads: int, vocabulary: int) -> JointModel:
    """A model with heads of width 64 and one matrix for embeddings and lm_head."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=64,
        max_position_embeddings=16_384,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    trunk = Qwen3ForCausalLM(config)
    return JointModel(trunk, [MtpDepth(trunk.get_decoder())])


def learner() -> JointModel:
    """38 M parameters over the characters of the addition tasks: what is trained from scratch."""
    return qwen3(512, 8, 2048, 8, key_heads=8, vocabulary=len(character_tokenizer()))


def as_06b() -> JointModel:
    """As wide and as deep as Qwen3-0.6B."""
    return qwen3(1024, 28, 3072, 16, key_heads=8, vocabulary=VOCABULARY)


TASK = "long-addition"


def base(setting: Setting) -> Path:
    """The folder of the base of the learning runs, made unless it is there: the same, if it can be, wherever it is made."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        return make_base(setting.work, TASK, making=_making(setting.device, small=setting.small), tell=_tell)
    finally:
        torch.use_deterministic_algorithms(before)


def _tell(line: str) -> None:
    print(f"  base, {line}", flush=True)


def _making(device: torch.device, *, small: bool) -> Making:
    if small:
        return SMALL._replace(
            device=str(device), train_problems=200, test_problems=16, rl_problems=160, target=(0.0, 1.0)
        )
    # Any accuracy between is a start that RL can learn from, and the first step that has one is taken.
    return Making(
        learner,
        str(device),
        train_problems=40_000,
        rl_problems=20_000,
        batch=128,
        most_steps=4_000,
        lr=3e-4,
        warmup=100,
        target=(0.3, 0.7),
        check_every=10,
        close=0.02,
    )


def saved(folder: Path, name: str, make: Callable[[], JointModel]) -> Path:
    """The model's folder, with problems to sample from beside it; made unless it is there."""
    final = folder / "models" / name
    if not (final / "problems.jsonl").is_file():
        final.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        save_joint(make(), character_tokenizer(), final)
        write_problems(final / "problems.jsonl", draw_pairs(4096, 1))
    return final
