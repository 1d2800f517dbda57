"""The samples on which an audit measures."""

import pytest
import torch

from trainer.audit.held_out import sample_held_out
from trainer.models.demo_base import character_tokenizer
from trainer.rollout.engine import Response
from trainer.rollout.prompts import tokenize
from trainer.tasks import Grader, Item


class AskedEngine:
    """Answers every prompt with "Answer:1" and then with something longer, and remembers how it was asked."""

    def __init__(self, tokenizer):
        self.texts = [tokenizer(text)["input_ids"] for text in ("Answer:1", "no Answer:2")]
        self.asked = []

    def generate(self, prompts, sampling):
        self.asked.append((prompts, sampling))
        return [[Response(text, [-1.0] * len(text), True) for text in self.texts] for _ in prompts]


@pytest.fixture
def draw(make_config):
    """(step, seed) -> the prompts used by the step, what was sampled, and how."""
    tokenizer = character_tokenizer()
    items = [
        Item(id=str(n), problem=f"{n}+1=", answer="1", prompt=f"{n}+1=") for n in range(9)
    ]  # 4 of them used, so that 5 are left
    prompts = tokenize(items, tokenizer, 16, "data").kept
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_response_tokens": 16, "temperature": 0.6}
    config = make_config(rollout=rollout, evaluation={"top_p": 0.3}, audit={"every": 1, "prompts": 5})

    def make(step: int, seed: int = 0):
        engine, used = AskedEngine(tokenizer), prompts[2:6]
        with_seed = config.model_copy(update={"seed": seed})
        with Grader() as grader:
            drawn = sample_held_out(prompts, used, with_seed, step, engine, tokenizer, grader, torch.device("cpu"))
        [(asked, sampling)] = engine.asked
        assert asked == [prompt.tokens for prompt in drawn.prompts]
        return {prompt.item.id for prompt in used}, drawn, sampling

    return make


def test_held_out_prompts_are_others_than_the_steps_and_sampled_as_in_training(draw):
    used, drawn, sampling = draw(3)
    ids = [prompt.item.id for prompt in drawn.prompts]
    assert len(ids) == len(set(ids)) == 5
    assert not {*ids} & used
    assert (sampling.samples, sampling.max_tokens, sampling.temperature, sampling.top_p) == (2, 16, 0.6, 1.0)
    assert drawn.rewards.tolist() == [1, -1] * 5
    assert drawn.advantages.tolist() == pytest.approx([0.7071, -0.7071] * 5, abs=1e-3)


def test_every_step_and_seed_draws_others_and_repeats_them(draw):
    def drawn(step, seed):
        _, experience, sampling = draw(step, seed)
        return tuple(prompt.item.id for prompt in experience.prompts), sampling.seed

    first, again, later, other = drawn(3, 0), drawn(3, 0), drawn(4, 0), drawn(3, 1)
    assert first == again
    for one, two in ((first, later), (first, other), (later, other)):
        assert one[0] != two[0]
        assert one[1] != two[1]
