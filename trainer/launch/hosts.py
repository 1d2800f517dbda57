"""The part of a run that one launcher starts: all of its processes, or, inside a distributed job, its share of them.

A job of several hosts starts the same command once on each, with the variables of torch.distributed in the environment, as torchrun does and
an srun line can: WORLD_SIZE launchers, of which this is the RANK-th, and MASTER_ADDR and MASTER_PORT, where all of them can reach the first.
Each starts as many of the run's processes as the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from trainer.errors import TrainingError

_WHERE = ("RANK", "MASTER_ADDR", "MASTER_PORT")


class Share(NamedTuple):
    """Which of the run's processes a launcher starts."""

    first: int
    """Rank of the first of them."""
    processes: int
    """How many they are."""
    total: int
    """Processes of the run."""
    first_here: int = 0
    """Local rank of the first of them: where several launchers share a host, not 0."""
    here: int = 0
    """Processes of the run on this host."""
    address: str | None = None
    """Where all processes meet, `host:port`; None: on this host alone."""

    @property
    def is_main(self) -> bool:
        """Whether the process that writes is among them. This launcher holds the run folder, the others only read there."""
        return self.first == 0


def share_of(processes: int, environment: Mapping[str, str] = os.environ) -> Share:
    """This launcher's share of a run in so many processes.

    Raises:
        TrainingError: the environment tells of a distributed job, and not enough of it, or of one that the processes cannot be divided among.
    """
    launchers = _number(environment, "WORLD_SIZE", 1)
    if launchers <= 1:
        return Share(0, processes, processes, 0, processes)
    if missing := [name for name in _WHERE if not environment.get(name)]:
        raise TrainingError(
            f"WORLD_SIZE={launchers} in the environment says that {launchers} launchers make this run together, but {' and '.join(missing)} "
            "is not set; start them with torchrun or as docs/deploy.md has it, or unset WORLD_SIZE"
        )
    rank = _number(environment, "RANK", 0)
    if rank >= launchers:
        raise TrainingError(f"RANK={rank} in the environment, of WORLD_SIZE={launchers}: count launchers from 0")
    if processes % launchers:
        raise TrainingError(
            f"launch.num_processes: {processes} asked for, but {launchers} launchers were started (WORLD_SIZE), of which each starts as many as the "
            f"others; set it to {launchers} times the processes (GPUs) of each"
        )
    each = processes // launchers
    return Share(
        first=each * rank,
        processes=each,
        total=processes,
        first_here=each * _number(environment, "LOCAL_RANK", 0),
        here=each * _number(environment, "LOCAL_WORLD_SIZE", 1),
        address=f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}",
    )


def _number(environment: Mapping[str, str], name: str, usual: int) -> int:
    text = environment.get(name) or str(usual)
    if not text.isdecimal():
        raise TrainingError(f"{name}={text[:40]} in the environment is no number; torchrun sets it, or unset it")
    return int(text)
