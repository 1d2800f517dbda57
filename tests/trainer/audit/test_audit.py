"""The audit: exact products across halves, the measured effect, and a run that does not notice it."""

import copy

import pytest
import torch
from accelerate import Accelerator

from trainer.audit.audit import Audit
from trainer.audit.effect import HeldOut, without_mtp
from trainer.audit.gradients import HalfGradients, products
from trainer.objectives.algorithms import policy_loss
from trainer.objectives.coefficient import gain
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.collect import Experience
from trainer.rollout.engine import Response
from trainer.update.phase import Updater

TEMPERATURE = 0.7


@pytest.fixture
def make_config(make_config):
    def make(regime, **sections):
        rollout = {"prompts_per_step": 4, "samples_per_prompt": 2, "temperature": TEMPERATURE}
        return make_config(regime, **{"rollout": rollout, **sections})

    return make


@pytest.fixture
def experience(sequences) -> Experience:
    """4 prompts x 2 samples."""
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.2, -0.2, -0.3, 0.3])
    responses = [Response([], [], False)] * 8
    return Experience(
        ["prompt"] * 4, responses, [], [], sequences, advantages, advantages, torch.zeros(sequences.mask.shape)
    )


@pytest.fixture
def start(make_joint):
    def make(config, depths=2):
        joint = make_joint(depths)
        joint.mtp.requires_grad_(config.trains_heads)
        if config.model.gradient_checkpointing:
            joint.recompute_blocks()
        trained = [parameter for parameter in joint.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3)
        return Updater(config, joint, optimizer, CoefficientTracker(config.regime, depths), Accelerator(cpu=True))

    return make


def audited(updater, experience, held_out):
    """The audit's metrics of one phase with two mini-batches, and those of its last optimiser step."""
    old = updater.old_log_probs(experience.sequences)
    audit = Audit(updater, experience, held_out)
    phase = updater.run(experience, old)
    next(phase)
    audit.before()
    metrics = next(phase)
    return audit.after(metrics), metrics


def loss_gradient(joint, rows, experience, old, form, k=0) -> torch.Tensor:
    """The gradient over the trunk of one loss (of the depth k + 1) on some rows alone, by a plain backward pass on a copy."""
    model = copy.deepcopy(joint)
    batch = experience.sequences.rows(rows)
    out = model(batch, TEMPERATURE, ("all",))
    advantages = experience.advantages[rows]
    if form == "rl":
        loss = policy_loss("dapo", out.log_probs, old.main[rows], advantages, batch.mask)
    elif form == "policy":
        mask = model.depth_masks(batch)[k]
        loss = policy_loss("dapo", out.mtp[k], old.main[rows], advantages, mask)
    else:
        loss = -out.mtp[k][model.depth_masks(batch)[k]].mean()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.trunk.parameters()]).double()


def test_products_are_those_of_plain_backward_passes_on_each_half(start, make_config, experience):
    config = make_config({"kind": "policy"})
    updater = start(config)
    old = updater.old_log_probs(experience.sequences)
    audit = Audit(updater, experience, experience)
    phase = updater.run(experience, old)
    next(phase)
    joint = copy.deepcopy(updater.joint)
    audit.before()
    found = audit.after(next(phase))
    whole, first, second = slice(4, 8), slice(4, 6), slice(6, 8)
    of = {
        (form, name): loss_gradient(joint, rows, experience, old, form)
        for form in ("rl", "policy", "ce")
        for name, rows in {"whole": whole, "first": first, "second": second}.items()
    }
    for form, prefix in (("policy", "audit/"), ("ce", "audit/ce_")):
        c = of["rl", "whole"] @ of[form, "whole"]
        crossed = (of["rl", "first"] @ of[form, "second"] + of["rl", "second"] @ of[form, "first"]) / 2
        rl, rl_crossed = of["rl", "whole"] @ of["rl", "whole"], of["rl", "first"] @ of["rl", "second"]
        expected = {
            "c": c,
            "v2": of[form, "whole"] @ of[form, "whole"],
            "c_cross": crossed,
            "signal": crossed / rl_crossed,
            "noise": (c - crossed) / (rl - rl_crossed),
        }
        for name, value in expected.items():
            assert found[prefix + name] == pytest.approx(value.item(), rel=1e-3), prefix + name
    v2 = of["policy", "whole"] @ of["policy", "whole"]
    assert found["audit/coefficient"] == pytest.approx(
        (of["rl", "whole"] @ of["policy", "whole"] / v2).item(), rel=1e-3
    )
    assert found["audit/v2_cross"] == pytest.approx((of["policy", "first"] @ of["policy", "second"]).item(), rel=1e-3)
    for half, name in ((1, "first"), (2, "second")):
        of_half = (of["rl", name] @ of["policy", name]) / (of["policy", name] @ of["policy", name])
        assert found[f"audit/coefficient_half_{half}"] == pytest.approx(of_half.item(), rel=1e-3)


