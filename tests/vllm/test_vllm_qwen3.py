"""vLLM samples from the trainer's model: a Qwen3, without drafting."""

from __future__ import annotations

import pytest
import torch
from engines import END, PROMPTS, largest_gap, moved, sampling

from trainer.errors import NotFiniteError
from trainer.rollout.engine import Drafted


@pytest.fixture(scope="module")
def model(start):
    return start("qwen3")


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_are_the_trainers(model, temperature):
    engine, joint = model
    groups = engine.generate(PROMPTS, sampling(temperature=temperature))
    assert [len(group) for group in groups] == [4] * 4
    assert largest_gap(joint, groups, temperature) < 1e-4


def test_responses_end_at_the_end_token_or_the_limit(model):
    engine, _ = model
    for group in engine.generate(PROMPTS, sampling(samples=32)):
        for response in group:
            assert len(response.tokens) == len(response.log_probs)
            assert END not in response.tokens[:-1]
            assert response.truncated == (response.tokens[-1] != END)
            assert not response.truncated or len(response.tokens) == 12


def test_the_same_seed_gives_the_same_responses_and_another_seed_others(model):
    engine, _ = model
    assert engine.generate(PROMPTS, sampling()) == engine.generate(PROMPTS, sampling())
    assert engine.generate(PROMPTS, sampling()) != engine.generate(PROMPTS, sampling(seed=2))


def test_what_a_prompt_is_answered_does_not_depend_on_the_prompts_beside_it(model):
    engine, _ = model
    together = engine.generate(PROMPTS, sampling())
    divided = [group for at in (0, 3) for group in engine.generate(PROMPTS[at : at + 3], sampling(first=at))]
    assert [[one.tokens for one in group] for group in together] == [[one.tokens for one in group] for group in divided]
    twice = engine.generate([PROMPTS[0]] * 2, sampling())
    assert twice[0] != twice[1]
    assert len({tuple(one.tokens) for one in twice[0]}) > 1


def test_samples_that_are_asked_for_in_parts_are_those_of_the_whole(model):
    engine, _ = model
    whole = engine.generate(PROMPTS, sampling())
    parts = [engine.generate(PROMPTS, sampling(samples=2, first_sample=first)) for first in (0, 2)]
    together = [[*one, *other] for one, other in zip(*parts, strict=True)]
    assert [[one.tokens for one in group] for group in whole] == [[one.tokens for one in group] for group in together]


def test_samples_of_a_prompt_follow_the_models_distribution(model):
    engine, joint = model
    (group,) = engine.generate([PROMPTS[0]], sampling(samples=4000, max_tokens=1, temperature=0.5))
    counts = torch.bincount(torch.tensor([response.tokens[0] for response in group]), minlength=100)
    with torch.no_grad():
        expected = 4000 * (joint.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1] / 0.5).softmax(-1)
    often = expected >= 5
    chi_square = ((counts - expected)[often].square() / expected[often]).sum().item()
    assert chi_square < often.sum() + 4.5 * often.sum().mul(2).sqrt()


def test_top_p_samples_nothing_from_outside(model):
    engine, joint = model
    (group,) = engine.generate([PROMPTS[0]], sampling(samples=300, max_tokens=1, top_p=0.3))
    with torch.no_grad():
        ordered, order = joint.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1).sort(descending=True)
    allowed = order[ordered.cumsum(0) - ordered < 0.3].tolist()
    assert {response.tokens[0] for response in group} <= set(allowed)


def test_top_k_samples_nothing_from_outside(model):
    engine, joint = model
    (group,) = engine.generate([PROMPTS[0]], sampling(samples=300, max_tokens=1, top_k=3))
    with torch.no_grad():
        allowed = joint.trunk(torch.tensor([PROMPTS[0]])).logits[0, -1].topk(3).indices.tolist()
    assert {response.tokens[0] for response in group} == set(allowed)


def test_the_policy_is_taken_anew_after_a_stretch_of_sampling_and_old_prefixes_are_forgotten(model):
    engine, joint = model
    engine.generate(PROMPTS, sampling())
    assert engine.finish() == Drafted()
    moved(joint)
    assert largest_gap(joint, engine.generate(PROMPTS, sampling())) < 1e-4


def test_within_a_stretch_it_samples_from_one_policy(model):
    engine, joint = model
    engine.generate(PROMPTS, sampling())
    moved(joint)
    assert largest_gap(joint, engine.generate(PROMPTS, sampling())) > 1e-2
    engine.finish()


def test_a_model_without_a_distribution_is_named(model):
    engine, joint = model
    norm = joint.trunk.get_decoder().norm.weight
    kept = norm.detach().clone()
    engine.finish()
    try:
        norm.data.fill_(float("nan"))
        with pytest.raises(NotFiniteError, match="sampler"):
            engine.generate(PROMPTS, sampling())
    finally:
        norm.data.copy_(kept)
        engine.finish()
