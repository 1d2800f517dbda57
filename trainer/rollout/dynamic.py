"""Dynamic sampling (DAPO, arXiv 2503.14476, section 3.2): groups whose rewards are all equal make room for groups of further prompts.

Everything is a function of seed, step and parameters, so that a resumed run samples what the uninterrupted one would have sampled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trainer.config import RunConfig
from trainer.rollout.collect import Experience, Group
from trainer.rollout.prompts import Prompt, further_prompts, prompts_of_step

Sample = Callable[[list[Prompt], int], list[Group]]
"""(prompts, round) -> their groups; round 0 is the first one."""


class StepGroups(NamedTuple):
    """The groups of one step."""

    batch: list[Group]
    """What trains: one group per prompt of the step."""
    sampled: list[Group]
    """Everything that was sampled."""
    rounds: int
    """Rounds of sampling that were made."""


def sample_step(prompts: list[Prompt], config: RunConfig, step: int, sample: Sample) -> StepGroups:
    """Sample the step's prompts, then as many others as there are groups without variance, until the step is full of groups with
    variance, `rollout.dynamic_sampling_rounds` further rounds are made, or the data set has no other prompt.

    A found group takes the place of one without variance; where too few are found they are spread evenly, so that no
    mini-batch is left with nothing to learn from. The other places keep the group of the first round.
    """
    count = config.rollout.prompts_per_step
    first = sample(prompts_of_step(prompts, config.seed, step, count), 0)
    empty = [place for place, group in enumerate(first) if not group.has_variance]
    rounds, sampled = 1, list(first)
    found: list[Group] = []
    most = 1 + config.rollout.dynamic_sampling_rounds
    others = further_prompts(prompts, config.seed, step, count) if empty and most > 1 else []
    while others and len(found) < len(empty) and rounds < most:
        missing = len(empty) - len(found)
        groups = sample(others[:missing], rounds)
        others = others[missing:]
        rounds += 1
        sampled += groups
        found += [group for group in groups if group.has_variance]
    batch = list(first)
    for index, group in enumerate(found):
        batch[empty[index * len(empty) // len(found)]] = group
    return StepGroups(batch, sampled, rounds)


def metrics(experience: Experience) -> dict[str, float]:
    """What dynamic sampling did in a step."""
    groups = experience.rewards.view(len(experience.prompts), -1)
    return {
        "rollout/sampling_rounds": float(experience.rounds),
        "rollout/prompts_sampled": float(len(experience.sampled)),
        "rollout/groups_discarded": float(len(experience.sampled) - len(groups)),
        "rollout/groups_unreplaced": float((groups.amax(1) == groups.amin(1)).sum()),
    }
