"""The built-in sampler."""

import pytest
import torch
from accelerate import Accelerator
from small_models import SMALL

from trainer.launch.world import World
from trainer.models.demo_base import character_tokenizer
from trainer.rollout.blocks import PlainBlocks
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.decoding import Way
from trainer.rollout.divided import DividedEngine
from trainer.rollout.drawing import most_likely, nucleus
from trainer.rollout.engine import Sampling

PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13]]


def sampling(**changes) -> Sampling:
    return Sampling(**{"samples": 4, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "seed": 1, **changes})


@pytest.fixture
def engine(make_joint):
    return BuiltinEngine(make_joint().trunk, end_token=1)


def test_log_probs_are_those_of_the_model_without_cache_or_padding(engine):
    responses = engine.generate(PROMPTS, sampling(temperature=0.8))
    for prompt, group in zip(PROMPTS, responses, strict=True):
        assert len(group) == 4
        for response in group:
            logits = engine.trunk(torch.tensor([prompt + response.tokens])).logits[0] / 0.8
            log_probs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            expected = log_probs[range(len(response.tokens)), response.tokens].tolist()
            assert response.log_probs == pytest.approx(expected, abs=1e-4)


def test_log_probs_under_top_p_are_those_of_the_whole_distribution(engine):
    [[response]] = engine.generate([PROMPTS[0]], sampling(samples=1, max_tokens=1, temperature=0.8, top_p=0.3))
    log_probs = (engine.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1] / 0.8).log_softmax(-1)
    assert response.log_probs == pytest.approx([log_probs[response.tokens[0]].item()], abs=1e-4)


@pytest.mark.parametrize("way", list(Way))
def test_every_row_counts_its_places_from_its_own_first_token(engine, way, monkeypatch):
    # Rotary embeddings see differences of places alone, so that no log-prob would tell.
    seen = []
    engine.end_token, engine.way = 99, way  # no row ends and leaves the batch
    if way is Way.BLOCKS:
        read = PlainBlocks.read
        monkeypatch.setattr(PlainBlocks, "read", lambda *args: (seen.append(args[3]), read(*args))[1])
    engine.trunk.get_decoder().register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["position_ids"]), with_kwargs=True
    )
    engine.generate(PROMPTS, sampling(samples=1, max_tokens=2))
    for row, prompt in enumerate(PROMPTS):
        assert seen[0][row, -len(prompt) :].tolist() == list(range(len(prompt)))
        assert seen[1][row].tolist() == [len(prompt)]


def test_responses_end_at_the_end_token_or_the_limit(engine):
    for group in engine.generate(PROMPTS, sampling(samples=32)):
        for response in group:
            assert len(response.tokens) == len(response.log_probs)
            assert 1 not in response.tokens[:-1]
            assert response.truncated == (response.tokens[-1] != 1)
            assert not response.truncated or len(response.tokens) == 12


def test_the_same_seed_gives_the_same_responses_and_another_seed_others(engine):
    assert engine.generate(PROMPTS, sampling()) == engine.generate(PROMPTS, sampling())
    assert engine.generate(PROMPTS, sampling()) != engine.generate(PROMPTS, sampling(seed=2))


def test_what_a_prompt_is_answered_does_not_depend_on_the_prompts_beside_it(engine):
    together = engine.generate(PROMPTS, sampling(max_tokens=30))
    divided = [
        group for at in (0, 3) for group in engine.generate(PROMPTS[at : at + 3], sampling(max_tokens=30, first=at))
    ]
    for group, alone in zip(together, divided, strict=True):
        for one, other in zip(group, alone, strict=True):
            assert one.tokens == other.tokens
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
    twice = engine.generate([PROMPTS[0]] * 2, sampling(max_tokens=30))
    assert twice[0] != twice[1]


def test_samples_of_a_prompt_follow_the_models_distribution(engine):
    (group,) = engine.generate([PROMPTS[0]], sampling(samples=20_000, max_tokens=1))
    counts = torch.bincount(torch.tensor([response.tokens[0] for response in group]), minlength=24)
    probs = engine.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1).detach()
    expected = 20_000 * probs
    chi_square = ((counts - expected).square() / expected).sum().item()
    assert chi_square < 60  # 23 degrees of freedom: 49.7 at p = 0.001


def test_nucleus_keeps_the_smallest_set_that_reaches_top_p():
    probs = torch.tensor([[0.1, 0.5, 0.25, 0.15], [0.97, 0.01, 0.01, 0.01]])
    torch.testing.assert_close(nucleus(probs, 0.7), torch.tensor([[0.0, 0.5, 0.25, 0.0], [0.97, 0.0, 0.0, 0.0]]))
    assert torch.equal(nucleus(probs, 0.5)[0] > 0, torch.tensor([False, True, False, False]))


def test_top_p_samples_nothing_from_outside(engine):
    (group,) = engine.generate([PROMPTS[0]], sampling(samples=500, max_tokens=1, top_p=0.3))
    probs = engine.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    allowed = nucleus(probs[None], 0.3)[0] > 0
    assert {response.tokens[0] for response in group} <= set(allowed.nonzero().flatten().tolist())


