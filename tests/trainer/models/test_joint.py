"""Alignment of the heads, and where their gradients may go."""

import pytest
import torch

from trainer.models.joint import JointModel, Sequences
from trainer.models.log_probs import acceptance, token_log_probs
from trainer.models.mtp import MtpDepth


def depth_log_prob_by_hand(joint, tokens: list[int], place: int, k: int, temperature: float = 1.0) -> torch.Tensor:
    """log-prob of the token at `place` from depth k, on this one sequence, straight from the definition.

    Depth k joins the previous depth's state at i with the embedding of x_{i+k}, and its state at i predicts x_{i+k+1}.
    """
    ids = torch.tensor([tokens])
    decoder = joint.trunk.get_decoder()
    hidden = decoder(input_ids=ids).last_hidden_state
    embeddings = joint.trunk.get_input_embeddings()(ids)
    for depth, head in enumerate(joint.mtp[:k], start=1):
        length = len(tokens) - depth
        positions = torch.arange(length)[None]
        causal = torch.full((length, length), float("-inf")).triu(1)[None, None]
        hidden, _ = head(
            hidden[:, :length],
            embeddings[:, depth:],
            attention_mask=causal,
            position_ids=positions,
            position_embeddings=decoder.rotary_emb(hidden, positions),
        )
    state = joint.mtp[k - 1].norm(hidden[0, place - k - 1])
    logits = joint.trunk.lm_head(state) / temperature
    return logits.log_softmax(-1)[tokens[place]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_depth_k_predicts_the_same_token_as_the_main_head(make_joint, sequences, temperature):
    joint = make_joint(3)
    with torch.no_grad():
        out = joint(sequences, temperature, ("all",))
    masks = joint.depth_masks(sequences)
    checked = 0
    for row, start in enumerate(sequences.prompt_lengths.tolist()):
        length = int(sequences.mask[row].sum())
        tokens = sequences.tokens[row, : start + length].tolist()
        main = joint.trunk(torch.tensor([tokens])).logits[0].div(temperature).log_softmax(-1)
        for t in range(length):
            place = start + t
            assert out.log_probs[row, t].item() == pytest.approx(main[place - 1, tokens[place]].item(), abs=1e-5)
            for k in range(1, 4):
                assert bool(masks[k - 1, row, t]) == (place >= k + 1)
                if place >= k + 1:
                    by_hand = depth_log_prob_by_hand(joint, tokens, place, k, temperature).item()
                    assert out.mtp[k - 1, row, t].item() == pytest.approx(by_hand, abs=1e-5)
                    checked += 1
    assert checked > 60


def test_drafts_are_those_of_depth_1_token_by_token(make_joint, sequences):
    joint = make_joint(2)
    with torch.no_grad():
        expected, mask = joint(sequences, 0.7, ("all",)).mtp[0], joint.depth_masks(sequences)[0]
        log_probs, agrees = joint.drafts(sequences, 0.7)
        [accepted, _] = joint.draft_acceptance(sequences, 0.7)
    assert torch.allclose(log_probs, expected, atol=1e-5)
    assert agrees[~mask].sum() == 0
    assert 0 < agrees[mask].mean() < 1
    assert agrees[mask].mean().item() == pytest.approx(accepted.greedy.item())


def test_the_heads_see_nothing_ahead_whichever_attention_the_trunk_has(make_joint, sequences):
    # Without a mask some implementations attend to every place, and nothing says so.
    joint = make_joint(2)
    assert joint.trunk.config._attn_implementation == "sdpa"
    found = joint(sequences, 1.0, ("all",))
    joint.trunk.set_attn_implementation("eager")
    eager = JointModel(joint.trunk, [MtpDepth(joint.trunk.get_decoder()) for _ in range(2)])
    eager.load_state_dict(joint.state_dict())
    again = eager(sequences, 1.0, ("all",))
    torch.testing.assert_close(found.log_probs, again.log_probs)
    torch.testing.assert_close(found.mtp, again.mtp)


def test_padding_has_no_influence(make_joint, sequences):
    joint = make_joint(2)
    noise = torch.randint(2, 24, sequences.tokens.shape)
    ends = sequences.prompt_lengths + sequences.mask.sum(1)
    inside = torch.arange(sequences.tokens.shape[1]) < ends[:, None]
    spoiled = sequences._replace(tokens=torch.where(inside, sequences.tokens, noise))
    for clean, dirty in zip(joint(sequences, 1.0, ("all",))[:2], joint(spoiled, 1.0, ("all",))[:2], strict=True):
        torch.testing.assert_close(clean, dirty)
    torch.testing.assert_close(joint(sequences, 1.0, ("all",)).mtp, joint(spoiled, 1.0, ("all",)).mtp)


def test_every_reach_gives_the_same_values(make_joint, sequences):
    out = make_joint(2)(sequences, 1.0, ("all", "trunk", "heads"))
    torch.testing.assert_close(out.mtp_log_probs["all"], out.mtp_log_probs["trunk"], rtol=0, atol=0)
    torch.testing.assert_close(out.mtp_log_probs["all"], out.mtp_log_probs["heads"], rtol=0, atol=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("reach", "trunk", "heads"), [("all", True, True), ("trunk", True, False), ("heads", False, True)]
)
def test_gradients_go_where_the_reach_says_and_nowhere_else(make_joint, sequences, reach, trunk, heads, tied):
    joint = make_joint(2, tied=tied)
    joint(sequences, 1.0, (reach,)).mtp.sum().backward()
    for expected, part in ((trunk, joint.trunk), (heads, joint.mtp)):
        reached = {
            name: parameter.grad is not None and bool(parameter.grad.any())
            for name, parameter in part.named_parameters()
        }
        assert all(value == expected for value in reached.values()), reached


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_of_every_depth_are_those_of_the_definition(make_joint, tied):
    # Through the embeddings of tokens ahead, and through the depths before, too.
    joint = make_joint(3, tied=tied)
    tokens, prompt = [3, 9, 14, 5, 20, 7], 2
    sequence = Sequences(torch.tensor([tokens]), torch.tensor([prompt]), torch.ones(1, len(tokens) - prompt).bool())
    predicted = [(place, k) for k in (1, 2, 3) for place in range(max(prompt, k + 1), len(tokens))]
    sum(k * depth_log_prob_by_hand(joint, tokens, place, k) for place, k in predicted).backward()
    expected = {name: parameter.grad.clone() for name, parameter in joint.named_parameters()}
    for reach, parts in (("all", ("trunk", "mtp")), ("trunk", ("trunk",)), ("heads", ("mtp",))):
        joint.zero_grad()
        weights = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
        (weights * joint(sequence, 1.0, (reach,)).mtp).sum().backward()
        for name, parameter in joint.named_parameters():
            if name.startswith(parts):
                torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-3, atol=1e-5, msg=f"{reach}: {name}")