def test_an_odd_number_of_prompts_is_halved_between_prompts_and_the_halves_weigh_what_they_hold(
    start, make_config, experience, sequences
):
    updater = start(make_config({"kind": "policy"}, update={"mini_batches": 1}))
    six = slice(0, 6)
    three_prompts = Experience(
        ["prompt"] * 3,
        experience.responses[six],
        [],
        [],
        sequences.rows(six),
        *[experience.advantages[six]] * 2,
        experience.engine_log_probs[six],
    )
    old = updater.old_log_probs(three_prompts.sequences)
    audit = Audit(updater, three_prompts, three_prompts)
    joint = copy.deepcopy(updater.joint)
    audit.before()
    (metrics,) = updater.run(three_prompts, old)
    found = audit.after(metrics)
    rl, mtp = (
        [loss_gradient(joint, rows, three_prompts, old, form) for rows in (slice(0, 2), slice(2, 6), six)]
        for form in ("rl", "policy")
    )
    assert found["audit/c_cross"] == pytest.approx(((rl[0] @ mtp[1] + rl[1] @ mtp[0]) / 2).item(), rel=1e-3)
    assert found["audit/c"] == pytest.approx((rl[2] @ mtp[2]).item(), rel=1e-3)
    assert found["audit/v2"] == pytest.approx((mtp[2] @ mtp[2]).item(), rel=1e-3)


@pytest.mark.parametrize("settings", [{}, {"estimator": "token_mean", "lambda_plus": 2.0, "eps": 1e-3}])
def test_a_proxy_is_the_coefficient_that_occ_would_use_on_the_same_mini_batch(start, make_config, experience, settings):
    found, metrics = audited(
        start(make_config({"kind": "occ", "reference": "own", **settings})), experience, experience
    )
    for prefix, name in (("", "coefficient"), ("depth_2/", "depth_2/coefficient")):
        assert metrics[f"mtp/{name}"] != 0
        assert found[f"audit/{prefix}proxy_own"] == pytest.approx(metrics[f"mtp/{name}"], rel=1e-5)
        assert found[f"audit/{prefix}proxy_main"] == pytest.approx(metrics[f"mtp/{prefix}coefficient_main"], rel=1e-5)


@pytest.mark.parametrize("estimator", ["ratio_of_sums", "token_mean"])
def test_exact_coefficients_and_the_cosine_are_made_of_the_products_with_the_settings_of_the_regime(
    start, make_config, experience, estimator
):
    # eps as large as v2, so that it cannot be left out.
    plain, _ = audited(start(make_config({"kind": "policy", "coefficient": 0.0})), experience, experience)
    settings = {"lambda_plus": 2.0, "eps": plain["audit/v2"], "estimator": estimator}
    found, _ = audited(start(make_config({"kind": "occ", **settings})), experience, experience)
    for prefix in ("audit/", "audit/depth_2/"):
        c, v2 = found[f"{prefix}c"], found[f"{prefix}v2"]
        assert found[f"{prefix}coefficient"] == pytest.approx(2 * c / (v2 + settings["eps"]))
        crossed = 2 * found[f"{prefix}c_cross"] / (v2 + settings["eps"])
        assert found[f"{prefix}coefficient_cross"] == pytest.approx(crossed)
        assert found[f"{prefix}cosine"] == pytest.approx(c / (found["audit/g_rl_squared"] * v2) ** 0.5)
        assert c != 0


