"""What a run uses of its host: looked at once a second beside the training, told once per step as what the looks since the last step came to.

A thread that sleeps, because a look at the end of every step would always meet the devices between two parts of the work. It reads
counters of the system and touches no tensor; nothing that goes wrong in it can reach the training.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

EVERY = 1.0
"""Seconds between two looks."""
_GIB = 2**30

Look = Callable[[], dict[str, float]]


class HostUse:
    """Looks while it is entered, and gathers what was seen."""

    def __init__(self, look: Look, every: float = EVERY):
        self._look = look
        self._every = every
        self._seen: dict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> HostUse:
        self._look()  # counters of the processor tell what happened between two looks
        self._thread = threading.Thread(target=self._watch, name="host use", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout=self._every)

    def metrics(self) -> dict[str, float]:
        """By name: of memory the most, of everything else the mean of the looks since the last call; nothing where there was none."""
        with self._lock:
            seen, self._seen = self._seen, defaultdict(list)
        return {
            name: max(values) if name.endswith("memory") else sum(values) / len(values) for name, values in seen.items()
        }

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            found = self._look()
            with self._lock:
                for name, value in found.items():
                    self._seen[name].append(value)


def look_at(folder: Path, gpus: int) -> Look:
    """A look at the processor, the memory, the disk of the run's folder and the first `gpus` CUDA devices; shares from 0 to 1."""

    def look() -> dict[str, float]:
        values: dict[str, float] = {}
        with contextlib.suppress(OSError, psutil.Error):
            values["system/cpu"] = psutil.cpu_percent() / 100
            values["system/memory"] = psutil.virtual_memory().percent / 100
            values["system/disk_free_gib"] = psutil.disk_usage(str(folder)).free / _GIB
        for index in range(gpus):
            # Whatever the driver or its library answers: without nvidia-ml-py there is nothing to read.
            with contextlib.suppress(Exception):
                values[f"system/gpu_{index}/utilization"] = torch.cuda.utilization(index) / 100
                total = torch.cuda.get_device_properties(index).total_memory
                values[f"system/gpu_{index}/memory"] = torch.cuda.device_memory_used(index) / total
        return values

    return look
