"""vLLM drafts with the trainer's MTP heads: a MiMo, one depth, greedy drafts."""

from __future__ import annotations

import pytest
import torch
from engines import PROMPTS, largest_gap, moved, sampling

from trainer.errors import TrainingError
from trainer.models.joint import Sequences
from trainer.rollout.vllm import sync

NEARLY_GREEDY = 0.01


@pytest.fixture(scope="module")
def model(start):
    return start("mimo", draft_tokens=1)


def acceptance(engine) -> float:
    """Of drafts of nearly greedy responses."""
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 1]  # from place 0 this layout's head sees no embedding
    engine.generate(prompts, sampling(temperature=NEARLY_GREEDY, samples=2, max_tokens=20))
    return engine.finish().metrics()["rollout/draft_acceptance_1"]


def test_the_mtp_head_computes_what_the_trainers_does(model):
    engine, joint = model
    drafter = engine._llm.llm_engine.model_executor.driver_worker.worker.get_draft_model()
    seen = []
    compute = drafter.compute_logits
    drafter.compute_logits = lambda hidden, *rest: seen.append(compute(hidden, *rest)) or seen[-1]
    try:
        for prompt in PROMPTS:
            seen.clear()
            [[response]] = engine.generate([prompt], sampling(samples=1, max_tokens=2))
            theirs = seen[0][0].log_softmax(-1)
            # Every token of the vocabulary in the place that the first draft is for.
            rows = [[*prompt, response.tokens[0], token] for token in range(len(theirs))]
            lengths, mask = torch.full((len(rows),), len(prompt)), torch.ones(len(rows), 2, dtype=torch.bool)
            with torch.no_grad():
                ours = joint(Sequences(torch.tensor(rows), lengths, mask), 1.0, mtp=("all",)).mtp[0][:, 1]
            torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)
    finally:
        del drafter.compute_logits
        engine.finish()


@pytest.mark.parametrize("temperature", [1.0, 0.7, NEARLY_GREEDY])
def test_log_probs_are_the_main_heads_whatever_was_drafted(model, temperature):
    engine, joint = model
    groups = engine.generate(PROMPTS, sampling(temperature=temperature))
    assert largest_gap(joint, groups, temperature) < 1e-4 / temperature
    assert engine.finish().drafts > 0


def test_acceptance_follows_the_drafter_through_the_sync(model):
    engine, joint = model
    width = joint.trunk.config.hidden_size
    with torch.no_grad():
        # The next token follows from the present one alone, and the head, which sees it one place earlier, says the same.
        for block in [*joint.trunk.get_decoder().layers, joint.mtp[0].block]:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        head = joint.mtp[0]
        head.norm.weight.copy_(joint.trunk.get_decoder().norm.weight)
        head.enorm.weight.fill_(1)
        head.eh_proj.weight.zero_()
        embedding = slice(width, None) if joint.layout.hidden_first else slice(0, width)
        head.eh_proj.weight[:, embedding] = torch.eye(width)
    engine.finish()
    assert acceptance(engine) == 1.0
    with torch.no_grad():
        head.eh_proj.weight.neg_()
    assert acceptance(engine) == 0.0
    with torch.no_grad():
        head.eh_proj.weight.neg_()
    assert acceptance(engine) == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "model.layers.1.self_attn.k_proj.weight",
        "model.layers.0.input_layernorm.weight",
        "model.mtp_layers.0.mlp.up_proj.weight",
        "model.mtp_layers.0.input_proj.weight",
    ],
)
def test_a_tensor_that_is_not_taken_over_ends_the_run(model, monkeypatch, name):
    engine, joint = model
    engine.generate(PROMPTS, sampling())
    engine.finish()
    moved(joint)
    every = sync.published_tensors
    with monkeypatch.context() as patched:
        patched.setattr(sync, "published_tensors", lambda joint: (one for one in every(joint) if one[0] != name))
        with pytest.raises(TrainingError, match=f"vLLM did not take over {name} from the trainer"):
            engine.generate(PROMPTS, sampling())
    assert largest_gap(joint, engine.generate(PROMPTS, sampling())) < 1e-4
    engine.finish()
