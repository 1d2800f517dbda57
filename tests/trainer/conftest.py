"""Small random models and batches that the trainer's tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from demo_homes import make_model, make_problems
from transformers import Qwen3Config, Qwen3ForCausalLM

from trainer.config import RunConfig, parse
from trainer.models.demo_base import character_tokenizer
from trainer.models.joint import JointModel, Sequences
from trainer.models.mtp import MtpDepth
from trainer.models.storage import save_joint
from trainer.tasks.addition import draw_pairs, write_problems

VOCABULARY = 24

torch.set_num_threads(1)  # on tensors this small a second thread only waits


@pytest.fixture
def make_joint() -> Callable[..., JointModel]:
    def make(depths: int = 1, *, seed: int = 0, tied: bool = True, vocabulary: int = VOCABULARY) -> JointModel:
        torch.manual_seed(seed)
        config = Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
        trunk = Qwen3ForCausalLM(config)
        # The default initialisation leaves heads that hardly differ from one another: spread them out.
        with torch.no_grad():
            for parameter in trunk.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        heads = [MtpDepth(trunk.get_decoder()) for _ in range(depths)]
        with torch.no_grad():
            for head in heads:
                for parameter in head.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return JointModel(trunk, heads)

    return make


@pytest.fixture
def sequences() -> Sequences:
    """8 sequences of different lengths, a one-token prompt and a one-token response among them."""
    generator = torch.Generator().manual_seed(5)
    prompts = torch.tensor([3, 1, 4, 2, 3, 3, 5, 2])
    responses = torch.tensor([6, 4, 1, 7, 5, 2, 6, 3])
    width, longest = int((prompts + responses).max()), int(responses.max())
    tokens = torch.randint(2, VOCABULARY, (8, width), generator=generator)
    tokens = tokens.where(torch.arange(width) < (prompts + responses)[:, None], 0)
    return Sequences(tokens, prompts, torch.arange(longest) < responses[:, None])


@pytest.fixture
def make_config() -> Callable[..., RunConfig]:
    def make(regime: dict | None = None, algorithm: str = "dapo", **sections: dict) -> RunConfig:
        values = {
            "model": {"path": "unused"},
            "data": {"kind": "jsonl", "path": "unused"},
            "regime": regime or {"kind": "occ"},
            "algorithm": {"kind": algorithm},
            "rollout": {"prompts_per_step": 4, "samples_per_prompt": 2, "max_response_tokens": 16},
            "update": {"mini_batches": 2},
            "optimizer": {"lr": 1e-3, "warmup_steps": 0},
        }
        return parse({**values, **sections})

    return make


@pytest.fixture
def tiny_run(make_joint: Callable[..., JointModel], tmp_path: Path) -> RunConfig:
    """A whole run of a random model: 6 steps, an evaluation every 2, a checkpoint every 3; everything it needs lies in tmp_path."""
    tokenizer = character_tokenizer()
    save_joint(make_joint(2, vocabulary=len(tokenizer)), tokenizer, tmp_path / "base")
    pairs = draw_pairs(12, 0)
    write_problems(tmp_path / "train.jsonl", pairs[:8])
    write_problems(tmp_path / "test.jsonl", pairs[8:])
    return parse(
        {
            "steps": 6,
            "model": {"path": str(tmp_path / "base"), "mtp_depths": 2},
            "regime": {"kind": "occ", "reference": "own", "window": "previous", "ema": 0.5},
            "mtp": {"head_loss": "ce"},
            "data": {"kind": "jsonl", "path": str(tmp_path / "train.jsonl")},
            "rollout": {"prompts_per_step": 4, "samples_per_prompt": 3, "max_response_tokens": 10},
            # Random text is never right: the length punishment is what makes rewards differ.
            "reward": {"overlong_buffer": 9},
            "update": {"mini_batches": 2, "micro_batch_sequences": 4},
            "optimizer": {"lr": 1e-2, "warmup_steps": 3},
            "evaluation": {
                "benchmarks": [{"name": "held-out", "data": {"kind": "jsonl", "path": str(tmp_path / "test.jsonl")}}],
                "every": 2,
                "samples": 2,
            },
            "checkpoint": {"every": 3, "keep": 1},
            "logging": {"completions_every": 2, "completions_prompts": 2},
        }
    )


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A home with the demo's model and problems, as `mtprl make-base` leaves it."""
    make_model(tmp_path / "models" / "addition")
    make_problems(tmp_path / "data" / "addition" / "train.jsonl", 64)
    make_problems(tmp_path / "data" / "addition" / "test.jsonl", 5)
    return tmp_path
