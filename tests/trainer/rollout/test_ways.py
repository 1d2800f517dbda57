"""How models are read: as fast as what they are made of allows, and always to the hidden states of their own forward pass."""

import pytest
import torch
from small_models import SMALL
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    StableLmConfig,
    StableLmForCausalLM,
)

from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.decoding import Way
from trainer.rollout.engine import Sampling

PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11] * 5, [12, 13]]
"""One of them is longer than what products of matrices read."""
ALL_HEADS = {**SMALL, "num_key_value_heads": 2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LONG = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0}


def made(kind: str):
    torch.manual_seed(0)
    match kind:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**SMALL))
        case "llama, rotary embeddings of long texts":
            model = LlamaForCausalLM(LlamaConfig(**SMALL, max_position_embeddings=16, rope_parameters=LONG))
        case "qwen2":
            model = Qwen2ForCausalLM(Qwen2Config(**SMALL))
        case "mixture":
            model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**SMALL, **EXPERTS))
        case "mistral":
            model = MistralForCausalLM(MistralConfig(**SMALL, sliding_window=None))
        case "other names":
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**ALL_HEADS, rotary_pct=0.5))
        case "part of a head rotates":
            model = StableLmForCausalLM(StableLmConfig(**SMALL))
        case "numbers between the parts":
            model = GraniteForCausalLM(GraniteConfig(**SMALL, residual_multiplier=0.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(
    ("kind", "way"),
    [
        ("llama", Way.BLOCKS),
        ("qwen2", Way.BLOCKS),
        ("mistral", Way.BLOCKS),
        ("mixture", Way.BLOCKS),
        ("llama, rotary embeddings of long texts", Way.PRODUCTS),
        ("part of a head rotates", Way.PRODUCTS),
        ("other names", Way.PRODUCTS),
        ("numbers between the parts", Way.PRODUCTS),
    ],
)
def test_a_model_is_read_as_fast_as_its_blocks_allow_and_to_its_own_log_probs(kind, way):
    trunk = made(kind)
    engine = BuiltinEngine(trunk, end_token=1)
    asked = Sampling(samples=3, max_tokens=70, temperature=1.0, top_p=1.0, seed=1)
    for prompt, group in zip(PROMPTS, engine.generate(PROMPTS, asked), strict=True):
        for response in group:
            log_probs = trunk(torch.tensor([prompt + response.tokens])).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            expected = log_probs[range(len(response.tokens)), response.tokens].tolist()
            if "long texts" not in kind:  # there a token's log-prob depends on how much is read with it
                assert response.log_probs == pytest.approx(expected, abs=1e-4)
    assert engine.way is way


def test_blocks_that_something_hooks_into_are_called():
    trunk, called = made("llama"), []
    trunk.get_decoder().layers[0].register_forward_pre_hook(lambda *_: called.append(True))
    engine = BuiltinEngine(trunk, end_token=99)
    engine.generate(PROMPTS, Sampling(samples=1, max_tokens=5, temperature=1.0, top_p=1.0, seed=1))
    assert engine.way is Way.PRODUCTS
    assert len(called) > 5


def test_under_mixed_precision_both_fast_ways_agree_up_to_its_rounding():
    trunk, drawn = made("llama"), {}
    asked = Sampling(samples=2, max_tokens=1, temperature=1.0, top_p=1.0, seed=1)
    for way in (Way.BLOCKS, Way.PRODUCTS, Way.OWN):
        engine = BuiltinEngine(trunk, 99, precision=lambda: torch.autocast("cpu", torch.bfloat16))
        engine.way = way
        drawn[way] = engine.generate(PROMPTS, asked)
    for way in (Way.BLOCKS, Way.PRODUCTS):
        for group, other in zip(drawn[way], drawn[Way.OWN], strict=True):
            for one, its in zip(group, other, strict=True):
                assert one.log_probs == pytest.approx(its.log_probs, abs=0.1)
