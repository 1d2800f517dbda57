"""c and v2 from exact gradients, against gradients taken one loss at a time."""

import copy

import pytest
import torch
from update_phases import Phase

from trainer.objectives.algorithms import ALGORITHMS, policy_loss
from trainer.objectives.coefficient import gain
from trainer.update.exact import dot, exact_sums, shared_gradients
from trainer.update.losses import Losses

TEMPERATURE = 0.7
RATIOS = ("main", "own")


def gradient_of(joint, loss_of) -> torch.Tensor:
    """The gradient of one loss over the trunk's parameters, by a plain backward pass through a copy of the whole model."""
    model = copy.deepcopy(joint)
    loss_of(model).backward()
    shared = model.trunk.parameters()
    return torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in shared])


@pytest.fixture
def moved(make_joint, make_config, experience):
    """An updater whose parameters have left those of the phase's start, and its second mini-batch."""

    def make(algorithm: str, ratio: str):
        config = make_config(
            {"kind": "oracle", "ratio": ratio},
            algorithm,
            rollout={
                "prompts_per_step": 4,
                "samples_per_prompt": 2,
                "max_response_tokens": 16,
                "temperature": TEMPERATURE,
            },
            update={"mini_batches": 2},
            optimizer={"lr": 1e-5, "warmup_steps": 0},  # so little that gspo's narrow clip leaves some gradient
        )
        phase = Phase(make_joint(2), config)
        old = phase.updater.old_log_probs(experience.sequences)
        phase.updater.step(phase.updater.mini_batch(experience, old, 0), first_of_phase=True)
        return phase, phase.updater.mini_batch(experience, old, 1)

    return make


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_oracles_coefficient_is_c_over_v2_of_plain_backward_passes(moved, algorithm, ratio):
    phase, batch = moved(algorithm, ratio)
    settings = phase.updater.config.algorithm.model_dump(exclude={"kind"})

    def rl(model):
        out = model(batch.sequences, TEMPERATURE)
        return policy_loss(algorithm, out.log_probs, batch.old.main, batch.advantages, batch.sequences.mask, **settings)

    def mtp(model, k):
        out = model(batch.sequences, TEMPERATURE, ("all",))
        old = batch.old.main if ratio == "main" else batch.old.mtp[k]
        return policy_loss(algorithm, out.mtp[k], old, batch.advantages, batch.depth_masks[k], **settings)

    g_rl = gradient_of(phase.joint, rl)
    g_mtp = [gradient_of(phase.joint, lambda model, k=k: mtp(model, k)) for k in range(2)]
    measured = phase.updater.step(batch, first_of_phase=False)
    for g, prefix in zip(g_mtp, ["mtp/", "mtp/depth_2/"], strict=True):
        c, v2 = (g_rl.double() @ g.double()).item(), (g.double() @ g.double()).item()
        assert v2 > 0
        assert measured[f"{prefix}c"] == pytest.approx(c, rel=1e-4, abs=1e-9 * v2)
        assert measured[f"{prefix}v2"] == pytest.approx(v2, rel=1e-4)
        assert measured[f"{prefix}coefficient"] == pytest.approx(c / (v2 + 1e-8), rel=1e-4)
        expected_gain = (c * c / v2 - c * c / v2 / 2) / 2
        assert measured[f"{prefix}gain"] == pytest.approx(expected_gain, rel=1e-3)


def test_a_product_keeps_what_is_left_where_its_terms_nearly_cancel():
    huge = torch.tensor([1e6, 1.0, 1e6])
    assert dot(huge, torch.tensor([1e6, 1.0, -1e6])) == 1


def test_exact_gradients_are_those_of_the_whole_mini_batch_however_it_is_cut(moved):
    phase, batch = moved("gspo", "own")
    losses = Losses(phase.updater.config)
    results = []
    for size in (4, 2, 1):
        pieces = [batch.rows(slice(start, start + size)) for start in range(0, 4, size)]
        world = phase.updater.world
        results.append(shared_gradients(phase.joint, phase.joint, pieces, TEMPERATURE, losses.exact_terms, world))
    for other in results[1:]:
        for vector, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-6)


