"""Whole runs of regime warm: trunk, heads, acceptance on held-out prompts, resume, refusals."""

import json
import re
from pathlib import Path

import pytest
import torch
from configs import refusals
from safetensors.torch import load_file, save_file

from trainer.config import RunConfig, parse
from trainer.errors import ConfigError, DataError, TrainingError
from trainer.events import MemorySink
from trainer.loop import train
from trainer.models.storage import load_joint, stored_depths
from trainer.preflight import check
from trainer.tasks import Grader
from trainer.tasks.addition import draw_pairs, write_problems
from trainer.training import prepare
from trainer.warming import respond

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tiny_run: RunConfig, tmp_path: Path) -> RunConfig:
    """12 steps with new heads: those of the model are taken away."""
    for file in ("mtp.safetensors", "mtp_config.json"):
        (tmp_path / "base" / file).unlink()
    write_problems(tmp_path / "train.jsonl", draw_pairs(24, 0))
    values = tiny_run.model_dump()
    return parse(
        {
            **{name: values[name] for name in ("model", "data", "rollout", "logging")},
            "steps": 12,
            "regime": {"kind": "warm", "held_out": 8},
            "evaluation": {"every": 5},
            "optimizer": {"lr": 2e-2, "warmup_steps": 0, "weight_decay": 0.0},
            "checkpoint": {"every": 4, "keep": 1},
        }
    )


def run(config, folder, *, stop_after=None, attempt=1):
    folder.mkdir(exist_ok=True)
    sink = MemorySink(attempt)
    steps = iter(range(1, 1000))
    return train(config, folder, sink, lambda: next(steps) == stop_after), sink


def changed(config, **sections):
    return parse({**config.model_dump(), **sections})


def saved(folder, step=12):
    return folder / "checkpoints" / f"step-{step:06d}" / "model"


@pytest.mark.parametrize("loss", ["distillation", "ce"])
def test_heads_learn_what_the_model_says_and_the_model_stays_bit_for_bit(config, tmp_path, loss):
    config = changed(config, regime={"kind": "warm", "loss": loss, "held_out": 8})
    outcome, sink = run(config, tmp_path / "run")
    assert outcome == "finished"
    before, after = load_joint(config.model.path, 2), load_joint(str(saved(tmp_path / "run")), 2)
    trunk, now = before.trunk.state_dict(), after.trunk.state_dict()
    assert all(torch.equal(trunk[name], now[name]) for name in trunk)
    assert stored_depths(str(saved(tmp_path / "run"))) == 2
    for prefix in ("mtp/", "mtp/depth_2/"):
        measured = sink.series(f"{prefix}held_out_acceptance_sampled")
        assert [step for step, *_ in measured] == [0, 5, 10, 12]
        accepted = [value for *_, value in measured]
        assert accepted[-1] > accepted[0] + 0.04
        # What the main head itself would lose on its own tokens is the least there is.
        losses, least = (
            [value for _, part, value in sink.series(name) if part == -1]
            for name in (f"{prefix}loss", "policy/entropy")
        )
        above = [one - other for one, other in zip(losses, least, strict=True)]
        assert sum(above[-6:]) / 6 < above[0]
    named = {name for event in sink.events if event["type"] == "metrics" for name in event["values"]}
    documented = (ROOT / "docs" / "metrics.md").read_text()
    assert not [name for name in named if f"`{name.replace('depth_2/', '')}`" not in documented]
    assert ("mtp/divergence" in named) == (loss == "distillation")
    # Rewards, all alike, are no alarm here.
    assert "zero_variance" not in {event["name"] for event in sink.events if event["type"] == "alarm"}


def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(config, tmp_path):
    _, whole = run(config, tmp_path / "whole")
    outcome, first = run(config, tmp_path / "parts", stop_after=6)
    assert outcome == "stopped"
    _, rest = run(config, tmp_path / "parts", attempt=2)
    for name in ("mtp/loss", "mtp/divergence", "mtp/depth_2/held_out_acceptance_sampled", "optim/grad_norm_head"):
        parts = {(step, part): value for sink in (first, rest) for step, part, value in sink.series(name)}
        expected = {(step, part): value for step, part, value in whole.series(name)}
        # Where the heads stood when it stopped is measured once more than in the uninterrupted run.
        assert expected == {place: value for place, value in parts.items() if place in expected}
    one, other = (load_joint(str(saved(tmp_path / name)), 2).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_held_out_prompts_train_nothing_and_stand_on_one_side_with_their_like(config, tmp_path):
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    again = [json.dumps({**json.loads(line), "id": f"again-{number}"}) for number, line in enumerate(lines)]
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, *again]))
    with Grader() as grader:
        training = prepare(config, tmp_path / "run", MemorySink(), grader)
    learned, held_out = ({prompt.item.problem for prompt in part} for part in (training.prompts, training.held_out))
    assert len(held_out) == 8
    assert len(training.held_out) == 16
    assert not learned & held_out
    assert len(training.prompts) + len(training.held_out) == 48


def test_responses_to_held_out_prompts_are_sampled_at_the_runs_temperature(config, tmp_path):
    config = changed(config, rollout={**config.rollout.model_dump(), "temperature": 0.01})
    with Grader() as grader:
        training = prepare(config, tmp_path / "run", MemorySink(), grader)
        held_out = respond(training.held_out, config, training.engine, torch.device("cpu"))
    samples = held_out.tokens.view(8, config.rollout.samples_per_prompt, -1)
    alike = (samples[:, 1:] == samples[:, :1]).float().mean()
    assert alike > 0.9  # hardly anything but the most likely token is drawn


def test_a_model_that_is_not_finite_is_said_to_be_the_cause(config, tmp_path):
    file = tmp_path / "base" / "model.safetensors"
    weights = load_file(file)
    weights["model.norm.weight"][0] = torch.nan
    save_file(weights, file, metadata={"format": "pt"})
    sink = MemorySink()
    (tmp_path / "run").mkdir()
    with pytest.raises(TrainingError):
        train(config, tmp_path / "run", sink)
    (alarm,) = [event for event in sink.events if event["type"] == "alarm" and event["name"] == "not_finite"]
    assert (
        f"before anything was trained, so that it is the model: `mtprl verify {config.model.path}`" in alarm["message"]
    )


def test_what_cannot_be_is_refused_in_words(config, tmp_path):
    words = refusals(
        regime={"kind": "warm"},
        audit={"every": 2},
        mtp={"head_loss": "ce", "head_loss_scale": 2},
        rollout={"dynamic_sampling_rounds": 1},
        evaluation={
            "afterwards": {},
            "benchmarks": [{"name": "b", "data": {"kind": "jsonl", "path": "d.jsonl"}}],
        },
    )
    fields = [re.match(r"\S+(?=:)", one)[0] for one in words]
    assert fields == [
        *("audit.every", "evaluation.afterwards", "evaluation.benchmarks", "rollout.dynamic_sampling_rounds"),
        *("mtp.head_loss", "mtp.head_loss_scale"),
    ]
    assert all("regime warm" in one for one in words)
    greedy = changed(config, regime={"kind": "warm", "held_out": 21})
    with pytest.raises(ConfigError, match=r"regime\.held_out: 21 held out and 4 in a step .* the 24 problems"):
        check(greedy)
    with pytest.raises(
        DataError, match=r"regime\.held_out: 21 of the 24 prompts are held out, and a step takes 4 .* 3 are left"
    ):
        run(greedy, tmp_path / "run")
    assert refusals(regime={"kind": "warm", "loss": "kl"})[0].startswith("regime.loss: 'kl' is not known; choose")