def test_a_new_depth_starts_from_the_last_block_and_sees_the_hidden_state(make_joint):
    decoder = make_joint().trunk.get_decoder()
    head = MtpDepth(decoder)
    for_embedding, for_hidden = head.eh_proj.weight[:, :16], head.eh_proj.weight[:, 16:]
    assert 0 < for_embedding.abs().max() < 0.2
    assert (for_hidden - torch.eye(16)).abs().max() < 0.2
    assert all(
        torch.equal(own, of_trunk)
        for own, of_trunk in zip(head.block.parameters(), decoder.layers[-1].parameters(), strict=True)
    )
    assert torch.equal(head.norm.weight, decoder.norm.weight)


def test_the_trunk_gets_the_same_gradient_whether_or_not_the_heads_get_theirs(make_joint, sequences):
    joint = make_joint()
    joint(sequences, 1.0, ("trunk",)).mtp.sum().backward()
    alone = {name: parameter.grad.clone() for name, parameter in joint.trunk.named_parameters()}
    joint.zero_grad()
    joint(sequences, 1.0, ("all",)).mtp.sum().backward()
    for name, parameter in joint.trunk.named_parameters():
        torch.testing.assert_close(parameter.grad, alone[name])


def test_a_one_token_sequence_without_depth_predictions(make_joint):
    batch = Sequences(torch.tensor([[5, 7]]), torch.tensor([1]), torch.tensor([[True]]))
    joint = make_joint(2)
    out = joint(batch, 1.0, ("all",))
    assert not joint.depth_masks(batch).any()
    assert not out.mtp.any()
    assert out.log_probs[0, 0] < 0
    out.mtp.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in joint.parameters())


def test_entropy_and_log_probs_of_known_distributions():
    hidden = torch.eye(2)
    lm_head = torch.tensor([[0.0, 0.0], [0.0, 2.0]]).T.contiguous()
    uniform, skewed = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 2.0]).softmax(0)
    result = token_log_probs(hidden, lm_head.T.contiguous(), torch.tensor([0, 1]), 1.0)
    torch.testing.assert_close(result.log_probs.exp(), torch.stack([uniform[0], skewed[1]]))
    torch.testing.assert_close(result.entropy, torch.stack([-(p * p.log()).sum() for p in (uniform, skewed)]))


