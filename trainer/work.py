"""What the program does with a configuration: train, or evaluate; and how it says that it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from trainer.config import EvaluationConfig, RunConfig
from trainer.events import Sink

ShouldStop = Callable[[], bool]


class Work(NamedTuple):
    """One kind of work. `do` returns "finished" or "stopped"; the other fields are for the user."""

    do: Callable[[Path, Sink, ShouldStop], str]
    finished: str
    stopped: str
    out_of_memory: str


def work_of(config: RunConfig | EvaluationConfig) -> Work:
    """The work that the configuration asks for. What it needs is imported when it is done."""
    if isinstance(config, EvaluationConfig):

        def evaluate(folder: Path, sink: Sink, should_stop: ShouldStop) -> str:
            from trainer.evaluation.job import evaluate_model

            return evaluate_model(config, folder, sink, should_stop)

        return Work(
            evaluate, "all problems answered", "asked to stop; what was answered is kept", "lower sequences or samples"
        )

    def train(folder: Path, sink: Sink, should_stop: ShouldStop) -> str:
        from trainer.loop import train

        return train(config, folder, sink, should_stop)

    return Work(
        train,
        "all steps done",
        "asked to stop; a checkpoint was saved",
        "lower update.micro_batch_sequences or rollout.prompts_per_step, or set model.gradient_checkpointing (`mtprl plan` says what fits)",
    )