def test_noise_that_both_gradients_share_counts_in_c_and_not_across_the_halves():
    generator = torch.Generator().manual_seed(0)
    signal, shared = torch.randn(3000, generator=generator), torch.randn(2, 3000, generator=generator)
    halves = [HalfGradients([signal + 3 * noise, 0.5 * signal + 6 * noise], [0.5, 0.5]) for noise in shared]
    measured = products(*halves, 1)
    assert measured.signal == pytest.approx(0.5, abs=0.2)
    assert measured.noise == pytest.approx(2.0, abs=0.1)
    assert measured.c > 3 * measured.c_cross


@pytest.mark.parametrize("regime", ["ce", "policy", "occ", "oracle"])
def test_the_effect_is_the_objective_after_the_step_minus_that_after_the_same_step_without_the_mtp_part(
    start, make_config, experience, sequences, regime
):
    updater = start(make_config({"kind": regime}))
    held_out = Experience(
        ["prompt"] * 4,
        experience.responses,
        [],
        [],
        sequences.rows(torch.arange(7, -1, -1)),
        *[experience.advantages.flip(0)] * 2,
        experience.engine_log_probs,
    )
    start_state = copy.deepcopy(updater.joint)
    off = start(make_config({"kind": "off"}))
    found, metrics = audited(updater, experience, held_out)
    # By hand: the first update as in the run, the second without any MTP loss.
    again = start(updater.config)
    old = again.old_log_probs(experience.sequences)
    next(again.run(experience, old))
    off.joint.load_state_dict(again.joint.state_dict())
    state = again.optimizer.state_dict()["state"]  # numbered in the order of the parameters, the trunk's first
    for index, parameter in enumerate(off.joint.trunk.parameters()):
        off.optimizer.state[parameter] = copy.deepcopy(state[index])
    off.updates = 1
    off.step(again.mini_batch(experience, old, 1).without_mtp(), first_of_phase=False)

    def objective(joint):
        now = joint(held_out.sequences, TEMPERATURE).log_probs.double()
        then = start_state(held_out.sequences, TEMPERATURE).log_probs.double()
        return -policy_loss("dapo", now, then, held_out.advantages.double(), held_out.sequences.mask).item()

    expected = objective(updater.joint) - objective(off.joint)
    assert expected != 0
    assert found["audit/measured_change"] == pytest.approx(expected, rel=1e-2, abs=1e-9)
    assert metrics["mtp/coefficient"] != 0


def test_the_predicted_change_is_the_formula_on_the_mtp_gradient_of_all_depths(start, make_config, experience):
    found, metrics = audited(
        start(make_config({"kind": "policy", "coefficient": 0.5}), depths=1), experience, experience
    )
    per_unit = gain(0.5, found["audit/c_cross"], found["audit/v2"])
    assert found["audit/predicted_change"] == pytest.approx(metrics["optim/lr"] * per_unit, rel=1e-5)


def test_the_predicted_change_of_several_depths_is_that_of_the_mean_of_their_weighed_gradients(
    start, make_config, experience
):
    updater = start(make_config({"kind": "occ", "reference": "own", "lambda_plus": 2.0}))
    old = updater.old_log_probs(experience.sequences)
    audit = Audit(updater, experience, experience)
    phase = updater.run(experience, old)
    next(phase)
    joint = copy.deepcopy(updater.joint)
    audit.before()
    metrics = next(phase)
    found = audit.after(metrics)
    coefficients = [metrics["mtp/coefficient"], metrics["mtp/depth_2/coefficient"]]
    assert coefficients[0] != pytest.approx(coefficients[1], rel=0.1)

    def mtp_part(rows):
        gradients = [loss_gradient(joint, rows, experience, old, "policy", k) for k in range(2)]
        return sum(c * gradient for c, gradient in zip(coefficients, gradients, strict=True)) / 2

    first, second = slice(4, 6), slice(6, 8)
    rl = [loss_gradient(joint, rows, experience, old, "rl") for rows in (first, second)]
    c = (rl[0] @ mtp_part(second) + rl[1] @ mtp_part(first)) / 2
    v2 = mtp_part(slice(4, 8)).square().sum()
    expected = metrics["optim/lr"] * gain(1.0, float(c), float(v2), 2.0)
    assert found["audit/predicted_change"] == pytest.approx(expected, rel=1e-3)


