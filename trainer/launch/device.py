"""Device and precision of a run, and the processes' way to one another, by Accelerate."""

from __future__ import annotations

import os
import platform
from datetime import timedelta
from pathlib import Path

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import AutocastKwargs

from trainer.config import EvaluationConfig, Model, RunConfig, dump
from trainer.errors import TrainingError
from trainer.folder import CONFIG_FILE

LONGEST_WAIT = timedelta(hours=2)
"""How long a process waits for the others, such as for a checkpoint that the first one writes. What has died is noticed at once, by the
launcher; this is for what hangs."""


_WHICH = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


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


def join(config: RunConfig | EvaluationConfig, meeting_point: str) -> None:
    """Meet the other processes: NCCL where there are GPUs, gloo elsewhere. RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE say which one this is.

    Args:
        config: the run.
        meeting_point: the same for all: `file://` and a file that does not exist yet, or `tcp://host:port` at the first process's host.

    Raises:
        TrainingError: another number of processes was asked for, there are too few GPUs for them, or they cannot meet.
    """
    rank, local_rank, size, here = (int(os.environ[name]) for name in _WHICH)
    check_world_size(config, size)
    devices = torch.cuda.device_count()
    if torch.cuda.is_available():
        if devices < here:
            on_host = "" if here == size else f", {here} of them on this host"
            raise TrainingError(
                f"launch.num_processes: {size} asked for{on_host}, but {devices} GPUs can be seen; lower it, or let CUDA_VISIBLE_DEVICES name more"
            )
        torch.cuda.set_device(local_rank)
    try:
        torch.distributed.init_process_group(
            "nccl" if torch.cuda.is_available() else "gloo",
            init_method=meeting_point,
            rank=rank,
            world_size=size,
            timeout=LONGEST_WAIT,
        )
    except torch.distributed.DistError as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"the processes cannot meet at {meeting_point} ({reason}); MASTER_ADDR must be the first host as the others reach it, and MASTER_PORT free there"
        ) from error


def check_alike(config: RunConfig | EvaluationConfig, folder: Path) -> None:
    """Whether all processes, which have met, were given one configuration and see the run folder that the first one writes to.

    Raises:
        TrainingError: they were not, or do not; said by all of them.
    """
    mine = (platform.node(), dump(config), (folder / CONFIG_FILE).is_file())
    found: list[tuple[str, str, bool]] = [mine] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    for host, given, sees in found:
        if not sees:
            raise TrainingError(
                f"{folder}: is not seen on {host} as the first process has it; give one shared folder, at the same path on every host"
            )
        if given != found[0][1]:
            raise TrainingError(
                f"{host} was given another configuration than {found[0][0]}; give every host the same file and --set"
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