def test_chunked_log_probs_are_the_naive_ones_in_value_and_gradient():
    generator = torch.Generator().manual_seed(2)
    results = {}
    for most in (10**9, 3 * 24, 1):
        hidden, lm_head = (
            torch.randn(11, 8, generator=generator.manual_seed(3)),
            torch.randn(24, 8, generator=generator),
        )
        targets = torch.arange(11) * 2
        hidden.requires_grad_()
        lm_head.requires_grad_()
        out = token_log_probs(hidden, lm_head, targets, 0.7, most_logits=most)
        (out.log_probs * torch.arange(11.0)).sum().backward()
        results[most] = (*out, hidden.grad, lm_head.grad)
        accepted = acceptance(hidden.detach(), hidden.detach().flip(0), lm_head.detach(), 0.7, most_logits=most)
        results[most] += tuple(accepted)
    for most in (3 * 24, 1):
        for chunked, naive in zip(results[most], results[10**9], strict=True):
            torch.testing.assert_close(chunked, naive)


def test_a_head_that_repeats_the_main_head_is_always_accepted(make_joint, sequences, monkeypatch):
    joint = make_joint()
    real = joint._mtp_hidden

    def copying(hidden, tokens, reach):
        for _ in real(hidden, tokens, reach):
            yield hidden.roll(-1, dims=1)  # place i of depth 1 stands for what the main head sees at i + 1

    assert 0 < joint.draft_acceptance(sequences, 1.0)[0].sampled < 0.99
    monkeypatch.setattr(joint, "_mtp_hidden", copying)
    accepted = joint.draft_acceptance(sequences, 1.0)[0]
    assert accepted.greedy == 1
    assert accepted.sampled == pytest.approx(1)


def test_draft_acceptance_is_that_of_the_two_heads_distributions_at_the_sampling_temperature(make_joint, sequences):
    joint = make_joint(2)
    sharp = joint.draft_acceptance(sequences, 0.5)
    greedy, sampled = ([], []), ([], [])
    hidden = joint.trunk.get_decoder()(input_ids=sequences.tokens).last_hidden_state
    states = list(joint._mtp_hidden(hidden, sequences.tokens, "all"))
    for row, start in enumerate(sequences.prompt_lengths.tolist()):
        for place in range(start, start + int(sequences.mask[row].sum())):
            main = (joint.trunk.lm_head(hidden[row, place - 1]) / 0.5).softmax(-1)
            for k in (1, 2):
                if place >= k + 1:
                    draft = (joint.trunk.lm_head(states[k - 1][row, place - k - 1]) / 0.5).softmax(-1)
                    greedy[k - 1].append(float(main.argmax() == draft.argmax()))
                    sampled[k - 1].append(sum(min(p, q) for p, q in zip(main.tolist(), draft.tolist(), strict=True)))
    for k, found in enumerate(sharp):
        assert found.greedy.item() == pytest.approx(sum(greedy[k]) / len(greedy[k]))
        assert found.sampled.item() == pytest.approx(sum(sampled[k]) / len(sampled[k]), abs=1e-5)


@pytest.mark.parametrize("reaches", [(), ("heads",), ("trunk", "heads")])
def test_a_forward_pass_measures_draft_acceptance_beside_log_probs(make_joint, sequences, reaches):
    joint = make_joint(2)
    found = joint(sequences, 0.5, reaches, drafting=True)
    assert found.accepted == joint.draft_acceptance(sequences, 0.5)
    assert joint(sequences, 0.5, reaches).accepted is None
    with torch.no_grad():
        assert torch.equal(found.mtp, joint(sequences, 0.5, reaches).mtp)


def test_entropy_is_that_of_the_distribution_at_the_sampling_temperature(make_joint, sequences):
    joint = make_joint()
    with torch.no_grad():
        entropy = joint(sequences, 0.7).entropy
        logits = joint.trunk(sequences.tokens).logits / 0.7
    row, t = 2, 0
    expected = torch.distributions.Categorical(logits=logits[row, sequences.prompt_lengths[row] + t - 1]).entropy()
    assert entropy[row, t].item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_depth_joins_embedding_and_hidden_state_in_deepseeks_order(make_joint):
    head = make_joint().mtp[0]
    with torch.no_grad():
        head.enorm.weight.uniform_(0.5, 2)
        head.hnorm.weight.uniform_(0.5, 2)
    head.block = torch.nn.Identity()
    hidden, embedding = torch.randn(2, 1, 5, 16)

    def rms(states, norm):
        return states / (states.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt() * norm.weight

    for_embedding, for_hidden = head.eh_proj.weight[:, :16], head.eh_proj.weight[:, 16:]
    expected = rms(embedding, head.enorm) @ for_embedding.T + rms(hidden, head.hnorm) @ for_hidden.T
    torch.testing.assert_close(head(hidden, embedding)[0], expected)
