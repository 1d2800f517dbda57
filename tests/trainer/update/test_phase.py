"""The update phase: which parameters move, by which coefficient, however the mini-batch is cut."""

import pytest
import torch
from update_phases import REGIMES, WARM, Phase, same

from trainer.models.joint import Sequences
from trainer.objectives import calibrate
from trainer.objectives.algorithms import ALGORITHMS
from trainer.objectives.coefficient import gain
from trainer.rollout.collect import Experience
from trainer.update.phase import warm_up


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_detach_moves_the_trunk_exactly_as_off_does(make_joint, make_config, experience, algorithm):
    joint = make_joint()
    off, detach = (Phase(joint, make_config({"kind": kind}, algorithm)) for kind in ("off", "detach"))
    off.run(experience)
    detach.run(experience)
    assert same(off.state("trunk"), detach.state("trunk"))
    assert same(off.state("mtp"), joint.mtp.state_dict())
    assert not same(detach.state("mtp"), joint.mtp.state_dict())


def first_gradients(module) -> dict:
    """Filled by the first backward pass to come: parameter name -> gradient."""
    kept: dict = {}
    for name, parameter in module.named_parameters():
        parameter.register_hook(lambda gradient, name=name: kept.setdefault(name, gradient.clone()))
    return kept


def test_the_trunks_gradients_under_detach_are_those_of_off_bit_for_bit(make_joint, make_config, experience):
    gradients = {}
    for kind in ("off", "detach", "ce"):
        phase = Phase(make_joint(), make_config({"kind": kind}))
        gradients[kind] = first_gradients(phase.joint.trunk)
        phase.run(experience)
    assert same(gradients["off"], gradients["detach"])
    assert not same(gradients["off"], gradients["ce"])