def test_the_predicted_change_under_ce_is_that_of_the_cross_entropy_form(start, make_config, experience):
    found, metrics = audited(start(make_config({"kind": "ce", "coefficient": 0.5}), depths=1), experience, experience)
    per_unit = gain(0.5, found["audit/ce_c_cross"], found["audit/ce_v2"])
    assert found["audit/predicted_change"] == pytest.approx(metrics["optim/lr"] * per_unit, rel=1e-5)


def test_an_mtp_part_of_weight_zero_has_no_effect_at_all(start, make_config, experience):
    # The step without the MTP part is then the run's own step: the same learning rate, clip and state of the optimiser.
    optimizer = {"lr": 1e-2, "warmup_steps": 5, "weight_decay": 0.1}
    config = make_config({"kind": "policy", "coefficient": 0.0}, mtp={"head_loss": "ce"}, optimizer=optimizer)
    found, metrics = audited(start(config), experience, experience)
    assert metrics["optim/lr"] == pytest.approx(4e-3)
    assert found["audit/measured_change"] == found["audit/predicted_change"] == 0


def test_the_predicted_change_is_per_unit_of_the_learning_rate_of_that_step(start, make_config, experience):
    config = make_config({"kind": "policy"}, optimizer={"lr": 1e-2, "warmup_steps": 5})
    found, metrics = audited(start(config, depths=1), experience, experience)
    assert metrics["optim/lr"] == pytest.approx(4e-3)
    per_unit = gain(1.0, found["audit/c_cross"], found["audit/v2"])
    assert found["audit/predicted_change"] == pytest.approx(4e-3 * per_unit, rel=1e-5)


@pytest.mark.parametrize("regime", ["off", "detach"])
def test_where_no_mtp_loss_reaches_the_trunk_there_is_no_effect_to_measure(start, make_config, experience, regime):
    found, _ = audited(start(make_config({"kind": regime})), experience, experience)
    assert {"audit/c", "audit/depth_2/ce_signal", "audit/proxy_main", "audit/proxy_own"} <= found.keys()
    assert not {"audit/predicted_change", "audit/measured_change"} & found.keys()


def test_measuring_without_the_mtp_part_leaves_model_and_optimiser_alone(start, make_config, experience):
    updater = start(make_config({"kind": "occ"}))
    old = updater.old_log_probs(experience.sequences)
    next(updater.run(experience, old))
    before = copy.deepcopy((updater.joint.state_dict(), updater.optimizer.state_dict(), updater.tracker.state()))
    held_out = HeldOut(updater, experience)
    with without_mtp(updater, updater.mini_batch(experience, old, 1)) as joint:
        held_out.objective(joint)
        without = copy.deepcopy(joint.state_dict())
    after = (updater.joint.state_dict(), updater.optimizer.state_dict(), updater.tracker.state())
    assert all(torch.equal(before[0][name], tensor) for name, tensor in after[0].items())
    assert before[2] == after[2]
    for one, other in zip(before[1]["state"].values(), after[1]["state"].values(), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert not all(torch.equal(before[0][name], tensor) for name, tensor in without.items())
    assert all(parameter.grad is None for parameter in updater.joint.parameters())
    assert updater.updates == 1


@pytest.mark.parametrize("regime", ["detach", "occ", "oracle"])
def test_an_audit_of_blocks_that_run_again_measures_the_same_bit_for_bit(start, make_config, experience, regime):
    found = [
        audited(
            start(make_config({"kind": regime}, model={"path": "-", "gradient_checkpointing": again})),
            experience,
            experience,
        )
        for again in (False, True)
    ]
    assert found[0] == found[1]
    assert any(name.startswith("audit/") for name in found[0][0])