def test_sampling_leaves_the_model_in_training_mode(engine):
    engine.trunk.train()
    engine.generate(PROMPTS, sampling())
    assert engine.trunk.training


def test_top_k_samples_from_the_most_likely_tokens_and_tells_their_log_probs_of_the_whole(engine):
    (group,) = engine.generate([PROMPTS[0]], sampling(samples=500, max_tokens=1, top_k=3))
    log_probs = engine.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1].log_softmax(-1)
    assert {response.tokens[0] for response in group} == set(log_probs.topk(3).indices.tolist())
    for response in group[:20]:
        assert response.log_probs == pytest.approx([log_probs[response.tokens[0]].item()], abs=1e-4)


def test_top_k_of_equal_tokens_keeps_the_first_and_top_p_counts_of_what_is_left():
    probs = torch.tensor([[0.2, 0.3, 0.3, 0.2]])
    torch.testing.assert_close(most_likely(probs, 3), torch.tensor([[0.2, 0.3, 0.3, 0.0]]))
    assert (nucleus(most_likely(probs, 2), 0.4) > 0).tolist() == [[False, True, False, False]]


def test_a_response_ends_with_the_token_that_completes_a_stop_string(make_joint):
    tokenizer = character_tokenizer()
    trunk = make_joint(vocabulary=len(tokenizer) + 5).trunk  # models have more tokens than tokenizers
    engine = BuiltinEngine(trunk, tokenizer.eos_token_id, tokenizer=tokenizer)
    asked = sampling(samples=64, max_tokens=40, temperature=1.5)
    [free] = engine.generate([PROMPTS[0]], asked)
    texts = tokenizer.batch_decode([response.tokens for response in free])
    stop = ("Z", texts[0][10:12])
    [stopped] = engine.generate([PROMPTS[0]], sampling(samples=64, max_tokens=40, temperature=1.5, stop=stop))
    assert any(response.truncated for response in stopped)
    for whole, text, response in zip(free, texts, stopped, strict=True):
        lengths = [
            n for n in range(1, len(whole.tokens) + 1) if any(end in tokenizer.decode(whole.tokens[:n]) for end in stop)
        ]
        length = min([*lengths, len(whole.tokens)])
        assert response.tokens == whole.tokens[:length], text
        assert response.truncated == (not lengths and whole.truncated)


@pytest.fixture
def strange(make_joint):
    """Models with something special in their attention."""
    from transformers import Gemma2Config, Gemma2ForCausalLM, MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    models = {
        "sliding window": MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)),
        "cap on scores": Gemma2ForCausalLM(
            Gemma2Config(
                **SMALL,
                attn_logit_softcapping=0.5,
                final_logit_softcapping=None,
                layer_types=["full_attention"] * 2,
                attn_implementation="eager",
            )
        ),
    }
    with torch.no_grad():
        for model in models.values():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return models


@pytest.mark.parametrize("special", ["sliding window", "cap on scores"])
def test_a_model_with_special_attention_is_read_as_it_reads_itself(strange, special):
    trunk = strange[special]
    engine = BuiltinEngine(trunk, end_token=1)
    responses = engine.generate(PROMPTS, sampling())
    assert engine.way is Way.OWN
    for prompt, group in zip(PROMPTS, responses, strict=True):
        for response in group:
            log_probs = trunk(torch.tensor([prompt + response.tokens])).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            expected = log_probs[range(len(response.tokens)), response.tokens].tolist()
            assert response.log_probs == pytest.approx(expected, abs=1e-4)


def test_both_ways_to_read_draw_the_same_tokens_and_leave_the_models_attention_as_it_was(engine):
    asked, before = sampling(samples=8, max_tokens=40, temperature=1.3), engine.trunk.config._attn_implementation
    fast = engine.generate(PROMPTS, asked)
    assert engine.way is Way.BLOCKS
    assert engine.trunk.config._attn_implementation == before
    engine.way = Way.OWN
    plain = engine.generate(PROMPTS, asked)
    assert [[response.tokens for response in group] for group in fast] == [
        [response.tokens for response in group] for group in plain
    ]
    for one, other in zip(fast[0] + fast[3], plain[0] + plain[3], strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)


@pytest.mark.parametrize("at_once", [1, 3, 4, 9])
def test_responses_do_not_depend_on_how_many_are_sampled_at_once(engine, at_once):
    asked = []

    class Counting:
        def generate(self, prompts, sampling):
            asked.append(len(prompts) * sampling.samples)
            return engine.generate(prompts, sampling)

    world = World(Accelerator(cpu=True))
    together = DividedEngine(engine, world).generate(PROMPTS, sampling())
    in_parts = DividedEngine(Counting(), world, at_once).generate(PROMPTS, sampling())
    assert [[one.tokens for one in group] for group in in_parts] == [
        [one.tokens for one in group] for group in together
    ]
    assert max(asked) <= at_once
    assert len({tuple(one.tokens) for one in together[0]}) > 1
