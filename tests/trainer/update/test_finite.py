"""What is not finite is named before it reaches a parameter."""

import pickle

import pytest
import torch
from update_phases import Phase, same

from trainer.errors import NotFiniteError
from trainer.models.joint import Sequences
from trainer.rollout.collect import Experience
from trainer.update.finite import check_parameters

DEEP = "trunk.model.layers.0.mlp.down_proj.weight"
REGIMES = [{"kind": "off"}, {"kind": "detach"}, {"kind": "policy"}, {"kind": "occ"}, {"kind": "oracle"}]


def named(phase: Phase, experience: Experience) -> str:
    """The tensor that the phase names, after making sure that its second optimiser step changed no parameter."""
    steps = phase.updater.run(experience, phase.updater.old_log_probs(experience.sequences))
    next(steps)
    before = {name: tensor.clone() for name, tensor in phase.joint.state_dict().items()}
    with pytest.raises(NotFiniteError) as caught:
        next(steps)
    assert phase.updater.updates == 1
    assert same(phase.joint.state_dict(), before)
    return str(caught.value)


def spoil(value: float, first: int = 1):
    """A hook that puts a number into the first place of the tensors that it gets from call number `first` on."""
    calls = iter(range(100))

    def hook(tensor):
        if next(calls) < first:
            return tensor
        spoilt = tensor.clone()
        spoilt.view(-1)[0] = value
        return spoilt

    return hook


@pytest.mark.parametrize("regime", REGIMES, ids=lambda regime: regime["kind"])
def test_a_gradient_that_is_not_finite_is_named_by_its_parameter(make_joint, make_config, experience, regime):
    phase = Phase(make_joint(), make_config(regime))
    first = 2 if regime["kind"] == "oracle" else 1  # it takes two gradients of each mini-batch
    dict(phase.joint.named_parameters())[DEEP].register_hook(spoil(torch.nan, first))
    assert named(phase, experience) == f"gradient of {DEEP} became NaN"


def test_a_gradient_that_spoils_the_oracles_coefficient_is_named_and_not_what_the_coefficient_weighs(
    make_joint, make_config, experience
):
    phase = Phase(make_joint(), make_config({"kind": "oracle"}))
    dict(phase.joint.named_parameters())[DEEP].register_hook(spoil(torch.nan, 3))  # of the second MTP loss alone
    assert named(phase, experience) == f"gradient of {DEEP} became NaN"


def test_of_several_gradients_the_one_nearest_to_the_loss_is_named(make_joint, make_config, experience):
    phase = Phase(make_joint(), make_config({"kind": "off"}))
    parameters = dict(phase.joint.named_parameters())
    for name in ("trunk.model.embed_tokens.weight", DEEP, "trunk.model.layers.1.self_attn.v_proj.weight"):
        parameters[name].register_hook(spoil(torch.inf))
    assert named(phase, experience) == "gradient of trunk.model.layers.1.self_attn.v_proj.weight became infinite"


def test_a_heads_gradient_is_looked_at_too(make_joint, make_config, experience):
    phase = Phase(make_joint(2), make_config({"kind": "detach"}))
    parameters = dict(phase.joint.named_parameters())
    name = next(name for name in parameters if name.startswith("mtp.1."))
    parameters[name].register_hook(spoil(torch.nan))
    assert named(phase, experience) == f"gradient of {name} became NaN"


def from_call(module, first: int):
    """Make a module return NaN from its call number `first` on."""
    calls = iter(range(1000))

    def hook(module, inputs, output):
        return output * torch.nan if next(calls) >= first else output

    module.register_forward_hook(hook)


def test_log_probs_of_an_mtp_depth_are_named(make_joint, make_config, experience):
    phase = Phase(make_joint(2), make_config({"kind": "detach"}))
    from_call(phase.joint.mtp[1].norm, 3)  # two calls for the old log-probs, one for each mini-batch
    assert named(phase, experience) == "log-probs of MTP depth 2 became NaN"


