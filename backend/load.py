"""What this host has and how much of it is taken, for a worker's heartbeat: some tenths of a millisecond, and nothing that can fail it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import psutil

from db.workers import Gpu, Load

log = logging.getLogger(__name__)


class Meter:
    """Looks at the host again and again. The first look knows no time to look back on: it says that no core is busy."""

    def __init__(self, home: Path):
        self._home = home
        self._nvml = _nvml()
        psutil.cpu_percent()

    def look(self) -> Load | None:
        """The host now; None where the system does not say."""
        try:
            memory, disk = psutil.virtual_memory(), psutil.disk_usage(str(self._home))
            return {
                "cores": os.cpu_count() or 1,
                "busy": psutil.cpu_percent() / 100,
                "memory_used": memory.total - memory.available,
                "memory_total": memory.total,
                "disk_free": disk.free,
                "disk_total": disk.total,
                "gpus": self._gpus(),
            }
        except (psutil.Error, OSError) as error:
            log.debug("the load of this host cannot be read: %s", error)
            return None

    def _gpus(self) -> dict[str, Gpu]:
        if self._nvml is None:
            return {}
        try:
            return {f"cuda:{index}": _gpu(self._nvml, index) for index in range(self._nvml.nvmlDeviceGetCount())}
        except self._nvml.NVMLError as error:
            log.debug("the GPUs of this host cannot be read: %s", error)
            return {}


def _nvml() -> Any:
    """NVIDIA's library, ready to be asked; None where it, its driver or a GPU is missing."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
    try:
        busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except nvml.NVMLError:  # as on a part of a GPU
        busy = 0.0
    return {"name": str(name), "memory_used": int(memory.used), "memory_total": int(memory.total), "busy": busy}
