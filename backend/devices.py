"""The devices of this host, as leases name them, and what a process sees when it is given one.

A GPU is `cuda:<index>` with the index that nvidia-smi gives it, whatever part of the GPUs this process may use, so that two
workers on one host mean the same thing. Where there is none, slots of the processor (`cpu:0`, ...) bound the runs at once.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache

import psutil

from backend.settings import Settings

_MOST_DEFAULT_SLOTS = 4


def devices(settings: Settings) -> list[str]:
    """Names of the devices that runs may be given: the visible GPUs, else the processor's slots."""
    gpus = visible_gpus()
    if gpus:
        return [f"cuda:{index}" for index in gpus]
    return [f"cpu:{slot}" for slot in range(settings.cpu_slots or min(cores(), _MOST_DEFAULT_SLOTS))]


def environment_for(given: Sequence[str], total: int) -> dict[str, str]:
    """Variables that confine a run to the devices it is `given`, of `total`: the GPUs it sees, and each process's share of the cores."""
    gpus = [name.removeprefix("cuda:") for name in given if name.startswith("cuda:")]
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the order of nvidia-smi
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
        "OMP_NUM_THREADS": str(max(1, cores() // max(1, total))),
    }


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def visible_gpus() -> list[int]:
    """Indices of the GPUs that this process may use: those nvidia-smi lists, narrowed by CUDA_VISIBLE_DEVICES.

    Asked without torch, which takes seconds to import and would hold a CUDA context.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None and not allowed.strip():
        return []
    uuids = _nvidia_smi()
    if allowed is None:
        return sorted(uuids)
    visible = []
    for entry in (part.strip() for part in allowed.split(",")):
        matches = [index for index, uuid in uuids.items() if entry == str(index) or (entry and uuid.startswith(entry))]
        if len(matches) != 1:
            break  # as CUDA does: what follows an entry that names no GPU is not visible either
        visible.append(matches[0])
    return visible


def _nvidia_smi() -> dict[int, str]:
    """UUIDs of the host's GPUs by index; empty where there is no NVIDIA driver."""
    command = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    rows = (line.partition(",") for line in answer.stdout.splitlines())
    return {int(index): uuid.strip() for index, _, uuid in rows if index.strip().isdigit()}


@cache
def memory_of(kind: str) -> int | None:
    """Bytes of memory of this host: of the processor's slots together, or of its smallest GPU; None where it cannot be told.

    Args:
        kind: cpu or cuda.
    """
    if kind == "cpu":
        return int(psutil.virtual_memory().total)
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    sizes = [int(line) for line in answer.stdout.split() if line.isdigit()]
    return min(sizes) * 2**20 if sizes else None
