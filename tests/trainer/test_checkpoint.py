"""Checkpoints: what is never loaded, what is kept, and what a kill leaves."""

import itertools
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import begin, changed, cut, flip_a_bit, names, save_at, steps

from trainer.checkpoint import Checkpoints, restore
from trainer.errors import ModelError
from trainer.events import MemorySink
from trainer.loop import train
from trainer.manifest import MANIFEST, flaw, seal
from trainer.objectives.coefficient import calibration_sums
from trainer.objectives.tracker import CoefficientTracker


@pytest.fixture
def config(tiny_run):
    return tiny_run


def test_everything_is_on_the_disk_before_the_checkpoint_has_its_name(config, tmp_path, monkeypatch):
    run = begin(config, tmp_path / "run")
    happened: list[tuple[str, Path]] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        happened.append(("fsync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        happened.append(("rename", Path(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    save_at(run, 3)
    final = tmp_path / "run" / "checkpoints" / "step-000003"
    named = happened.index(("rename", final))
    before = {path for what, path in happened[:named] if what == "fsync"}
    partial = final.with_name(".step-000003.partial")
    assert before == {partial, *(partial / path.relative_to(final) for path in final.rglob("*"))}
    assert happened[named + 1 :] == [("fsync", final.parent), ("fsync", final.parent.parent)]


# --- resuming from what is there -------------------------------------------------------------------------------


def rename_to_another_step(checkpoint: Path) -> None:
    checkpoint.rename(checkpoint.with_name("step-000005"))


@pytest.mark.parametrize(
    ("damage", "where", "words"),
    [
        (
            lambda path: cut(path / "model" / "model.safetensors"),
            "step-000004",
            r"model/model\.safetensors has \d+ bytes",
        ),
        (
            lambda path: flip_a_bit(path / "model" / "mtp.safetensors"),
            "step-000004",
            r"model/mtp\.safetensors was changed",
        ),
        (lambda path: flip_a_bit(path / "state.pt"), "step-000004", "state.pt was changed"),
        (lambda path: (path / MANIFEST).unlink(), "step-000004", "it has no manifest.json"),
        (rename_to_another_step, "step-000005", "it is step-000004 under another name"),
        (lambda path: (path / "about.json").unlink() or seal(path), "step-000004", "about.json is not one of this"),
    ],
    ids=["truncated", "bit-flipped model", "bit-flipped state", "never completed", "renamed", "foreign"],
)
def test_a_broken_checkpoint_is_skipped_with_an_alarm_and_saving_its_step_replaces_it(
    config, tmp_path, damage, where, words
):
    folder = tmp_path / "run"
    run = begin(changed(config, checkpoint={"keep": 2}), folder)
    for step in (2, 4):
        save_at(run, step)
    damage(folder / "checkpoints" / "step-000004")

    sink = MemorySink(attempt=2)
    run = begin(run.config, folder, sink)
    assert run.step == 2
    assert [event["type"] for event in sink.events] == ["attempt_started", "alarm", "stage"]
    assert sink.events[0]["resumed_from"] == 2
    alarm = sink.events[1]
    assert (alarm["severity"], alarm["name"]) == ("warning", "checkpoint_broken")
    assert alarm["message"].startswith(f"{folder / 'checkpoints' / where} is broken: ")
    assert alarm["message"].endswith(
        "Training goes on from the checkpoint of step 2; remove the folder once you have looked at it"
    )
    assert re.search(words, alarm["message"])

    save_at(run, 3)  # the broken one is newer, and is not counted
    assert steps(run.checkpoints) == [2, 3]
    assert names(folder) == ["step-000002", "step-000003", where]
    save_at(run, int(where[-6:]))
    assert names(folder) == ["step-000003", where]
    assert flaw(folder / "checkpoints" / where) is None
    assert steps(Checkpoints(folder, run.config)) == [3, int(where[-6:])]


def test_a_run_that_falls_back_ends_as_if_nothing_had_been_broken(config, tmp_path):
    config = changed(config, checkpoint={"every": 2, "keep": 2})
    train(config, tmp_path / "whole", MemorySink())
    stops = iter([False, False, False, True])
    train(config, tmp_path / "parts", MemorySink(), lambda: next(stops))
    flip_a_bit(tmp_path / "parts" / "checkpoints" / "step-000004" / "model" / "model.safetensors")
    sink = MemorySink(attempt=2)
    train(config, tmp_path / "parts", sink)
    assert sink.events[0]["resumed_from"] == 2
    assert [event["step"] for event in sink.events if event["type"] == "evaluation"] == [4, 6]  # that of 2 was made
    assert flaws(tmp_path / "whole") == flaws(tmp_path / "parts") == [None, None]
    for step in ("step-000004", "step-000006"):
        first, second = ((tmp_path / name / "checkpoints" / step / MANIFEST).read_text() for name in ("whole", "parts"))
        assert first == second


def flaws(folder: Path) -> list[str | None]:
    return [flaw(path) for path in sorted((folder / "checkpoints").iterdir())]


def test_without_a_good_checkpoint_training_starts_from_the_base_model(config, tmp_path):
    folder = tmp_path / "run"
    save_at(begin(config, folder), 4)
    flip_a_bit(folder / "checkpoints" / "step-000004" / "state.pt")
    sink = MemorySink()
    run = begin(config, folder, sink)
    assert run.step == 0
    assert sink.events[0]["resumed_from"] is None
    assert "Training goes on from the base model" in sink.events[1]["message"]
    assert names(folder) == ["step-000004"]


def test_what_a_killed_save_left_is_removed_at_the_next_start(config, tmp_path):
    folder = tmp_path / "run"
    for name in (".step-000004.partial", ".step-000002.removed"):
        (folder / "checkpoints" / name / "model").mkdir(parents=True)
        (folder / "checkpoints" / name / "model" / "config.json").write_text("half")
    sink = MemorySink()
    begin(config, folder, sink)
    assert names(folder) == []
    assert not any(event["type"] == "alarm" for event in sink.events)


def test_a_state_that_does_not_fit_is_refused_in_words(config, tmp_path):
    folder = tmp_path / "run"
    save_at(begin(config, folder), 4)
    path = folder / "checkpoints" / "step-000004"
    torch.save({"optimizer": {}}, path / "state.pt")
    seal(path)
    with pytest.raises(ModelError, match=r"step-000004: the optimiser state cannot be read .* remove this checkpoint"):
        begin(config, folder)


class Counter:
    """A part of a run's state, as small as can be."""

    def __init__(self):
        self.count = 0

    def state(self):
        return {"count": self.count}

    def restore(self, state):
        self.count = state["count"]


def test_every_part_comes_back_as_it_was(config, tmp_path):
    run = begin(config, tmp_path / "run")
    run.parts["counter"] = counter = Counter()
    counter.count = 5
    save_at(run, 3)
    counter.count = 6
    restore(run.checkpoints.newest, run.updater, run.parts)
    assert counter.count == 5
    run.parts["another"] = Counter()
    with pytest.raises(ModelError, match=r"the optimiser state cannot be read .'another'"):
        restore(run.checkpoints.newest, run.updater, run.parts)


def test_a_checkpoint_of_a_version_without_a_later_part_is_gone_on_from(config, tmp_path):
    run = begin(config, tmp_path / "run")
    run.heads.acceptance = (0.5,)
    save_at(run, 2)
    file = run.checkpoints.newest.path / "state.pt"
    state = torch.load(file, weights_only=True)
    assert state["parts"].pop("heads") == [0.5]
    torch.save(state, file)
    seal(file.parent)
    assert begin(config, tmp_path / "run").heads.acceptance == ()
    del state["parts"]["alarms"]
    torch.save(state, file)
    seal(file.parent)
    with pytest.raises(ModelError, match=r"state cannot be read \('alarms'\)"):
        begin(config, tmp_path / "run")


@pytest.mark.parametrize(
    "wrong", [{"config": {}}, {"config": None}, {"accuracy": "0.5"}, {"step": "4"}, {"config": {"evaluation": 3}}]
)
def test_what_a_sealed_checkpoint_says_of_itself_is_looked_at(config, tmp_path, wrong):
    folder = tmp_path / "run"
    run = begin(changed(config, checkpoint={"keep": 2}), folder)
    for step in (2, 4):
        save_at(run, step, 0.5)
    path = folder / "checkpoints" / "step-000004"
    about = json.loads((path / "about.json").read_text())
    (path / "about.json").write_text(json.dumps({**about, **wrong}))
    (path / MANIFEST).unlink()
    seal(path)
    found = Checkpoints(folder, run.config)
    assert steps(found) == [2]
    assert found.broken[0].flaw.startswith("about.json is not one of this program's")
    assert found.best.step == 2


def test_files_and_links_in_the_place_of_a_checkpoint_are_no_obstacle(config, tmp_path):
    folder = tmp_path / "run"
    checkpoints = folder / "checkpoints"
    (checkpoints / ".step-000003.partial").parent.mkdir(parents=True)
    (checkpoints / ".step-000003.partial").write_text("a file")
    (checkpoints / "step-000003").symlink_to("/nowhere")
    (checkpoints / "step-000004").write_text("a file")
    elsewhere = tmp_path / "elsewhere"
    run = begin(changed(config, checkpoint={"keep": 1}), folder)
    assert len(run.checkpoints.broken) == 2
    save_at(run, 3)
    (checkpoints / "step-000003").rename(elsewhere)
    (checkpoints / "step-000003").symlink_to(elsewhere)
    run = begin(run.config, folder)
    assert run.step == 3
    save_at(run, 4)
    assert names(folder) == ["step-000004"]
    assert flaw(elsewhere) is None  # what lies elsewhere is somebody's own


@pytest.mark.parametrize("put", [lambda path: path.write_text("a file"), lambda path: path.symlink_to("/proc/self")])
def test_where_no_checkpoint_can_be_written_the_run_does_not_begin(config, tmp_path, put):
    (tmp_path / "run").mkdir()
    put(tmp_path / "run" / "checkpoints")
    sink = MemorySink()
    with pytest.raises(
        ModelError, match=r"run/checkpoints: the checkpoint cannot be written .*make it a folder that can be written to"
    ):
        begin(config, tmp_path / "run", sink)
    assert sink.events == []


def test_a_new_run_may_begin_from_a_checkpoint(config, tmp_path):
    old = begin(config, tmp_path / "old")
    with torch.no_grad():
        old.joint.mtp[0].norm.weight.add_(1)
    save_at(old, 3)
    start = {"path": str(tmp_path / "old" / "checkpoints" / "step-000003" / "model")}
    new = begin(changed(config, model=start, optimizer={"lr": 0.5}), tmp_path / "new")
    assert new.step == 0
    assert torch.equal(new.joint.mtp[0].norm.weight, old.joint.mtp[0].norm.weight)


def test_a_restored_running_mean_goes_on_bit_for_bit(config):
    tracker, restored = (CoefficientTracker(config.regime.model_copy(update={"ema": 0.9}), 1) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for size in (7, 11, 13, 29, 5, 17):
        changes = torch.randn(2, 1, size, generator=generator)
        sums = [calibration_sums(*changes, torch.ones(1, size), eps=1e-8)]
        for one in (tracker, restored):
            one.observe(sums, first_of_phase=False)
        assert restored.state() == tracker.state()
        restored.restore(tracker.state())


# --- killed at every moment ------------------------------------------------------------------------------------

CHANGES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"}


def killed_before(moment: int, folder: Path, action) -> bool:
    """Do something in a process that kills itself before its `moment`-th look at or change of files; False where it ends before."""
    child = os.fork()
    if child == 0:
        passed = itertools.count()

        def kill(event: str, arguments: tuple) -> None:
            ours = event in CHANGES and (event != "open" or str(arguments[0]).startswith(str(folder)))
            if ours and next(passed) == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


@pytest.mark.slow
def test_a_kill_at_any_moment_of_a_save_leaves_what_was_there_or_that_and_the_new_one(config, tmp_path):
    folder = tmp_path / "run"
    config = changed(config, checkpoint={"keep": 2})
    run = begin(config, folder)
    for step, accuracy in {2: 0.9, 4: 0.1, 5: 0.2}.items():
        save_at(run, step, accuracy)
    # A broken one stands where the new one goes, and what is wrong with it tells it from one that this save would break.
    shutil.copytree(folder / "checkpoints" / "step-000005", folder / "checkpoints" / "step-000006")
    kept = tmp_path / "kept"
    folder.rename(kept)
    seen = set()
    for moment in itertools.count():
        shutil.copytree(kept, folder)
        killed = killed_before(moment, folder, lambda: save_at(run, 6, 0.3))
        after = Checkpoints(folder, config)
        seen.add(tuple(steps(after)))
        assert {broken.flaw for broken in after.broken} <= {"it is step-000005 under another name"}
        assert after.best.step == 2
        shutil.rmtree(folder)
        if not killed:
            break
    assert moment > 40
    assert seen == {(2, 4, 5), (2, 4, 5, 6), (2, 5, 6)}