def test_log_probs_of_the_main_head_come_first(make_joint, make_config, experience):
    phase = Phase(make_joint(2), make_config({"kind": "policy"}))
    from_call(phase.joint.trunk.get_decoder().norm, 3)
    assert named(phase, experience) == "log-probs of the main head became NaN"


def test_a_micro_batch_is_enough(make_joint, make_config, experience):
    phase = Phase(make_joint(), make_config({"kind": "off"}, update={"mini_batches": 2, "micro_batch_sequences": 2}))
    from_call(phase.joint.trunk.get_decoder().norm, 7)  # only the very last of 4 + 4 calls
    assert named(phase, experience) == "log-probs of the main head became NaN"


def test_a_parameter_is_named_before_what_follows_from_it(make_joint, make_config, experience):
    phase = Phase(make_joint(), make_config({"kind": "off"}))
    old = phase.updater.old_log_probs(experience.sequences)
    with torch.no_grad():
        dict(phase.joint.named_parameters())[DEEP][0, 0] = torch.inf
    with pytest.raises(NotFiniteError, match=f"^parameter {DEEP} became infinite$"):
        next(phase.updater.run(experience, old))


def test_a_loss_is_named_where_everything_before_it_is_finite(make_joint, make_config, experience):
    advantages = experience.advantages.clone()
    advantages[5] = torch.inf
    spoilt = Experience([], [], [], [], experience.sequences, advantages, advantages, experience.engine_log_probs)
    assert named(Phase(make_joint(), make_config({"kind": "off"})), spoilt).startswith("policy loss became ")
    loud = Phase(make_joint(), make_config({"kind": "ce", "coefficient": 3e38}))
    with pytest.raises(NotFiniteError, match="MTP loss of the trunk became infinite"):
        list(loud.run(experience))


def test_a_large_log_ratio_alone_ends_nothing(make_joint, make_config, experience):
    # exp of it overflows in the approximate KL; the clipped loss and its gradient are finite where the advantage is 0.
    phase = Phase(make_joint(), make_config({"kind": "off"}, update={"mini_batches": 1}))
    old = phase.updater.old_log_probs(experience.sequences)
    still = torch.zeros(8)
    calm = Experience([], [], [], [], experience.sequences, still, still, experience.engine_log_probs)
    [metrics] = phase.updater.run(calm, old._replace(main=old.main - 50))
    assert metrics["policy/approx_kl"] > 1e20


def test_one_token_responses_have_finite_updates(make_joint, make_config, experience):
    # With prompts of one token, too, depth 1 has nothing to predict at all.
    for prompt_lengths in (experience.sequences.prompt_lengths, torch.ones(8, dtype=torch.long)):
        first_only = torch.ones(8, 1, dtype=torch.bool)
        tokens = torch.arange(16).view(8, 2) + 2 if prompt_lengths.max() == 1 else experience.sequences.tokens
        sequences = Sequences(tokens, prompt_lengths, first_only)
        short = Experience([], [], [], [], sequences, experience.advantages, experience.advantages, torch.zeros(8, 1))
        for regime in REGIMES:
            phase = Phase(make_joint(2), make_config(regime))
            numbers = [value for metrics in phase.run(short) for value in metrics.values()]
            assert torch.tensor(numbers).isfinite().all(), regime
            check_parameters(phase.joint)


def test_the_check_of_parameters_names_the_first(make_joint):
    joint = make_joint(2)
    check_parameters(joint)
    name, parameter = list(joint.mtp.named_parameters())[-1]
    with torch.no_grad():
        parameter.view(-1)[-1] = torch.nan
    with pytest.raises(NotFiniteError, match=f"^parameter mtp.{name} became NaN$"):
        check_parameters(joint)


def test_the_error_survives_a_process_boundary():
    again = pickle.loads(pickle.dumps(NotFiniteError("gradient of x", "NaN")))
    assert (again.tensor, again.kind, str(again)) == ("gradient of x", "NaN", "gradient of x became NaN")
