"""Sampling and grading divided among the processes of a run: each does a part, all have the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trainer.launch.world import World
from trainer.rollout.engine import Drafted, Engine, Response, Sampling, drafted_in_all
from trainer.tasks import Grade, Grading, Item


class DividedEngine:
    """Each process samples a stretch of the prompts with an engine of its own."""

    def __init__(self, engine: Engine, world: World, at_once: int | None = None):
        """`at_once`: responses that each process samples at once, at most; None: all."""
        self._engine = engine
        self._world = world
        self._at_once = at_once

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """As the engine's; all processes ask for the same and get the same.

        Raises:
            MtprlError: what any of the engines raised.
        """

        def sample(part: Sequence[list[int]], first: int) -> list[list[Response]]:
            return self._in_parts(list(part), replace(sampling, first=sampling.first + first))

        return self._world.divide(prompts, sample)

    def _in_parts(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        most = self._at_once or len(prompts) * sampling.samples
        together = max(1, most // sampling.samples)
        samples = range(0, sampling.samples, most)
        responses: list[list[Response]] = []
        for start in range(0, len(prompts), together):
            part, first = prompts[start : start + together], sampling.first + start
            groups: list[list[Response]] = [[] for _ in part]
            for sample in samples:  # more than one stretch only where a prompt's samples are too many by themselves
                count = min(most, sampling.samples - sample)
                asked = replace(sampling, first=first, samples=count, first_sample=sampling.first_sample + sample)
                for group, more in zip(groups, self._engine.generate(part, asked), strict=True):
                    group += more
            responses += groups
        return responses

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
