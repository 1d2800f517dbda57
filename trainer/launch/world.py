"""The processes that make one run, as each of them sees them. docs/decisions/processes.md says why gradients are summed by hand.

All processes hold the same parameters, or parts of the same, and the same experience, and make the same calls in the same order. What costs time (sampling, grading,
forward and backward passes) is divided among them; what is small is known to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from trainer.errors import MtprlError, PeerLostError, TrainingError

T = TypeVar("T")

MOST_NUMBERS = 2**25
"""Numbers that are summed in one message: 128 MiB in float32."""


class World:
    """Every method but `share` exchanges something and must be called by all processes alike."""

    def __init__(self, accelerator: Accelerator, *, is_sharded: bool = False):
        """`is_sharded`: the parameters are divided among the processes, so that all must make the same passes (trainer.launch.sharding)."""
        self.accelerator = accelerator
        self.is_sharded = is_sharded
        self.rank: int = accelerator.process_index
        self.size: int = accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things: one stretch, as long as the others' or one off; empty where there are too few."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def gather(self, value: T) -> list[T]:
        """Every process's value, in the order of the processes. It is pickled: no tensor of a GPU may be in it."""
        if self.size == 1:
            return [value]
        with _exchange():
            return gather_object([value])

    def any(self, flag: bool) -> bool:
        """Whether the flag is set anywhere."""
        return any(self.gather(flag))

    def divide(self, things: Sequence[T], work: Callable[[Sequence[T], int], list]) -> list:
        """One result per thing, in their order, each made by one of the processes and known to all.

        Args:
            things: the same in all processes.
            work: makes the results of a stretch of them, given the place of its first; not called for an empty stretch.

        Raises:
            MtprlError: what `work` raised in any process.
        """
        mine = self.share(len(things))
        results: list = []
        with self.together():
            if mine.start < mine.stop:
                results = work(things[mine], mine.start)
        return [result for part in self.gather(results) for result in part]

    def from_main(self, make: Callable[[], T]) -> T:
        """What the main process makes, for all; the others wait.

        Raises:
            MtprlError: what `make` raised.
        """
        made = []
        with self.together():
            if self.is_main:
                made = [make()]
        (value,) = [value for part in self.gather(made) for value in part]
        return value

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes in the place of each tensor. All have one type and device, and each its shape everywhere."""
        if self.size == 1:
            return
        for bucket in _buckets(tensors):
            total = torch.cat([tensor.flatten() for tensor in bucket])
            with _exchange():
                torch.distributed.all_reduce(total)
            for tensor, part in zip(bucket, total.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def over_shards(self, value: float) -> float:
        """The sum over the processes of what each has of its part of the parameters; where they are not divided, the value itself."""
        if not self.is_sharded:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.accelerator.device)
        self.add_up([total])
        return float(total)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise in all processes what is raised in any of them. Nothing may be exchanged inside.

        Raises:
            MtprlError: the error of the first process that has one. Other exceptions are a process's own; the rest then learn that it is gone.
        """
        if self.size == 1:
            yield
            return
        own: MtprlError | None = None
        try:
            yield
        except MtprlError as error:
            own = error
        errors = [error for error in self.gather(own) if error is not None]
        if errors:
            raise errors[0]


def check_same_parameters(model: nn.Module, world: World) -> None:
    """Whether all processes hold the same parameters, as they must where each makes every optimiser step by itself.

    Raises:
        TrainingError: they do not.
    """
    if world.is_sharded:  # each makes its part of the step
        return
    sums = torch.stack([parameter.detach().sum(dtype=torch.float64) for parameter in model.parameters()]).tolist()
    of_all = world.gather(sums)
    for (name, _), *values in zip(model.named_parameters(), *of_all, strict=True):
        if len(set(values)) > 1:
            raise TrainingError(
                f"the processes' parameters are no longer the same (first {name}), so that nothing is saved; call the same command "
                "again to go on from the last checkpoint, or set launch.num_processes to 1"
            )


@contextmanager
def _exchange() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what every backend of torch.distributed raises where a process does not answer
        reason = " ".join(str(error).split())[:200]
        raise PeerLostError(f"another process of the run does not answer: {reason}") from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in groups of at most MOST_NUMBERS numbers, or of one."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and sum(map(torch.numel, bucket)) + tensor.numel() > MOST_NUMBERS:
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket
