"""Dynamic sampling: which groups train, what was sampled for them, and that it repeats."""

from collections import Counter

import pytest
import torch

from trainer.rollout import dynamic
from trainer.rollout.collect import Group, experience_of
from trainer.rollout.engine import Response
from trainer.rollout.prompts import Prompt, further_prompts, prompts_of_step
from trainer.tasks import Grade, Item

STEP, PROMPTS = 3, 8


def prompts(count: int) -> list[Prompt]:
    return [Prompt(Item(str(n), f"{n}=", "0", f"{n}="), [n + 2]) for n in range(count)]


def group(prompt: Prompt, rewards: list[float]) -> Group:
    responses = [Response([2, 1], [-1.0, -1.0], False) for _ in rewards]
    grades = [Grade(value > 0, "", "") for value in rewards]
    return Group(prompt, responses, ["x"] * len(rewards), grades, torch.tensor(rewards, dtype=torch.float))


class Sampler:
    """Gives groups with variance to the prompts that are named, and remembers what it was asked for."""

    def __init__(self, varied: set[str]):
        self.varied = varied
        self.rounds: list[list[str]] = []

    def __call__(self, asked: list[Prompt], sampling_round: int) -> list[Group]:
        assert sampling_round == len(self.rounds)
        self.rounds.append([prompt.item.id for prompt in asked])
        return [group(prompt, [1, -1] if prompt.item.id in self.varied else [1, 1]) for prompt in asked]


@pytest.fixture
def config(make_config):
    def make(rounds: int):
        rollout = {"prompts_per_step": PROMPTS, "samples_per_prompt": 2, "dynamic_sampling_rounds": rounds}
        return make_config(rollout=rollout)

    return make


def ids(groups) -> list[str]:
    return [group.prompt.item.id for group in groups]


def of_step(data, config) -> list[str]:
    return [prompt.item.id for prompt in prompts_of_step(data, config.seed, STEP, PROMPTS)]


def order_of_others(data, config) -> list[str]:
    return [prompt.item.id for prompt in further_prompts(data, config.seed, STEP, PROMPTS)]


def test_a_group_has_variance_where_any_reward_is_another_one():
    [prompt] = prompts(1)
    rewards = {(1, 1, 1): False, (1, -1, 1): True, (1, 1, -1): True, (-1, 1, 1): True, (0.5,): False}
    for given, varies in rewards.items():
        assert group(prompt, list(given)).has_variance == varies


def test_switched_off_the_step_is_its_own_prompts_whatever_their_rewards(config):
    data = prompts(40)
    sampler = Sampler(set())
    groups = dynamic.sample_step(data, config(0), STEP, sampler)
    assert sampler.rounds == [of_step(data, config(0))]
    assert groups.rounds == 1
    assert ids(groups.batch) == ids(groups.sampled) == sampler.rounds[0]


def test_groups_without_variance_are_replaced_in_their_places_and_no_more_is_sampled_than_is_missing(config):
    data = prompts(40)
    first, others = of_step(data, config(3)), order_of_others(data, config(3))
    # The first, third and fourth place are empty; of the three others asked for, the second is no good; the next one is.
    sampler = Sampler(({*first} - {first[0], first[2], first[3]}) | {others[0], others[2], others[3]})
    groups = dynamic.sample_step(data, config(3), STEP, sampler)
    assert sampler.rounds == [first, others[:3], others[3:4]]
    assert groups.rounds == 3
    assert ids(groups.batch) == [others[0], first[1], others[2], others[3], *first[4:]]
    assert ids(groups.sampled) == [*first, *others[:4]]


def test_no_further_round_is_made_where_every_group_has_variance(config):
    data = prompts(40)
    groups = dynamic.sample_step(data, config(3), STEP, sampler := Sampler({str(n) for n in range(40)}))
    assert len(sampler.rounds) == groups.rounds == 1


def test_what_is_missing_after_the_last_round_keeps_the_groups_of_the_first_spread_over_the_step(config):
    data = prompts(400)
    first, others = of_step(data, config(2)), order_of_others(data, config(2))
    sampler = Sampler({others[0], others[9]})
    groups = dynamic.sample_step(data, config(2), STEP, sampler)
    assert list(map(len, sampler.rounds)) == [8, 8, 7]
    # One found group in each half of the step, so that two mini-batches learn equally much.
    assert ids(groups.batch) == [others[0], *first[1:4], others[9], *first[5:]]
    metrics = dynamic.metrics(experience_of(groups.batch, torch.device("cpu"), sampled=groups.sampled, rounds=3))
    assert metrics == {
        "rollout/sampling_rounds": 3,
        "rollout/prompts_sampled": 23,
        "rollout/groups_discarded": 15,
        "rollout/groups_unreplaced": 6,
    }


def test_a_data_set_without_other_prompts_ends_the_rounds(config):
    data = prompts(PROMPTS + 4)
    sampler = Sampler(set())
    groups = dynamic.sample_step(data, config(10), STEP, sampler)
    assert list(map(len, sampler.rounds)) == [8, 4]
    assert len({name for names in sampler.rounds for name in names}) == 12
    assert ids(groups.batch) == sampler.rounds[0]
    only = prompts(PROMPTS)
    assert dynamic.sample_step(only, config(10), STEP, Sampler(set())).rounds == 1


def test_further_prompts_are_all_the_others_in_an_order_of_seed_and_step():
    data = prompts(50)
    others = further_prompts(data, 7, STEP, PROMPTS)
    step = prompts_of_step(data, 7, STEP, PROMPTS)
    assert Counter(p.item.id for p in [*others, *step]) == Counter(p.item.id for p in data)
    assert further_prompts(data, 7, STEP, PROMPTS) == others
    assert further_prompts(data, 8, STEP, PROMPTS) != others
    later = further_prompts(data, 7, STEP + 1, PROMPTS)
    common = {p.item.id for p in others} & {p.item.id for p in later}
    assert [p.item.id for p in others if p.item.id in common] != [p.item.id for p in later if p.item.id in common]


def test_rewards_and_lengths_are_measured_over_everything_that_was_sampled_and_the_batch_is_what_trains(config):
    right, wrong, mixed, other = (
        group(prompt, rewards) for prompt, rewards in zip(prompts(4), ([1, 1], [-1, -1], [1, -1], [-1, 1]), strict=True)
    )
    experience = experience_of([other, mixed], torch.device("cpu"), sampled=[right, wrong, mixed, other], rounds=2)
    assert experience.rewards.tolist() == [-1, 1, 1, -1]
    assert (experience.advantages != 0).all()
    assert experience.metrics()["reward/zero_variance_fraction"] == 0.5
    assert experience.metrics()["reward/accuracy"] == 0.5
    assert experience.sampled_tokens == 16
    filtered = experience_of([mixed], torch.device("cpu"), sampled=[right, right, mixed])
    assert filtered.metrics()["reward/accuracy"] == pytest.approx(5 / 6)
    assert filtered.metrics()["reward/mean"] == pytest.approx(2 / 3)
