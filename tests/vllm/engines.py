"""What the tests with a real vLLM share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from trainer.config import RunConfig, parse
from trainer.models.joint import JointModel
from trainer.rollout.engine import Response, Sampling

WIDTH = 64  # two heads of 32: what vLLM's attention on processors takes
END = 1
PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13]]


def config_of(path: Path, **vllm: Any) -> RunConfig:
    return parse(
        {
            "model": {"path": str(path)},
            "regime": {"kind": "occ"},
            "data": {"kind": "jsonl", "path": "unused"},
            "rollout": {"engine": "vllm", "vllm": {"cache_gib": 0.25, **vllm}, "max_response_tokens": 48},
        }
    )


def run_trainer(values: dict[str, Any], out: Path) -> list[dict[str, Any]]:
    """Run or evaluate as a user does with --output, without a GPU; the events."""
    out.parent.mkdir(exist_ok=True)
    file = out.with_name("asked.yaml")
    file.write_text(json.dumps(values))
    done = subprocess.run(
        [sys.executable, "-P", "-m", "trainer", str(file), "--output", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def sampling(**changes: Any) -> Sampling:
    return Sampling(**{"samples": 4, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "seed": 1, **changes})


def own_log_probs(joint: JointModel, prompt: list[int], response: Response, temperature: float) -> list[float]:
    """Those of the trainer's model, token by token."""
    with torch.no_grad():
        logits = joint.trunk(torch.tensor([prompt + response.tokens])).logits[0] / temperature
    log_probs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return log_probs[range(len(response.tokens)), response.tokens].tolist()


def largest_gap(joint: JointModel, groups: list[list[Response]], temperature: float = 1.0) -> float:
    """The largest difference between the engine's log-probs and the trainer's."""
    return max(
        abs(theirs - ours)
        for prompt, group in zip(PROMPTS, groups, strict=True)
        for response in group
        for theirs, ours in zip(response.log_probs, own_log_probs(joint, prompt, response, temperature), strict=True)
    )


def moved(joint: JointModel, by: float = 0.05) -> None:
    """Change every parameter, as an update does."""
    with torch.no_grad():
        for parameter in joint.parameters():
            parameter.add_(by * torch.randn_like(parameter))
