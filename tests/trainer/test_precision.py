"""Mixed precision: what is multiplied in bfloat16, and what stays in float32."""

from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from trainer.config import parse
from trainer.errors import TrainingError
from trainer.events import MemorySink
from trainer.launch import device
from trainer.loop import collect, learn, train
from trainer.models.log_probs import acceptance, token_log_probs
from trainer.tasks import Grader
from trainer.training import prepare


@pytest.fixture
def bf16(tiny_run):
    """A run in bfloat16. Accelerate keeps one precision per process, which is given back."""
    AcceleratorState._reset_state(reset_partial_state=True)
    values = tiny_run.model_dump(mode="json")
    values["model"]["mixed_precision"] = "bf16"
    values["steps"], values["audit"] = 2, {"every": 2, "prompts": 4}
    values["evaluation"]["benchmarks"] = []
    yield parse(values)
    AcceleratorState._reset_state(reset_partial_state=True)


def test_layers_multiply_in_bfloat16_and_everything_that_is_kept_or_summed_is_float32(bf16, tmp_path: Path):
    with Grader() as grader:
        run = prepare(bf16, tmp_path / "run", MemorySink(), grader)
        seen: dict[str, set[torch.dtype]] = {"layer": set(), "head": set(), "residual of the head": set()}
        for name, module in (
            ("layer", run.joint.trunk.get_decoder().layers[0].mlp),
            ("head", run.joint.mtp[0].block.mlp),
        ):
            module.down_proj.register_forward_hook(lambda _, __, output, name=name: seen[name].add(output.dtype))
        head = run.joint.mtp[0].block
        head.register_forward_pre_hook(lambda _, inputs: seen["residual of the head"].add(inputs[0].dtype))
        run.step = 1
        experience, old = collect(run)  # sampling and log-probs
        learn(run, experience, old)  # acceptance and updates
    assert seen == {"layer": {torch.bfloat16}, "head": {torch.bfloat16}, "residual of the head": {torch.float32}}
    assert (old.main.dtype, old.mtp.dtype) == (torch.float32, torch.float32)
    kept = [
        *run.joint.parameters(),
        *(value for state in run.updater.optimizer.state.values() for value in state.values()),
    ]
    assert {tensor.dtype for tensor in kept} == {torch.float32}


def test_a_run_in_bfloat16_is_close_to_the_run_in_float32_and_its_audit_sees_the_step(bf16, tmp_path):
    sink = MemorySink()
    assert train(bf16, tmp_path / "bf16", sink) == "finished"
    AcceleratorState._reset_state(reset_partial_state=True)
    values = bf16.model_dump(mode="json")
    values["model"]["mixed_precision"] = "no"
    exact = MemorySink()
    train(parse(values), tmp_path / "float32", exact)
    for name in ("policy/entropy", "mtp/loss"):
        (_, _, mine), (_, _, theirs) = sink.series(name)[0], exact.series(name)[0]
        assert mine == pytest.approx(theirs, rel=0.02)
        assert mine != theirs
    gaps = [value for _, _, value in sink.series("rollout/log_prob_gap")]
    assert min(gaps) > 1e-5
    assert max(gaps) < 0.05
    # The audit's copy is a model of its own, although its forward pass was wrapped.
    assert all(value != 0 for _, _, value in sink.series("audit/measured_change"))


def test_logits_and_log_probs_are_the_same_inside_autocast():
    generator = torch.Generator().manual_seed(0)
    hidden, lm_head = torch.randn(5, 16, generator=generator), torch.randn(32, 16, generator=generator)
    targets = torch.arange(5)
    outside = token_log_probs(hidden, lm_head, targets, 0.8), acceptance(hidden, hidden.flip(0), lm_head, 0.8)
    with torch.autocast("cpu", torch.bfloat16):
        assert (hidden @ lm_head.T).dtype == torch.bfloat16
        inside = token_log_probs(hidden, lm_head, targets, 0.8), acceptance(hidden, hidden.flip(0), lm_head, 0.8)
    for ours, theirs in zip(outside, inside, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_a_device_without_bfloat16_is_refused(bf16, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert [device.can_multiply_bfloat16(torch.device(name)) for name in ("cpu", "cuda", "mps")] == [True, False, False]
    monkeypatch.setattr(device, "can_multiply_bfloat16", lambda _: False)
    with pytest.raises(TrainingError, match=r"model\.mixed_precision: bf16 is not possible on cpu here; set it to no"):
        device.accelerator_for(bf16)
