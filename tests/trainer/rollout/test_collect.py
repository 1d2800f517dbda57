"""From responses to rewards, advantages and rows."""

import pytest
import torch

from trainer.config import Reward
from trainer.errors import DataError
from trainer.models.demo_base import character_tokenizer
from trainer.rollout.collect import experience_of, pack, reward, sample_responses, verify
from trainer.rollout.engine import Response
from trainer.rollout.prompts import Prompt, prompts_of_step, tokenize
from trainer.tasks import Grade, Grader, Item


def item(name: str, answer: str) -> Item:
    return Item(id=name, problem=f"{name}=", answer=answer, prompt=f"{name}=")


def test_experience_of_a_step(make_config):
    tokenizer = character_tokenizer()
    prompts = tokenize([item("1+2", "3"), item("4+50", "54")], tokenizer, 16, "data").kept
    texts = ["Answer:3", "Answer:4", "no", "Answer:54"]
    responses = [
        Response(tokenizer(text)["input_ids"] + [1], [-0.5] * (len(tokenizer(text)["input_ids"]) + 1), False)
        for text in texts
    ]
    with Grader() as grader:
        groups = verify(prompts, responses, tokenizer, grader, make_config())
    experience = experience_of(groups, torch.device("cpu"))
    assert experience.completions == texts
    assert experience.rewards.tolist() == [1, -1, -1, 1]
    assert experience.advantages.tolist() == pytest.approx([0.7071, -0.7071, -0.7071, 0.7071], abs=1e-3)
    assert experience.sequences.prompt_lengths.tolist() == [4, 4, 5, 5]
    metrics = experience.metrics()
    assert metrics["reward/accuracy"] == 0.5
    assert metrics["reward/zero_variance_fraction"] == 0
    logged = experience.logged(1)
    assert [row["sample"] for row in logged] == [0, 1]
    assert logged[1]["reason"] == "not equal to 3"


def test_rows_hold_prompt_response_and_padding():
    prompts = [Prompt(item("a", "1"), [7, 8]), Prompt(item("b", "1"), [9])]
    responses = [Response([2, 1], [-1.0, -2.0], False), Response([3], [-3.0], True)]
    sequences, log_probs = pack(prompts, responses, torch.device("cpu"))
    assert sequences.tokens.tolist() == [[7, 8, 2, 1], [9, 3, 0, 0]]
    assert sequences.mask.tolist() == [[True, True], [True, False]]
    assert log_probs.tolist() == [[-1, -2], [-3, 0]]


def test_soft_overlong_punishment_is_added_to_the_reward():
    grades = [Grade(True, "1", ""), Grade(False, "2", "")]
    responses = [Response([5] * 10, [0.0] * 10, True), Response([5] * 8, [0.0] * 8, False)]
    settings = Reward(overlong_buffer=4, overlong_factor=0.5)
    assert reward(grades, responses, settings, 10).tolist() == pytest.approx([1 - 0.5, -1 - 0.25])


def test_prompts_over_the_limit_are_counted_and_never_cut():
    prompts = tokenize([item("1+2", "3"), item("100+200", "300")], character_tokenizer(), 5, "data")
    assert [prompt.item.id for prompt in prompts.kept] == ["1+2"]
    assert prompts.too_long == 1
    with pytest.raises(DataError, match=r"data: no prompt has at most 3 tokens \(the shortest has 4\)"):
        tokenize([item("1+2", "3")], character_tokenizer(), 3, "data")


def test_every_prompt_is_met_once_per_pass_in_an_order_that_the_seed_fixes():
    prompts = [Prompt(item(str(number), "0"), [number]) for number in range(10)]
    steps = [[prompt.tokens[0] for prompt in prompts_of_step(prompts, 7, step, 4)] for step in range(1, 6)]
    seen = [number for step in steps for number in step]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert [prompt.tokens[0] for prompt in prompts_of_step(prompts, 7, 3, 4)] == steps[2]
    assert [prompt.tokens[0] for prompt in prompts_of_step(prompts, 8, 1, 4)] != steps[0]


