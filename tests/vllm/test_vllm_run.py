"""A whole run with vLLM as a user starts it: from the form in a browser, through the queue, to its metrics."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from engines import WIDTH, run_trainer
from playwright.sync_api import expect
from stack import browser_page, running_stack, shell
from tiny_checkpoints import write_tiny

from trainer.models.demo_base import model_folder
from trainer.tasks.addition import draw_pairs, write_problems

pytestmark = pytest.mark.timeout(600)

STEPS, DRAFTING = 3, "draft_tokens: 1\ndraft_sampling: probabilistic\ncache_gib: 0.25\ncuda_graphs: false"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose demo base model is a tiny MiMo."""
    folder = write_tiny("mimo", model_folder(tmp_path), width=WIDTH)
    (folder / "made.json").write_text(json.dumps({"seed": 0}))
    pairs = draw_pairs(80, 0)
    for name, part in {"train": pairs[:70], "test": pairs[70:]}.items():
        (tmp_path / "data" / "addition").mkdir(parents=True, exist_ok=True)
        write_problems(tmp_path / "data" / "addition" / f"{name}.jsonl", part)
    return tmp_path


def fill(page, label: str, text: str) -> None:
    box = page.get_by_role("textbox", name=label, exact=True)
    box.fill(text)
    box.press("Tab")


def test_a_run_of_occ_launched_in_the_browser_samples_with_vllm(home):
    mtprl = shell(home)
    with running_stack(home, mtprl) as address, browser_page() as page:
        page.goto(f"{address}/new")
        expect(page.get_by_role("heading", name="New run")).to_be_visible()
        fill(page, "Steps", str(STEPS))
        page.get_by_text("Rollout", exact=True).first.click()
        page.get_by_role("combobox", name=re.compile("Engine")).click()
        page.get_by_role("option", name="vllm").click()
        fill(page, "vLLM", DRAFTING)
        page.get_by_role("button", name="Launch").click()
        link = page.get_by_role("link", name=re.compile(r"Watch run \d+"))
        expect(link).to_be_visible(timeout=60_000)
        run = int(re.findall(r"\d+", link.inner_text())[-1])
        page.goto(f"{address}/run?run={run}")
        expect(page.get_by_text("finished", exact=True).first).to_be_visible(timeout=400_000)
        exported = mtprl("export", str(run), "--format", "jsonl")
    rows = [json.loads(line) for line in exported.stdout.splitlines()]
    values = {}
    for row in rows:
        values.setdefault(row["metric"], []).append(row["value"])
    assert len(values["rollout/log_prob_gap"]) == STEPS
    assert max(values["rollout/log_prob_gap"]) < 1e-4
    assert all(0 < value < 1 for value in values["rollout/draft_acceptance_1"])
    assert any(values["mtp/coefficient"])


def test_two_processes_sample_their_shares_each_with_a_vllm_of_its_own(home, tmp_path):
    data = home / "data" / "addition" / "train.jsonl"
    config = {
        "steps": 1,
        "model": {"path": str(model_folder(home))},
        "regime": {"kind": "occ"},
        "data": {"kind": "jsonl", "path": str(data)},
        "rollout": {
            "engine": "vllm",
            "vllm": {"draft_tokens": 1, "cache_gib": 0.25},
            "prompts_per_step": 8,
            "samples_per_prompt": 4,
            "max_response_tokens": 16,
        },
        "update": {"mini_batches": 2},
        "launch": {"num_processes": 2},
    }
    events = run_trainer(config, tmp_path / "out")
    values = {name: value for event in events for name, value in event.get("values", {}).items()}
    assert values["rollout/log_prob_gap"] < 1e-4
    assert 0 < values["rollout/draft_acceptance_1"] < 1
