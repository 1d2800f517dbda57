"""The stack and the browser that the end-to-end tests share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page
from stack import Shell, browser_page, running_stack, shell

from trainer.models.demo_base import character_tokenizer, model_folder, new_model
from trainer.models.storage import save_joint
from trainer.tasks.addition import draw_pairs, write_problems


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a base model for the demo presets. It is untrained, which is all that launching and watching need."""
    folder = tmp_path_factory.mktemp("e2e") / "home"
    torch.manual_seed(0)
    save_joint(new_model(), character_tokenizer(), model_folder(folder))
    (model_folder(folder) / "made.json").write_text(json.dumps({"seed": 0}))
    pairs = draw_pairs(80, 0)
    write_problems(folder / "data" / "addition" / "train.jsonl", pairs[:70])
    write_problems(folder / "data" / "addition" / "test.jsonl", pairs[70:])
    return folder


@pytest.fixture(scope="session")
def mtprl(home: Path) -> Shell:
    """Run the command line in this home."""
    return shell(home)


@pytest.fixture(scope="session")
def address(home: Path, mtprl: Shell) -> Iterator[str]:
    """Address of the running dashboard."""
    with running_stack(home, mtprl) as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """A page of a real Chromium."""
    with browser_page() as page:
        yield page