def test_measuring_leaves_no_gradient_behind_and_a_batch_without_tokens_has_none(moved):
    phase, batch = moved("dapo", "main")
    losses = Losses(phase.updater.config)
    nothing = batch._replace(
        sequences=batch.sequences._replace(mask=torch.zeros_like(batch.sequences.mask)),
        depth_masks=torch.zeros_like(batch.depth_masks),
    )
    for pieces in ([batch], [nothing]):
        world = phase.updater.world
        vectors = shared_gradients(phase.joint, phase.joint, pieces, TEMPERATURE, losses.exact_terms, world)
    assert [dot(vector, vector) for vector in vectors] == [0, 0, 0]
    assert all(parameter.grad is None for parameter in phase.joint.parameters())


def test_the_oracle_moves_the_trunk_as_policy_does_at_the_same_coefficient(make_joint, make_config, experience):
    joint = make_joint()
    one = {"mini_batches": 1}
    oracle = Phase(joint, make_config({"kind": "oracle"}, update=one))
    (metrics,) = oracle.run(experience)
    policy = Phase(joint, make_config({"kind": "policy", "coefficient": metrics["mtp/coefficient"]}, update=one))
    policy.run(experience)
    assert metrics["mtp/coefficient"] != 0
    for name, tensor in oracle.joint.state_dict().items():
        torch.testing.assert_close(tensor, policy.joint.state_dict()[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("update", [{"mini_batches": 2}, {"mini_batches": 2, "micro_batch_sequences": 2}])
def test_one_forward_pass_of_each_piece_gives_the_oracle_its_coefficient_and_its_update(
    make_joint, make_config, experience, update
):
    phase = Phase(make_joint(2), make_config({"kind": "oracle"}, update=update))
    old = phase.updater.old_log_probs(experience.sequences)
    batch = phase.updater.mini_batch(experience, old, 0)
    passes = []
    phase.joint.register_forward_hook(lambda *_: passes.append(1))
    phase.updater.step(batch, first_of_phase=True)
    assert len(passes) == len(phase.updater.pieces(batch))


@pytest.mark.parametrize("lambda_plus", [0.0, 0.3, 1.0, 4.0])
def test_on_a_quadratic_lambda_is_the_closed_form_the_best_of_all_coefficients_and_gains_what_is_predicted(lambda_plus):
    # J(theta) = -L/2 |theta - optimum|^2 is exactly as smooth as the bound assumes; the MTP loss is another function of theta.
    smoothness = 4.0
    eta = 1 / (smoothness * (1 + lambda_plus))
    theta, optimum, pull = torch.randn(3, 12, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    theta.requires_grad_()

    def objective(point):
        return -smoothness / 2 * (point - optimum).square().sum()

    losses = (-objective(theta), (pull * theta).sum() + theta.square().sum() / 3)
    g_rl, g_mtp = (torch.autograd.grad(loss, theta)[0] for loss in losses)
    sums = exact_sums(g_rl, g_mtp)
    chosen = sums.coefficient("ratio_of_sums", lambda_plus, 1e-12).item()

    def change(coefficient):
        start = theta.detach()
        return (objective(start - eta * (g_rl + coefficient * g_mtp)) - objective(start - eta * g_rl)).item()

    c, v2 = (g_rl * g_mtp).sum().item(), g_mtp.square().sum().item()
    assert abs(c) > 0.1
    assert chosen == pytest.approx((1 - smoothness * eta) / (smoothness * eta) * c / v2, abs=1e-9)
    others = [chosen + distance for distance in torch.linspace(-3, 3, 61).tolist() if abs(distance) > 1e-6]
    assert all(change(other) < change(chosen) for other in others)
    for coefficient in (chosen, -chosen, 0.7, -2.0):
        predicted = eta * gain(coefficient, float(sums.c_hat), float(sums.v2_hat), lambda_plus)
        assert change(coefficient) == pytest.approx(predicted, abs=1e-9)
    assert change(chosen) >= 0