def verified(texts, make_config, **settings):
    """Groups of two of the responses `texts` to the problem 1+2; those that end with . have an end token."""
    tokenizer = character_tokenizer()
    prompts = tokenize([item("1+2", "3")] * (len(texts) // 2), tokenizer, 16, "data").kept
    responses = [
        Response(tokens, [-0.5] * len(tokens), text[-1:] != ".")
        for text in texts
        for tokens in [tokenizer(text.rstrip("."))["input_ids"] + ([1] if text.endswith(".") else [])]
    ]
    with Grader() as grader:
        return verify(prompts, responses, tokenizer, grader, make_config(**settings))


def test_equal_rewards_have_advantage_zero_and_count_as_without_variance(make_config):
    groups = verified(["Answer:3.", "so Answer:3.", "no.", "Answer:33."], make_config)
    experience = experience_of(groups, torch.device("cpu"))
    assert experience.rewards.tolist() == [1, 1, -1, -1]
    assert torch.equal(experience.advantages, torch.zeros(4))
    assert experience.metrics()["reward/zero_variance_fraction"] == 1
    assert experience.metrics()["reward/mean"] == 0


def test_the_length_punishment_gives_a_group_of_right_answers_variance(make_config):
    # The limit is 16 tokens: the second answer has 14, half of the buffer.
    settings = {"reward": {"overlong_buffer": 4, "overlong_factor": 0.5}}
    [group] = verified(["Answer:3.", " " * 8 + "so Answer:3."], make_config, **settings)
    assert [len(response.tokens) for response in group.responses] == [3, 14]
    assert group.rewards.tolist() == [1, 0.75]
    assert group.has_variance
    assert not verified(["Answer:3.", " " * 8 + "so Answer:3."], make_config)[0].has_variance


def test_one_token_responses_make_a_batch(make_config):
    groups = verified([".", "3", "3", "."], make_config)
    assert [[len(response.tokens) for response in group.responses] for group in groups] == [[1, 1], [1, 1]]
    experience = experience_of(groups, torch.device("cpu"))
    assert experience.sequences.mask.tolist() == [[True]] * 4
    assert experience.completions == ["", "3", "3", ""]
    metrics = experience.metrics()
    assert (metrics["rollout/length_mean"], metrics["rollout/length_max"]) == (1, 1)
    assert metrics["rollout/truncated_fraction"] == 0.5


class AskedEngine:
    """Answers every prompt with its own first token, and remembers how it was asked."""

    def __init__(self):
        self.asked = []

    def generate(self, prompts, sampling):
        self.asked.append(sampling)
        return [[Response([tokens[0]], [-1.0], True)] * sampling.samples for tokens in prompts]


def test_every_seed_step_and_round_samples_with_a_seed_of_its_own_and_repeats_it(make_config):
    engine = AskedEngine()
    prompts = [Prompt(item("a", "1"), [7, 8]), Prompt(item("b", "1"), [9])]
    for _ in range(2):
        for seed in (0, 1):
            config = make_config().model_copy(update={"seed": seed})
            for step in (1, 2, 11):
                for further_round in (0, 1, 2):
                    responses = sample_responses(engine, prompts, config, step, further_round)
    assert [response.tokens for response in responses] == [[7], [7], [9], [9]]
    seeds = [sampling.seed for sampling in engine.asked]
    assert seeds[:18] == seeds[18:]
    assert len(set(seeds)) == 18


def test_training_samples_from_the_policy_itself_at_the_configured_temperature(make_config):
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 3, "max_response_tokens": 5, "temperature": 0.6}
    engine = AskedEngine()
    sample_responses(engine, [Prompt(item("a", "1"), [7])], make_config(rollout=rollout, evaluation={"top_p": 0.3}), 1)
    [sampling] = engine.asked
    assert (sampling.samples, sampling.max_tokens, sampling.temperature, sampling.top_p) == (3, 5, 0.6, 1.0)
