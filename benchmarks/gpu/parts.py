"""A part of the check: measurements, each with a name, kept one by one in a file, so that a later call goes on where one ended."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch

from benchmarks.origin import about, said

GRACE = 20
"""Seconds that a measurement may go on after the part's time."""

Values = dict[str, Any]
"""What came of a measurement, as JSON can hold it."""
Found = Mapping[str, Values]
"""By the name of the measurement."""


class Setting(NamedTuple):
    """Where and how large."""

    device: torch.device
    small: bool
    """Of a size that a processor does in seconds: whether the program works, and no measurement."""
    out: Path
    """Where results stand."""
    work: Path
    """Models and run folders, which are made again where they are lost."""
    deadline: float
    """Of `time.monotonic()`: nothing is begun after it."""

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one."""
        return self.device.type == "cuda"


class Cell(NamedTuple):
    """One measurement. None: it is not done, for want of time."""

    name: str
    measure: Callable[[], Values | None]


class Part(NamedTuple):
    """Some measurements, and how they are told."""

    name: str
    title: str
    cells: Callable[[Setting], Iterator[Cell]]
    tell: Callable[[Found], list[str]]
    """Lines of Markdown."""


def make(part: Part, setting: Setting) -> None:
    """Make the measurements that the part's file does not hold, as far as the time goes."""
    path = setting.out / f"{part.name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"calls": [], "cells": {}}
    if kept.get("left") == []:
        print(f"{part.name}: all there in {path}", flush=True)
        return
    kept["calls"].append({**about(), **_device(setting)})
    left, cells = [], kept["cells"]
    for cell in part.cells(setting):
        if cell.name in cells and "failed" not in cells[cell.name]:
            continue
        values = _measured(cell, setting) if time.monotonic() < setting.deadline else None
        if values is None or "failed" in values:
            left.append(cell.name)
        if values is not None:
            cells[cell.name] = {**values, "call": len(kept["calls"]) - 1}
            _keep(path, {**kept, "left": None})
        print(f"{part.name}, {cell.name}: {_short(values)}", flush=True)
    _keep(path, {**kept, "left": left})
    print("\n".join(["", *part.tell(cells)]), flush=True)
    if left:
        print(f"{part.name}: still to do, call it again: {', '.join(left)}", flush=True)


def _measured(cell: Cell, setting: Setting) -> Values | None:
    began = time.perf_counter()
    try:
        with _ending(setting.deadline + GRACE - time.monotonic()):
            values = cell.measure()
    except Exception as error:  # the other measurements are worth having
        traceback.print_exc()
        values = {"failed": f"{type(error).__name__}: {error}"[:500]}
    gc.collect()
    if setting.on_gpu:
        torch.cuda.empty_cache()
    return values and {**values, "seconds": round(time.perf_counter() - began, 1)}


@contextmanager
def _ending(seconds: float) -> Iterator[None]:
    """Raise TimeoutError after so many seconds."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done within the part's time, {seconds:.0f} s of which were left")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _device(setting: Setting) -> dict[str, Any]:
    libraries = {name: version(name) for name in ("transformers", "accelerate")}
    if not setting.on_gpu:
        return {"device": "processor", **libraries, "small": setting.small}
    properties = torch.cuda.get_device_properties(setting.device)
    return {
        "device": properties.name,
        "device_gib": round(properties.total_memory / 2**30, 1),
        "driver": said(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]).split("\n")[0],
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        **libraries,
        "small": setting.small,
    }


def _keep(path: Path, kept: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(kept, indent=1) + "\n")
    partial.replace(path)


def _short(values: Values | None) -> str:
    return "no time left" if values is None else values.get("failed") or f"done in {values['seconds']} s"


def of(found: Found, name: str) -> Values | None:
    """A measurement that was made and did not fail."""
    values = found.get(name)
    return None if values is None or "failed" in values else values


def failures(found: Found) -> list[str]:
    """A line for each that failed."""
    return [f"* {name}: {values['failed']}" for name, values in found.items() if "failed" in values]
