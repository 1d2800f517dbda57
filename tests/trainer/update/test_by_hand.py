"""Whole update phases against the same phases written out by hand: every loss token by token, every gradient by itself.

Temperature, both gradient clips, two depths and two mini-batches are in all of them, so that whatever is left out somewhere moves a
parameter or a metric.
"""

import copy
import math
from statistics import mean

import pytest
import torch
from update_phases import Phase, same

TEMPERATURE, DEPTHS, GRAD_CLIP, LR, HEAD_SCALE = 0.7, 2, 0.05, 1.0, 3.0
CLIPS = {"dapo": (0.2, 0.28), "grpo": (0.2, 0.2), "gspo": (3e-4, 4e-4)}
CASES = [
    ("dapo", {"kind": "off"}, "regime"),
    ("gspo", {"kind": "detach"}, "regime"),
    ("grpo", {"kind": "ce", "coefficient": 0.5}, "regime"),
    ("dapo", {"kind": "policy", "coefficient": 0.5}, "none"),
    ("grpo", {"kind": "policy", "coefficient": 0.5, "ratio": "own"}, "ce"),
    ("gspo", {"kind": "policy", "coefficient": -0.5, "ratio": "own"}, "regime"),
    ("grpo", {"kind": "occ", "lambda_plus": 30.0}, "regime"),
    ("dapo", {"kind": "occ", "reference": "own", "ratio": "own", "apply_to": "loss", "clip": [-0.3, 0.2]}, "ce"),
    ("gspo", {"kind": "occ", "ratio": "own", "estimator": "token_mean", "eps": 1e-3}, "regime"),
    ("dapo", {"kind": "oracle", "ratio": "own", "lambda_plus": 2.0}, "regime"),
]


def surrogate(algorithm, ratio, advantage):
    """Clipped loss of one ratio."""
    low, high = CLIPS[algorithm]
    loss = torch.maximum(-ratio * advantage, -ratio.clamp(1 - low, 1 + high) * advantage)
    return loss.clamp(max=-10 * advantage) if advantage < 0 and algorithm != "gspo" else loss


def policy(algorithm, now, old, advantages, mask):
    """The policy loss of a mini-batch, sequence by sequence."""
    tokens, sequences = [], []
    for row, advantage in enumerate(advantages):
        log_ratios = [now[row, t] - old[row, t] for t in mask[row].nonzero().flatten().tolist()]
        if not log_ratios:
            continue
        if algorithm == "gspo":
            sequences.append(surrogate(algorithm, (sum(log_ratios) / len(log_ratios)).exp(), advantage))
            continue
        losses = [surrogate(algorithm, log_ratio.exp(), advantage) for log_ratio in log_ratios]
        tokens += losses
        sequences.append(sum(losses) / len(losses))
    counted = tokens if algorithm == "dapo" else sequences
    return sum(counted) / len(counted)


def cross_entropy(now, mask):
    return -sum(now[mask]) / int(mask.sum())


def c_and_v2(regime, k, out, old, mask) -> tuple[float, float]:
    """What stands in the ratio for depth k (from 0), from log-probs, and what it is divided by."""
    start = old.mtp[k] if regime.get("reference") == "own" else old.log_probs
    d_rl, d_mtp = (out.log_probs - old.log_probs)[mask].tolist(), (out.mtp[k] - start)[mask].tolist()
    pairs = list(zip(d_rl, d_mtp, strict=True))
    eps = regime.get("eps", 1e-8)
    if regime.get("estimator") == "token_mean":
        return mean(rl * mtp / (mtp * mtp + eps) for rl, mtp in pairs), 1.0
    return sum(rl * mtp for rl, mtp in pairs), sum(mtp * mtp for _, mtp in pairs) + eps


def gradient(loss, parameters):
    if not isinstance(loss, torch.Tensor) or not loss.requires_grad:
        return [torch.zeros_like(parameter) for parameter in parameters]
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def flat(gradients):
    return torch.cat([part.flatten() for part in gradients]).double()


def step(parameters, gradients):
    """Plain SGD on gradients clipped to a norm, for these parameters by themselves."""
    shrink = min(1.0, GRAD_CLIP / float(flat(gradients).norm()) if flat(gradients).any() else 1.0)
    with torch.no_grad():
        for parameter, part in zip(parameters, gradients, strict=True):
            parameter -= LR * shrink * part