def test_a_large_head_gradient_does_not_shrink_the_trunks_step(make_joint, make_config, experience):
    # One shared clip would scale the policy's gradient down with the heads': SkyRL saw its update shrink 20-fold.
    off = Phase(make_joint(), make_config({"kind": "off"}))
    loud = Phase(make_joint(), make_config({"kind": "detach"}, mtp={"head_loss_scale": 1e4}))
    off.run(experience)
    norms = loud.run(experience)[0]
    assert norms["optim/grad_norm_head"] > 100 * norms["optim/grad_norm_trunk"]
    assert same(off.state("trunk"), loud.state("trunk"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", REGIMES | WARM)
def test_the_update_does_not_depend_on_how_a_mini_batch_is_cut(make_joint, make_config, experience, name, algorithm):
    results = {}
    for size in (4, 2, 1):
        regime = (REGIMES | WARM)[name]
        config = make_config(regime, algorithm, update={"mini_batches": 2, "micro_batch_sequences": size})
        phase = Phase(make_joint(2), config)
        metrics = [*phase.run(experience), *phase.run(experience)]
        results[size] = {**phase.joint.state_dict()}, metrics
    for size in (2, 1):
        for tensor, expected in zip(results[size][0].values(), results[4][0].values(), strict=True):
            torch.testing.assert_close(tensor, expected, rtol=2e-4, atol=2e-5)
        for metrics, expected in zip(results[size][1], results[4][1], strict=True):
            assert metrics.keys() == expected.keys()
            for key, value in metrics.items():
                assert value == pytest.approx(expected[key], rel=1e-2, abs=2e-5), key


@pytest.mark.parametrize(
    ("name", "algorithm"), [("ce", "gspo"), ("policy", "grpo"), ("occ-own", "gspo"), ("oracle", "dapo")]
)
def test_one_piece_of_eight_uneven_pieces_and_eight_pieces_of_one_are_one_update(
    make_joint, make_config, experience, name, algorithm
):
    results = {}
    for size in (8, 4, 3, 1):
        update = {"mini_batches": 1, "epochs": 2, "micro_batch_sequences": size}
        phase = Phase(make_joint(2), make_config(REGIMES[name], algorithm, update=update))
        phase.run(experience)
        results[size] = phase.joint.state_dict()
    for size in (4, 3, 1):
        for key, tensor in results[size].items():
            torch.testing.assert_close(tensor, results[8][key], rtol=2e-4, atol=2e-5, msg=f"{key}, pieces of {size}")


@pytest.mark.parametrize(
    ("reference", "estimator"), [("main", "ratio_of_sums"), ("own", "ratio_of_sums"), ("own", "token_mean")]
)
def test_occ_uses_the_calibrated_coefficient_and_zero_on_the_first_mini_batch(
    make_joint, make_config, experience, reference, estimator
):
    settings = {"estimator": estimator, "lambda_plus": 2.0, "eps": 1e-4}
    phase = Phase(make_joint(2), make_config({"kind": "occ", "reference": reference, **settings}))
    old = phase.updater.old_log_probs(experience.sequences)
    steps = phase.updater.run(experience, old)
    first = next(steps)
    assert first["mtp/coefficient"] == first["mtp/depth_2/coefficient"] == 0
    rows = slice(4, 8)
    batch = experience.sequences.rows(rows)
    with torch.no_grad():
        now = phase.joint(batch, 1.0, ("all",))
    second = next(steps)
    for k, prefix in enumerate(["mtp/", "mtp/depth_2/"]):
        of = {
            name: calibrate(
                now.log_probs,
                old.main[rows],
                now.mtp[k],
                phase.joint.depth_masks(batch)[k],
                old_mtp_log_probs=old.mtp[k, rows],
                reference=name,
                **settings,
            )
            for name in ("main", "own")
        }
        assert of[reference].coefficient != 0
        for name, value in of[reference]._asdict().items():
            assert second[prefix + name] == pytest.approx(float(value), rel=1e-5)
        for name, calibration in of.items():
            assert second[f"{prefix}coefficient_{name}"] == pytest.approx(calibration.coefficient.item(), rel=1e-5)


@pytest.mark.parametrize("reference", ["main", "own"])
def test_with_window_previous_the_coefficient_is_that_of_the_chosen_reference_in_the_mini_batch_before(
    make_joint, make_config, experience, reference
):
    update = {"mini_batches": 2, "epochs": 2}
    config = make_config({"kind": "occ", "window": "previous", "reference": reference}, update=update)
    steps = Phase(make_joint(), config).run(experience)
    both = [[step[f"mtp/coefficient_{name}"] for name in ("main", "own")] for step in steps]
    assert all(main != pytest.approx(own, rel=0.1) for main, own in both[1:])
    expected = [0, 0, *(step[f"mtp/coefficient_{reference}"] for step in steps[1:-1])]
    assert [step["mtp/coefficient"] for step in steps] == pytest.approx(expected)


def test_what_has_no_advantage_is_not_counted_as_clipped(make_joint, make_config, experience):
    # The advantages of the third pair of sequences are 0: they have no gradient, and clipping has nothing to do with it.
    phase = Phase(make_joint(), make_config({"kind": "off"}, update={"mini_batches": 1}))
    assert (experience.advantages == 0).any()
    assert phase.run(experience)[0]["policy/clip_fraction"] == 0


def test_with_window_micro_batch_every_piece_has_the_coefficient_of_its_own_tokens(make_joint, make_config, experience):
    update = {"mini_batches": 2, "micro_batch_sequences": 2}
    phase = Phase(make_joint(), make_config({"kind": "occ", "window": "micro_batch"}, update=update))
    old = phase.updater.old_log_probs(experience.sequences)
    steps = phase.updater.run(experience, old)
    next(steps)
    of_pieces = []
    for rows in (slice(4, 6), slice(6, 8)):
        batch = experience.sequences.rows(rows)
        with torch.no_grad():
            now = phase.joint(batch, 1.0, ("all",))
        mask = phase.joint.depth_masks(batch)[0]
        of_pieces.append(calibrate(now.log_probs, old.main[rows], now.mtp[0], mask).coefficient.item())
    assert of_pieces[0] != pytest.approx(of_pieces[1], rel=0.1)
    assert next(steps)["mtp/coefficient"] == pytest.approx(sum(of_pieces) / 2, rel=1e-4)


def test_the_coefficient_stays_inside_its_clip(make_joint, make_config, experience):
    phase = Phase(make_joint(), make_config({"kind": "occ", "reference": "own", "clip": [0.01, 0.02]}))
    assert 0.01 <= phase.run(experience)[1]["mtp/coefficient"] <= 0.02


@pytest.mark.parametrize("regime", [{"kind": "occ"}, {"kind": "occ", "exact_every": 1}, {"kind": "oracle"}])
def test_lambda_plus_zero_is_policy_with_coefficient_zero(make_joint, make_config, experience, regime):
    calibrated = Phase(make_joint(), make_config({**regime, "lambda_plus": 0}))
    policy = Phase(make_joint(), make_config({"kind": "policy", "coefficient": 0}))
    calibrated.run(experience)
    policy.run(experience)
    assert same(calibrated.joint.state_dict(), policy.joint.state_dict())


def test_with_head_loss_ce_the_heads_learn_as_under_detach_and_the_regime_moves_only_the_trunk(
    make_joint, make_config, experience
):
    joint = make_joint()
    detach = Phase(joint, make_config({"kind": "detach"}, update={"mini_batches": 1}))
    decoupled, coupled = (
        Phase(joint, make_config({"kind": "policy"}, update={"mini_batches": 1}, mtp={"head_loss": loss}))
        for loss in ("ce", "regime")
    )
    for phase in (detach, decoupled, coupled):
        phase.run(experience)
    assert same(decoupled.state("mtp"), detach.state("mtp"))
    assert not same(decoupled.state("mtp"), coupled.state("mtp"))
    for name, tensor in decoupled.state("trunk").items():
        torch.testing.assert_close(tensor, coupled.state("trunk")[name])
    assert not same(decoupled.state("trunk"), detach.state("trunk"))


def test_with_head_loss_none_the_heads_stay_as_they_were(make_joint, make_config, experience):
    joint = make_joint()
    phase = Phase(joint, make_config({"kind": "policy"}, mtp={"head_loss": "none"}))
    phase.run(experience)
    assert same(phase.state("mtp"), joint.mtp.state_dict())


def test_cross_entropy_counts_response_tokens_only(make_joint, make_config, experience):
    joint = make_joint()
    phase = Phase(joint, make_config({"kind": "detach"}, update={"mini_batches": 1}))
    batch = experience.sequences
    with torch.no_grad():
        out = joint(batch, 1.0, ("heads",))
    expected = -out.mtp[0][joint.depth_masks(batch)[0]].mean().item()
    assert phase.run(experience)[0]["mtp/loss"] == pytest.approx(expected, rel=1e-5)


def test_a_row_without_counted_tokens_and_equal_rewards_change_nothing(make_joint, make_config, experience):
    joint = make_joint()
    empty = experience.sequences.mask.clone()
    empty[3] = False
    sequences: Sequences = experience.sequences._replace(mask=empty)
    zero = torch.zeros(8)
    still = Experience([], [], [], [], sequences, zero, zero, experience.engine_log_probs)
    phase = Phase(joint, make_config({"kind": "policy"}))
    metrics = phase.run(still)
    assert same(phase.state("trunk"), joint.trunk.state_dict())
    assert metrics[0]["optim/grad_norm_trunk"] == 0


def test_warm_up_is_linear_and_then_constant():
    assert [warm_up(1.0, 4, update) for update in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert warm_up(1.0, 0, 0) == 1


def test_gradients_are_clipped_to_the_limit(make_joint, make_config, experience):
    joint = make_joint()
    settings = {"lr": 1.0, "warmup_steps": 0, "grad_clip": 1e-3}
    phase = Phase(joint, make_config({"kind": "ce"}, optimizer=settings, update={"mini_batches": 1}))
    (metrics,) = phase.run(experience)
    for part, name in (("trunk", "optim/grad_norm_trunk"), ("mtp", "optim/grad_norm_head")):
        before = dict(getattr(joint, part).named_parameters())  # a state dict would count tied weights twice
        after = getattr(phase.joint, part).named_parameters()
        moved = sum((tensor - before[key]).square().sum() for key, tensor in after) ** 0.5
        assert metrics[name] > 1e-2
        assert moved.item() == pytest.approx(1e-3, rel=1e-2)


def test_only_the_first_mini_batch_of_a_phase_has_coefficient_zero_whatever_the_epochs(
    make_joint, make_config, experience
):
    config = make_config({"kind": "occ", "reference": "own"}, update={"mini_batches": 2, "epochs": 2})
    coefficients = [metrics["mtp/coefficient"] for metrics in Phase(make_joint(), config).run(experience)]
    assert [value == 0 for value in coefficients] == [True, False, False, False]


def test_the_logged_gain_is_that_of_the_coefficient_used(make_joint, make_config, experience):
    config = make_config({"kind": "occ", "reference": "own", "lambda_plus": 3.0})
    metrics = Phase(make_joint(), config).run(experience)[1]
    expected = gain(metrics["mtp/coefficient"], metrics["mtp/c_hat"], metrics["mtp/v2_hat"], lambda_plus=3.0)
    assert metrics["mtp/gain"] == pytest.approx(expected)
    assert expected != 0


def test_the_learning_rate_warms_up_over_optimiser_steps(make_joint, make_config, experience):
    phase = Phase(make_joint(), make_config({"kind": "off"}, optimizer={"lr": 1e-3, "warmup_steps": 4}))
    rates = [metrics["optim/lr"] for metrics in [*phase.run(experience), *phase.run(experience)]]
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert phase.updater.optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)
