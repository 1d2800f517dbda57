"""Sampling and grading divided among the processes of a run: each does a part, all have the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainer.launch.world import World
from trainer.rollout.engine import Drafted, Engine, Response, Sampling, drafted_in_all
from trainer.tasks import Grade, Grading, Item


class DividedEngine:
    """Each process samples a stretch of the prompts with an engine of its own."""

    def __init__(self, engine: Engine, world: World):
        self._engine = engine
        self._world = world

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """As the engine's; all processes ask for the same and get the same.

        Raises:
            MtprlError: what any of the engines raised.
        """

        def sample(part: Sequence[list[int]], first: int) -> list[list[Response]]:
            return self._engine.generate(list(part), replace(sampling, first=sampling.first + first))

        return self._world.divide(prompts, sample)

    def finish(self) -> Drafted:
        """As the engine's; what all of them drafted."""
        return drafted_in_all(self._world.gather(self._engine.finish()))


class DividedGrader:
    """Each process grades a stretch. So all have the same grades even where a comparison that is cut off by its time limit may go either way."""

    def __init__(self, grader: Grading, world: World):
        self._grader = grader
        self._world = world

    def grade_many(self, pairs: Sequence[tuple[str, str | Item]]) -> list[Grade]:
        """As the grader's; all processes ask for the same and get the same.

        Raises:
            MtprlError: what any of the graders raised.
        """
        return self._world.divide(pairs, lambda part, _: self._grader.grade_many(part))
