"""Regime warm: what the heads learn from, held against the definition, and that nothing else moves."""

import copy

import pytest
import torch
from update_phases import WARM, Phase, same

from trainer.models.log_probs import divergences


def distribution(joint, tokens, place, k, temperature):
    """[V] log-probs of the token at `place` from depth k (0: the main head), of this one sequence, straight from the definition."""
    ids = torch.tensor([tokens[:place]])  # nothing at or behind the place is there to be seen
    decoder = joint.trunk.get_decoder()
    hidden = decoder(input_ids=ids).last_hidden_state
    embeddings = joint.trunk.get_input_embeddings()(ids)
    for depth, head in enumerate(joint.mtp[:k], start=1):
        length = place - depth
        positions = torch.arange(length)[None]
        hidden, _ = head(
            hidden[:, :length],
            embeddings[:, depth:],
            attention_mask=torch.full((length, length), float("-inf")).triu(1)[None, None],
            position_ids=positions,
            position_embeddings=decoder.rotary_emb(hidden, positions),
        )
    state = joint.mtp[k - 1].norm(hidden[0, -1]) if k else hidden[0, -1]
    return (joint.trunk.lm_head(state) / temperature).log_softmax(-1)


def loss_by_hand(joint, sequences, kind, temperature):
    """Mean over the depths of the mean over the tokens that each predicts."""
    of_depths = []
    for k in range(1, joint.depths + 1):
        terms = []
        for row, start in enumerate(sequences.prompt_lengths.tolist()):
            tokens = sequences.tokens[row].tolist()
            for place in range(start, start + int(sequences.mask[row].sum())):
                if place < k + 1:
                    continue
                head = distribution(joint, tokens, place, k, temperature)
                if kind == "ce":
                    terms.append(-head[tokens[place]])
                    continue
                main = distribution(joint, tokens, place, 0, temperature).detach()
                terms.append((main.exp() * (main - head)).sum())
        of_depths.append(torch.stack(terms).mean())
    return torch.stack(of_depths).mean()


@pytest.mark.parametrize("kind", ["ce", "distillation"])
def test_the_heads_step_is_the_gradient_of_the_definition(make_joint, make_config, experience, kind):
    # A loss of the token before or behind, or of the head's own distribution against itself, has another gradient.
    joint, temperature = make_joint(2), 0.7
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 2, "max_response_tokens": 16, "temperature": temperature}
    optimizer = {"grad_clip": 1e9, "lr": 1.0, "warmup_steps": 0}
    update = {"mini_batches": 1, "micro_batch_sequences": 3}
    config = make_config({"kind": "warm", "loss": kind}, rollout=rollout, optimizer=optimizer, update=update)
    phase = Phase(joint, config)
    [metrics] = phase.run(experience)
    reference = copy.deepcopy(joint)
    loss = loss_by_hand(reference, experience.sequences, kind, temperature)
    loss.backward()
    measured = "divergence" if kind == "distillation" else "loss"
    found = (metrics[f"mtp/{measured}"] + metrics[f"mtp/depth_2/{measured}"]) / 2
    assert found == pytest.approx(loss.item(), rel=1e-4)
    moved = 0.0
    for (name, before), after, by_hand in zip(
        joint.mtp.named_parameters(), phase.joint.mtp.parameters(), reference.mtp.parameters(), strict=True
    ):
        step = (before - after).detach()
        torch.testing.assert_close(step, by_hand.grad, rtol=1e-3, atol=1e-5, msg=name)
        moved += step.abs().sum().item()
    assert moved > 1


@pytest.mark.parametrize("name", WARM)
@pytest.mark.parametrize("recomputed", [False, True])
def test_nothing_but_the_heads_moves(make_joint, make_config, experience, name, recomputed):
    joint = make_joint(2)
    model = {"path": "unused", "gradient_checkpointing": recomputed}
    phase = Phase(joint, make_config(WARM[name], model=model))
    metrics = phase.run(experience)
    assert same(phase.state("trunk"), joint.trunk.state_dict())
    assert not any(
        same(one.state_dict(), other.state_dict()) for one, other in zip(phase.joint.mtp, joint.mtp, strict=True)
    )
    assert all(parameter.grad is None for parameter in phase.joint.trunk.parameters())
    # What speaks of a policy that learns is not there to be misread.
    names = {name for one in metrics for name in one}
    assert not [name for name in names if "hat" in name or "coefficient" in name or name.endswith("norm_trunk")]
    assert {name for name in names if name.startswith("policy/")} == {"policy/entropy"}


def test_the_divergence_and_its_gradient_do_not_depend_on_chunks_and_reach_the_head_alone():
    generator = torch.Generator().manual_seed(0)
    main, mtp, lm_head = (torch.randn(*shape, generator=generator) for shape in ((9, 6), (9, 6), (13, 6)))
    results = []
    for most in (2**26, 2 * 13 * 4, 13, 1):
        leaves = [tensor.clone().requires_grad_() for tensor in (main, mtp, lm_head)]
        found = divergences(*leaves, 0.7, most_logits=most)
        (found * torch.arange(1.0, 10.0)).sum().backward()
        assert leaves[0].grad is None
        assert leaves[2].grad is None
        results.append((found.detach(), leaves[1].grad))
    p, q = ((states @ lm_head.T / 0.7).double().softmax(-1) for states in (main, mtp))
    torch.testing.assert_close(results[0][0].double(), (p * (p / q).log()).sum(-1), rtol=1e-4, atol=1e-5)
    by_hand = torch.arange(1.0, 10.0)[:, None] * ((q - p) / 0.7) @ lm_head.double()
    for found, gradient in results:
        torch.testing.assert_close(found, results[0][0])
        torch.testing.assert_close(gradient.double(), by_hand, rtol=1e-4, atol=1e-5)


def test_a_head_that_is_the_main_head_has_no_divergence(make_joint, sequences):
    states, lm_head = torch.randn(5, 16), make_joint().trunk.lm_head.weight
    assert divergences(states, states, lm_head, 1.0).abs().max() < 1e-5
