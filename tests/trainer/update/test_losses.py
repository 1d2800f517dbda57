"""Which numbers each regime's loss is made of, depth by depth."""

import itertools

import pytest
import torch

from trainer.models.joint import Predictions
from trainer.objectives import policy_loss
from trainer.objectives.algorithms import ALGORITHMS
from trainer.update.losses import Losses
from trainer.update.minibatch import MiniBatch, OldLogProbs

COEFFICIENTS = torch.tensor([-0.4, 0.7], dtype=torch.float64)


@pytest.fixture
def batch(make_joint, sequences) -> MiniBatch:
    generator = torch.Generator().manual_seed(9)
    shape = sequences.mask.shape
    old = OldLogProbs(-torch.rand(shape, generator=generator), -torch.rand(2, *shape, generator=generator))
    advantages = torch.randn(len(sequences.mask), generator=generator)
    return MiniBatch.of(sequences, advantages, old, make_joint(2), ALGORITHMS["dapo"].reduction)


@pytest.fixture
def predictions(batch) -> Predictions:
    # Far enough from the old log-probs for every clip to fire.
    generator = torch.Generator().manual_seed(10)
    main = batch.old.main + 0.5 * torch.randn(batch.old.main.shape, generator=generator)
    mtp = batch.old.mtp + 0.5 * torch.randn(batch.old.mtp.shape, generator=generator)
    return Predictions(main, torch.zeros_like(main), {"all": mtp, "trunk": mtp, "heads": mtp})


@pytest.mark.parametrize(("ratio", "apply_to"), itertools.product(["main", "own"], ["advantages", "loss"]))
def test_occ_weighs_each_depth_with_its_own_coefficient_in_the_chosen_place(
    make_config, batch, predictions, ratio, apply_to
):
    config = make_config({"kind": "occ", "ratio": ratio, "apply_to": apply_to})
    expected = 0.0
    for k, coefficient in enumerate(COEFFICIENTS.tolist()):
        old = batch.old.main if ratio == "main" else batch.old.mtp[k]
        on_advantages, on_loss = (coefficient, 1.0) if apply_to == "advantages" else (1.0, coefficient)
        scaled = on_advantages * batch.advantages
        expected += on_loss * policy_loss("dapo", predictions.mtp[k], old, scaled, batch.depth_masks[k]) / 2
    assert Losses(config)(batch, predictions, COEFFICIENTS).regime.item() == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("ratio", ["main", "own"])
def test_policy_takes_its_ratio_to_the_chosen_log_probs(make_config, batch, predictions, ratio):
    config = make_config({"kind": "policy", "ratio": ratio})
    olds = [batch.old.main] * 2 if ratio == "main" else batch.old.mtp
    parts = [
        coefficient * policy_loss("dapo", mtp, old, batch.advantages, mask)
        for coefficient, mtp, old, mask in zip(COEFFICIENTS, predictions.mtp, olds, batch.depth_masks, strict=True)
    ]
    expected = float(sum(parts)) / 2
    assert Losses(config)(batch, predictions, COEFFICIENTS).regime.item() == pytest.approx(expected, rel=1e-5)


def test_cross_entropy_is_the_mean_over_depths_of_the_mean_over_tokens(make_config, batch, predictions):
    per_depth = [-mtp[mask].mean().item() for mtp, mask in zip(predictions.mtp, batch.depth_masks, strict=True)]
    ce = Losses(make_config({"kind": "ce"}))(batch, predictions, COEFFICIENTS)
    weighed = [value * weight for value, weight in zip(per_depth, COEFFICIENTS.tolist(), strict=True)]
    assert ce.regime.item() == pytest.approx(sum(weighed) / 2, rel=1e-5)
    assert ce.heads == 0
    detach = Losses(make_config({"kind": "detach"}, mtp={"head_loss_scale": 3.0}))(batch, predictions, COEFFICIENTS)
    assert detach.heads.item() == pytest.approx(3 * sum(per_depth) / 2, rel=1e-5)
    assert detach.regime == 0


def test_nan_in_a_depths_padding_changes_no_loss(make_config, batch, predictions):
    spoiled = torch.where(batch.depth_masks, predictions.mtp, torch.nan)
    assert spoiled.isnan().any()
    nan = predictions._replace(mtp_log_probs=dict.fromkeys(predictions.mtp_log_probs, spoiled))
    for regime in ({"kind": "ce"}, {"kind": "detach"}, {"kind": "policy"}):
        losses = Losses(make_config(regime))
        for mine, expected in zip(
            losses(batch, nan, COEFFICIENTS), losses(batch, predictions, COEFFICIENTS), strict=True
        ):
            assert torch.equal(mine, expected)


@pytest.mark.parametrize(
    ("algorithm", "setting"),
    [
        ("dapo", {"clip_ratio_high": 0.01}),
        ("dapo", {"dual_clip": 1.05}),
        ("grpo", {"dual_clip": 1.05}),
        ("grpo", {"clip_ratio_high": 0.01}),
        ("grpo", {"clip_ratio_low": 0.01}),
        ("gspo", {"clip_ratio_low": 0.2}),
    ],
)
def test_every_setting_of_an_algorithm_reaches_its_loss(make_config, batch, predictions, algorithm, setting):
    plain, changed = make_config(algorithm=algorithm), make_config(algorithm=algorithm)
    changed = changed.model_copy(update={"algorithm": changed.algorithm.model_copy(update=setting)})
    losses = [Losses(config).main(batch, predictions.log_probs + 0.3).item() for config in (plain, changed)]
    assert losses[0] != losses[1]
