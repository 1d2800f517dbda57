"""Updates, sampling and whole runs on each device."""

import pytest
import torch
from devices import choose
from update_phases import REGIMES, WARM, Phase, same

from trainer.events import MemorySink
from trainer.loop import train
from trainer.models.joint import Sequences
from trainer.models.storage import load_joint
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.collect import Experience
from trainer.rollout.decoding import Way
from trainer.rollout.engine import Sampling

PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13]]


def experience_on(device: str, sequences: Sequences) -> Experience:
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5, 0.0, 0.0, -0.3, 0.3])
    placed = Sequences(*(part.to(device) for part in sequences))
    return Experience([], [], [], [], placed, advantages, advantages, torch.zeros(sequences.mask.shape, device=device))


@pytest.mark.parametrize("name", REGIMES | WARM)
def test_an_update_is_that_of_the_processor(device, make_joint, make_config, sequences, name):
    config = make_config((REGIMES | WARM)[name], update={"mini_batches": 2, "micro_batch_sequences": 3})
    choose("cpu")
    alone = Phase(make_joint(2), config)
    expected = alone.run(experience_on("cpu", sequences))
    choose(device)
    phase = Phase(make_joint(2), config, device)
    metrics = phase.run(experience_on(device, sequences))
    assert {parameter.device.type for parameter in phase.joint.parameters()} == {device}
    for key, tensor in phase.joint.state_dict().items():
        torch.testing.assert_close(tensor.cpu(), alone.joint.state_dict()[key], rtol=1e-3, atol=1e-4, msg=key)
    for mine, theirs in zip(metrics, expected, strict=True):
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            assert value == pytest.approx(theirs[key], rel=1e-2, abs=1e-4), key


def test_detach_moves_the_trunk_exactly_as_off_does(device, make_joint, make_config, sequences):
    off, detach = (Phase(make_joint(), make_config({"kind": kind}), device) for kind in ("off", "detach"))
    for phase in (off, detach):
        phase.run(experience_on(device, sequences))
    assert same(off.state("trunk"), detach.state("trunk"))
    assert not same(off.state("mtp"), detach.state("mtp"))


@pytest.mark.parametrize("drafts", [False, True], ids=["one by one", "drafted"])
def test_sampled_log_probs_are_those_of_the_model(device, make_joint, drafts):
    joint = make_joint(2).to(device)
    engine = BuiltinEngine(joint.trunk, end_token=1, drafter=joint if drafts else None, drafts_always=drafts)
    sampling = Sampling(4, 12, temperature=0.8, top_p=1.0, seed=1)
    groups = engine.generate(PROMPTS, sampling)
    assert engine.way is Way.BLOCKS
    assert bool(engine.finish().drafts) == drafts
    assert groups == engine.generate(PROMPTS, sampling)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for response in group:
            tokens = torch.tensor([prompt + response.tokens], device=device)
            log_probs = (engine.trunk(tokens).logits[0] / 0.8).log_softmax(-1)[len(prompt) - 1 : -1]
            expected = log_probs[range(len(response.tokens)), response.tokens].tolist()
            assert response.log_probs == pytest.approx(expected, abs=1e-3)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(device, tiny_run, tmp_path):
    sink = MemorySink()
    assert train(tiny_run, tmp_path / "whole", sink) == "finished"
    assert (sink.events[0]["device"] == "cpu") == (device == "cpu")
    stops = iter([False, False, True])
    assert train(tiny_run, tmp_path / "parts", MemorySink(), lambda: next(stops)) == "stopped"
    again = MemorySink(attempt=2)
    assert train(tiny_run, tmp_path / "parts", again) == "finished"
    assert again.events[0]["resumed_from"] == 3
    whole, parts = (
        load_joint(str(tmp_path / name / "checkpoints/step-000006/model"), 2) for name in ("whole", "parts")
    )
    assert same(whole.state_dict(), parts.state_dict())
    assert [entry for entry in sink.series("mtp/coefficient") if entry[0] > 3] == again.series("mtp/coefficient")
