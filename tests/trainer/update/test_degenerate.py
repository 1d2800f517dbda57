"""Batches at the edge: NaN in padding, single tokens, sequences shorter than the depths, nothing counted, nothing to prefer."""

import copy
import itertools
import math

import pytest
import torch
from update_phases import REGIMES, Phase, same

from trainer.models.joint import Sequences
from trainer.objectives.algorithms import ALGORITHMS
from trainer.rollout.collect import Experience
from trainer.update.minibatch import OldLogProbs

EVERYWHERE = pytest.mark.parametrize(("name", "algorithm"), list(itertools.product(REGIMES, ALGORITHMS)))


def experience_of(sequences: Sequences, advantages: list[float]) -> Experience:
    values = torch.tensor(advantages)
    return Experience([], [], [], [], sequences, values, values, torch.zeros(sequences.mask.shape))


def short(depth_predictions: bool) -> Sequences:
    """8 sequences of one or two tokens of prompt and of response; without depth predictions, of one token each."""
    tokens = torch.randint(2, 24, (8, 4), generator=torch.Generator().manual_seed(4))
    prompts, responses = torch.ones(2, 8, dtype=torch.long)
    if depth_predictions:
        prompts, responses = torch.tensor([1, 2, 1, 2, 1, 1, 2, 1]), torch.tensor([2, 1, 1, 2, 2, 1, 1, 2])
    return Sequences(tokens, prompts, torch.arange(2) < responses[:, None])


def assert_finite(phase: Phase, metrics: list[dict]) -> None:
    assert all(math.isfinite(value) for values in metrics for value in values.values()), metrics
    assert all(tensor.isfinite().all() for tensor in phase.joint.state_dict().values())


@EVERYWHERE
def test_without_a_token_that_the_heads_predict_every_regime_is_off(make_joint, make_config, name, algorithm):
    # A place before k + 1 has no depth-k prediction: with prompts and responses of one token there is none at all.
    batch = short(depth_predictions=False)
    batch.mask[2] = False  # and a row that counts nothing
    experience = experience_of(batch, [1.0, -1.0, 0.5, -0.5, -0.3, 0.3, 0.7, -0.7])
    joint = make_joint(3)
    off = Phase(joint, make_config({"kind": "off"}, algorithm))
    off.run(experience)
    phase = Phase(joint, make_config(REGIMES[name], algorithm))
    assert_finite(phase, phase.run(experience))
    assert same(phase.state("trunk"), off.state("trunk"))
    assert not same(phase.state("trunk"), joint.trunk.state_dict())
    assert same(phase.state("mtp"), joint.mtp.state_dict())


@EVERYWHERE
def test_where_all_rewards_of_a_group_are_equal_only_cross_entropy_teaches(make_joint, make_config, name, algorithm):
    # Two tokens of response at most, so that depth 3 has nothing to predict in most rows, and some depths nothing in a mini-batch.
    joint = make_joint(3)
    phase = Phase(joint, make_config(REGIMES[name], algorithm))
    assert_finite(phase, phase.run(experience_of(short(depth_predictions=True), [0.0] * 8)))
    assert same(phase.state("trunk"), joint.trunk.state_dict()) == (name != "ce")
    assert same(phase.state("mtp"), joint.mtp.state_dict()) == (name not in ("ce", "detach"))


@pytest.mark.parametrize(("name", "algorithm"), zip(REGIMES, itertools.cycle(["gspo", "dapo", "grpo"]), strict=False))
def test_what_stands_in_padding_changes_no_bit_of_an_update(make_joint, make_config, experience, name, algorithm):
    results = []
    for spoiled in (False, True):
        config = make_config(REGIMES[name], algorithm, update={"mini_batches": 2, "micro_batch_sequences": 3})
        phase = Phase(make_joint(2), config)
        given, old = copy.deepcopy(experience), phase.updater.old_log_probs(experience.sequences)
        if spoiled:
            given, old = with_nan(phase.joint, given, old)
        metrics = list(phase.updater.run(given, old))
        results.append((phase.joint.state_dict(), metrics))
    assert_finite(phase, metrics)
    assert same(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def with_nan(joint, experience, old):
    """NaN wherever a phase reads a padded number (a depth's padding holds the response tokens that it cannot predict), other tokens
    in the place of padding."""
    sequences = experience.sequences
    ends = sequences.prompt_lengths + sequences.mask.sum(1)
    inside = torch.arange(sequences.tokens.shape[1]) < ends[:, None]
    noise = torch.randint(2, 24, sequences.tokens.shape, generator=torch.Generator().manual_seed(6))
    masks = joint.depth_masks(sequences)[: len(old.mtp)]
    spoiled = OldLogProbs(torch.where(sequences.mask, old.main, torch.nan), torch.where(masks, old.mtp, torch.nan))
    assert not inside.all()
    assert spoiled.main.isnan().any()
    given = Experience(
        [],
        [],
        [],
        [],
        sequences._replace(tokens=torch.where(inside, sequences.tokens, noise)),
        experience.rewards,
        experience.advantages,
        torch.where(sequences.mask, experience.engine_log_probs, torch.nan),
    )
    return given, spoiled
