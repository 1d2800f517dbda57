"""Checkpoints on the run page: what is listed, what can be done with each, and what is said of a broken one."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import html, in_store, texts
from tiny_checkpoints import write_tiny

from dashboard import checkpoints_tab
from db import reads
from trainer.manifest import seal


@pytest.fixture
def kept(full_store) -> Iterator[Path]:
    """Two checkpoints of the run `occ`."""
    run = in_store(reads.get_run, full_store.runs["occ"])
    for step, accuracy in ((10, 0.8), (12, 0.5)):
        path = Path(run.folder) / "checkpoints" / f"step-{step:06d}"
        (path / "model").mkdir(parents=True)
        (path / "model" / "weights").write_bytes(b"w" * 2048)
        about = {"step": step, "accuracy": accuracy, "config": dict(run.config)}
        (path / "about.json").write_text(json.dumps(about))
        seal(path)
    yield path.parent
    shutil.rmtree(path.parent)  # the run's folder is that of all tests


def opened(full_store, open_page):
    return open_page("run", run=str(full_store.runs["occ"]), tab="Checkpoints")


def test_each_checkpoint_says_what_it_is_and_how_to_use_it(full_store, open_page, kept):
    app = opened(full_store, open_page)
    assert not app.exception
    newest, best = [part for part in html(app).split('<div class="m-head">') if part.startswith("<b>Step")]
    assert newest.startswith("<b>Step 12</b><span>newest</span><span>whole</span>")
    assert best.startswith("<b>Step 10</b><span>best</span><span>whole</span>")
    assert "accuracy 80.0 %" in best
    assert "model and heads 2.0 KiB" in best
    lines = [element.value for element in app.code]
    assert f"--set model.path={kept}/step-000012/model" in lines
    assert f"transformers serve {kept}/step-000010/model" in lines
    assert f"mtprl models export {kept}/step-000010/model served\n" in "".join(lines)
    assert any(line.startswith("from transformers import") for line in lines)
    assert "vLLM has no class for heads that were attached here" in texts(app)
    assert [one.proto.label for one in app.get("download_button")] == ["CSV", "Download, 2.0 KiB", "Download, 2.0 KiB"]


def test_a_checkpoint_whose_heads_vllm_knows_is_served_with_them(full_store, open_page, kept):
    write_tiny("mimo", kept / "step-000012" / "model", depths=2)
    seal(kept / "step-000012")
    app = opened(full_store, open_page)
    assert "; the MTP heads draft." in texts(app)
    [lines] = [element.value for element in app.code if "step-000012/model served" in element.value]
    export, serve = map(shlex.split, lines.splitlines())
    assert export == ["mtprl", "models", "export", f"{kept}/step-000012/model", "served"]
    assert serve[-1] == '{"method": "mtp", "num_speculative_tokens": 2}'
    assert "served" in serve


def test_a_model_that_transformers_has_no_class_for_is_loaded_with_the_module_that_registers_it(
    full_store, open_page, kept
):
    write_tiny("mimo", kept / "step-000012" / "model")
    seal(kept / "step-000012")
    codes = [element.value for element in opened(full_store, open_page).code]
    assert f"transformers serve {kept}/step-000010/model" in codes
    assert f"transformers serve {kept}/step-000012/model" not in codes
    [lines] = [code for code in codes if "step-000012/model'" in code and "from_pretrained" in code]
    done = subprocess.run(
        [sys.executable, "-c", f"{lines}\nprint(type(model).__name__)"], capture_output=True, text=True
    )
    assert done.stdout == "MiMoForCausalLM\n", done.stderr


def test_evaluate_opens_the_form_above_with_that_step(full_store, open_page, kept):
    app = opened(full_store, open_page)
    app.button(key="checkpoint:10:evaluate").click().run()
    assert not app.exception
    [form] = [block for block in app.get("popover") if block.proto.popover.label == "Evaluate"]
    assert form.proto.popover.open
    assert app.selectbox(key="evaluate:step").value == 10


def test_a_broken_checkpoint_says_what_is_wrong_and_offers_nothing(full_store, open_page, kept):
    (kept / "step-000012" / "model" / "weights").write_bytes(b"w")
    app = opened(full_store, open_page)
    assert "broken: model/weights has 1 bytes instead of 2048" in html(app)
    assert "Step 10</b><span>newest and best" in html(app)
    assert not [button for button in app.button if button.key == "checkpoint:12:evaluate"]
    assert str(kept / "step-000012") in [element.value for element in app.code]


def test_a_large_model_is_not_offered_as_a_download(full_store, open_page, kept, monkeypatch):
    monkeypatch.setattr(checkpoints_tab, "LARGEST_DOWNLOAD", 2047)
    app = opened(full_store, open_page)
    assert [one.proto.label for one in app.get("download_button")] == ["CSV"]
    assert "Too large to download here (2.0 KiB)" in texts(app)


def test_without_checkpoints_the_page_says_when_they_come(full_store, open_page):
    assert "A run saves one every" in texts(opened(full_store, open_page))
