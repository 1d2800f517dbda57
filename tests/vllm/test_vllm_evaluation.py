"""Evaluations with vLLM, which reads the model from its folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from engines import WIDTH, run_trainer
from tiny_checkpoints import write_tiny

from trainer.tasks.addition import draw_pairs, write_problems


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An evaluation of a tiny MiMo on 6 problems, of every answer the most likely token."""
    folder = tmp_path_factory.mktemp("evaluation")
    write_problems(folder / "sums.jsonl", draw_pairs(6, 1))
    return {
        "kind": "evaluation",
        "model": {"path": str(write_tiny("mimo", folder / "mimo", width=WIDTH))},
        "benchmarks": [{"name": "sums", "data": {"kind": "jsonl", "path": str(folder / "sums.jsonl")}}],
        "samples": 2,
        "top_k": 1,
        "max_response_tokens": 12,
        "sequences": 6,
    }


def completions(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {
        item["id"]: [sample["completion"] for sample in item["samples"]]
        for event in events
        if event["type"] == "evaluation"
        for item in event["items"]
    }


def test_answers_of_the_most_likely_tokens_are_those_of_the_built_in_sampler(values, tmp_path):
    drafting = {"engine": "vllm", "vllm": {"draft_tokens": 1, "cache_gib": 0.25}}
    events = run_trainer({**values, "rollout": drafting}, tmp_path / "vllm" / "out")
    expected = completions(run_trainer(values, tmp_path / "builtin" / "out"))
    assert completions(events) == expected
    assert len(expected) == 6
    assert len({answer for answers in expected.values() for answer in answers}) > 1
    assert {event["engine"] for event in events if event["type"] == "evaluation"} == {"vllm"}
    started = next(event for event in events if event["type"] == "attempt_started")
    assert started["versions"]["vllm"].startswith("0.")
    measured = [event["values"] for event in events if event["type"] == "metrics"]
    assert len(measured) == 2  # two parts of 3 problems
    assert all(0 <= one["rollout/draft_acceptance_1"] <= 1 for one in measured)


def test_a_response_beyond_the_models_positions_is_refused_in_words(values, tmp_path):
    file = tmp_path / "evaluation.yaml"
    file.write_text(json.dumps({**values, "max_response_tokens": 255, "rollout": {"engine": "vllm"}}))
    command = [sys.executable, "-P", "-m", "trainer", str(file), "--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 1
    assert "max_response_tokens: the longest prompt has " in done.stderr
    assert "and a response up to 255, together more than the 256 positions of" in done.stderr
