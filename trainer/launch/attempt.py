"""What an attempt says of itself in its first event."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import torch
from accelerate import Accelerator

from trainer.rollout.vllm.installed import installed_version

LIBRARIES = ("torch", "transformers", "accelerate")


def attempt_fields(accelerator: Accelerator, total_steps: int, resumed_from: int | None, engine: str) -> dict[str, Any]:
    """The fields of the `attempt_started` event."""
    libraries = {name: version(name) for name in LIBRARIES}
    if engine == "vllm":
        libraries["vllm"] = installed_version() or "missing"
    processes = accelerator.num_processes
    device = torch.cuda.get_device_name() if accelerator.device.type == "cuda" else accelerator.device.type
    hosts = processes // int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    on_hosts = f" on {hosts} hosts" if hosts > 1 else ""
    return {
        "pid": os.getpid() if processes == 1 else os.getppid(),
        "host": platform.node(),
        "total_steps": total_steps,
        "resumed_from": resumed_from,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "device": device if processes == 1 else f"{processes} x {device}{on_hosts}",
        "versions": {"python": platform.python_version(), **libraries},
    }
