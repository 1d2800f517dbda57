"""Device and precision of a run, and the processes' way to one another, by Accelerate."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import AutocastKwargs

from trainer.config import EvaluationConfig, Model, RunConfig
from trainer.errors import TrainingError

LONGEST_WAIT = timedelta(hours=2)
"""How long a process waits for the others, such as for a checkpoint that the first one writes. What has died is noticed at once, by the
launcher; this is for what hangs."""


def check_world_size(config: RunConfig | EvaluationConfig, started: int) -> None:
    """Whether as many processes were started as asked for.

    Raises:
        TrainingError: there are more or fewer.
    """
    asked = config.launch.num_processes
    if started != asked:
        raise TrainingError(
            f"launch.num_processes: {asked} asked for, but {started} started; start the run with `python -m trainer`, which starts them itself"
        )


def join(config: RunConfig | EvaluationConfig, meeting_point: Path) -> None:
    """Meet the other processes: NCCL where there are GPUs, gloo elsewhere. RANK, LOCAL_RANK and WORLD_SIZE say which one this is.

    Args:
        config: the run.
        meeting_point: a file that does not exist yet, the same for all.

    Raises:
        TrainingError: another number of processes was asked for, or there are too few GPUs for them.
    """
    rank, local_rank, size = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    check_world_size(config, size)
    devices = torch.cuda.device_count()
    if torch.cuda.is_available():
        if devices < size:
            raise TrainingError(
                f"launch.num_processes: {size} asked for, but {devices} GPUs can be seen; lower it, or let CUDA_VISIBLE_DEVICES name more"
            )
        torch.cuda.set_device(local_rank)
    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=f"file://{meeting_point}",
        rank=rank,
        world_size=size,
        timeout=LONGEST_WAIT,
    )


def accelerator_for(config: RunConfig | EvaluationConfig) -> Accelerator:
    """Accelerate's view of this process: its device and precision, and the processes beside it.

    Raises:
        TrainingError: there are more or fewer processes than asked for, or the device cannot do the precision.
    """
    is_cpu = config.launch.num_processes > 1 and not torch.cuda.is_available()
    device = PartialState(cpu=is_cpu).device
    if config.model.mixed_precision == "bf16" and not can_multiply_bfloat16(device):
        raise TrainingError(f"model.mixed_precision: bf16 is not possible on {device.type} here; set it to no")
    # Copies of all matrices in bfloat16 would be kept through a pass that otherwise has one block at a time.
    is_sparing = isinstance(config.model, Model) and (
        config.model.gradient_checkpointing or config.launch.sharding == "full"
    )
    handlers = [AutocastKwargs(cache_enabled=not is_sparing)]
    accelerator = Accelerator(cpu=is_cpu, mixed_precision=config.model.mixed_precision, kwargs_handlers=handlers)
    check_world_size(config, accelerator.num_processes)
    return accelerator


def can_multiply_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic of its own; GPUs before NVIDIA's Ampere only imitate it, slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu"
