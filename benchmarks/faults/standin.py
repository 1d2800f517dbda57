"""A trainer whose steps only sleep: the real program (`trainer.__main__`: its lock, signals, events and exit codes) around another loop.

It says as much in a step as a small real one, writes checkpoints aside, sealed and renamed like the real ones, and goes on from them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from trainer.config import RunConfig
from trainer.errors import ModelError
from trainer.events import Sink
from trainer.manifest import flaw, seal, to_disk

STEP_SECONDS, SAVE_SECONDS = 0.05, 0.25
PAYLOAD = 1_000_000
"""Bytes of a checkpoint."""
MINI_BATCH_METRICS, STEP_METRICS = 8, 16


def train(config: RunConfig, folder: Path, sink: Sink, should_stop: Callable[[], bool] = lambda: False) -> str:
    """Sleep through the steps, from the newest whole checkpoint on; returns "finished" or "stopped"."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    for leftover in checkpoints.glob(".step-*"):
        shutil.rmtree(leftover)
    whole = [int(path.name[5:]) for path in checkpoints.glob("step-*") if not flaw(path)]
    resumed = max(whole, default=None)
    about: dict[str, Any] = {"pid": os.getpid(), "host": "stand-in", "threads": 1, "device": "none", "versions": {}}
    sink.emit("attempt_started", step=resumed or 0, total_steps=config.steps, resumed_from=resumed, **about)
    sink.emit("stage", step=resumed or 0, stage="loading")
    if resumed is None:
        sink.emit("metrics", step=0, values={"data/prompts": 70})
    for step in range((resumed or 0) + 1, config.steps + 1):
        say(sink, step)
        last, stopping = step == config.steps, should_stop()
        if last or stopping or step % config.checkpoint.every == 0:
            sink.emit("stage", step=step, stage="checkpointing")
            save(checkpoints, step)
            sink.emit("checkpoint", step=step, path=f"checkpoints/step-{step:06d}")
        if stopping and not last:
            return "stopped"
    return "finished"


def say(sink: Sink, step: int) -> None:
    """What a step says, spread over its time."""
    sink.emit("stage", step=step, stage="update")
    for index in range(4):
        time.sleep(STEP_SECONDS / 4)
        values = {f"update/value_{name}": step + index / 10 for name in range(MINI_BATCH_METRICS)}
        sink.emit("metrics", step=step, mini_batch=index, values=values)
    values = {f"step/value_{name}": step + name / 100 for name in range(STEP_METRICS)}
    sink.emit("metrics", step=step, values={**values, "reward/mean": step / 10, "time/step_seconds": STEP_SECONDS})
    if step % 10 == 1:
        item = {"answer": "2", "completion": "2", "reward": 1.0, "advantage": 0.5, "correct": True, "extracted": "2"}
        more = {"problem": "1+1", "reason": "", "tokens": 3, "truncated": False, "sample": 0}
        sink.emit("completions", step=step, items=[{"prompt_id": f"p{number}", **item, **more} for number in range(4)])
    if step % 25 == 0:
        items = [{"id": f"i{number}", "outcomes": [step % 2, 1]} for number in range(5)]
        sink.emit("evaluation", step=step, benchmark="held-out", samples=2, temperature=1.0, top_p=1.0, items=items)


def save(checkpoints: Path, step: int) -> None:
    """Write a checkpoint slowly, and keep two.

    Raises:
        ModelError: the disk is full.
    """
    final = checkpoints / f"step-{step:06d}"
    partial = checkpoints / f".{final.name}.partial"
    try:
        partial.mkdir()
        for part in range(4):
            time.sleep(SAVE_SECONDS / 4)
            (partial / f"part-{part}").write_bytes(os.urandom(PAYLOAD // 4))
        (partial / "about.json").write_text(json.dumps({"step": step}))
        seal(partial)
        partial.rename(final)
        to_disk(checkpoints)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelError(f"{final}: the checkpoint cannot be written ({error}); free disk space") from error
    for old in sorted(checkpoints.glob("step-*"))[:-2]:
        shutil.rmtree(old)


if __name__ == "__main__":
    loop = ModuleType("trainer.loop")
    loop.train = train  # type: ignore[attr-defined]
    sys.modules["trainer.loop"] = loop
    from trainer.__main__ import main
    from trainer.output import never_fail_to_print

    never_fail_to_print()
    sys.exit(main())