def by_hand(joint, algorithm, regime, head_loss, experience):
    """The model after a phase, and the coefficients of its last mini-batch."""
    joint = copy.deepcopy(joint)
    trunk, heads = list(joint.trunk.parameters()), list(joint.mtp.parameters())
    kind = regime["kind"]
    halves = (slice(0, 4), slice(4, 8))
    with torch.no_grad():
        olds = [joint(experience.sequences.rows(rows), TEMPERATURE, ("all",)) for rows in halves]
    for index, (rows, old) in enumerate(zip(halves, olds, strict=True)):
        batch, advantages = experience.sequences.rows(rows), experience.advantages[rows].tolist()
        out, masks = joint(batch, TEMPERATURE, ("all",)), joint.depth_masks(batch)
        main = policy(algorithm, out.log_probs, old.log_probs, advantages, batch.mask)
        weighed, lambdas = 0.0, []
        for k in range(DEPTHS) if kind in ("ce", "policy", "occ", "oracle") else ():
            denominator = old.mtp[k] if regime.get("ratio") == "own" else old.log_probs

            def mtp_policy(advantages, k=k, denominator=denominator, out=out, masks=masks):
                return policy(algorithm, out.mtp[k], denominator, advantages, masks[k])

            if kind in ("ce", "policy"):
                value = regime["coefficient"]
            elif kind == "occ" and index == 0:
                value = 0.0
            else:
                if kind == "oracle":
                    rl, mtp = (flat(gradient(loss, trunk)) for loss in (main, mtp_policy(advantages)))
                    c, v2 = float(rl @ mtp), float(mtp @ mtp) + 1e-8
                else:
                    c, v2 = c_and_v2(regime, k, out, old, masks[k])
                low, high = regime.get("clip", (-math.inf, math.inf))
                value = min(max(regime.get("lambda_plus", 1.0) * c / v2, low), high)
            lambdas.append(value)
            if kind == "ce":
                weighed += value * cross_entropy(out.mtp[k], masks[k]) / DEPTHS
            elif kind == "occ" and regime.get("apply_to") != "loss":
                weighed += mtp_policy([value * advantage for advantage in advantages]) / DEPTHS
            else:
                weighed += value * mtp_policy(advantages) / DEPTHS
        per_depth = [cross_entropy(out.mtp[k], masks[k]) for k in range(DEPTHS)]
        detached = HEAD_SCALE * sum(per_depth) / DEPTHS
        of_heads = {"regime": detached if kind == "detach" else weighed, "ce": detached, "none": 0.0}[head_loss]
        moves = [(trunk, gradient(main + weighed, trunk)), (heads, gradient(of_heads, heads))]
        for parameters, gradients in moves:
            step(parameters, gradients)
    return joint, lambdas


@pytest.mark.parametrize(("algorithm", "regime", "head_loss"), CASES)
def test_a_phase_moves_every_parameter_as_the_formulas_say(
    make_joint, make_config, experience, algorithm, regime, head_loss
):
    joint = make_joint(DEPTHS)
    config = make_config(
        regime,
        algorithm,
        rollout={"prompts_per_step": 4, "samples_per_prompt": 2, "temperature": TEMPERATURE},
        optimizer={"lr": LR, "warmup_steps": 0, "grad_clip": GRAD_CLIP},
        mtp={"head_loss": head_loss},
    )
    phase = Phase(joint, config)
    metrics = phase.run(experience)
    expected, lambdas = by_hand(joint, algorithm, regime, head_loss, experience)
    for k, value in enumerate(lambdas):
        logged = metrics[1]["mtp/coefficient" if k == 0 else f"mtp/depth_{k + 1}/coefficient"]
        assert logged == pytest.approx(value, rel=1e-3)
        assert value != 0
    for name, parameter in phase.joint.named_parameters():
        torch.testing.assert_close(parameter, expected.get_parameter(name), rtol=0, atol=2e-6, msg=f"{name} differs")
    moves = {"trunk": True, "mtp": regime["kind"] != "off" and head_loss != "none"}
    for part, moved in moves.items():
        assert same(phase.state(part), getattr(joint, part).state_dict()) != moved
