"""Procedurally generated tasks of the reasoning-gym library, with the library's own scorers.

The library gives partial credit to wrong answers, so that only a score of 1.0 counts as correct. Importing this module
imports the library, which takes about a second: import it only where a reasoning-gym task is used.
"""

from __future__ import annotations

import difflib
import json
import random
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.config import ReasoningGymData
from trainer.errors import DataError
from trainer.tasks.items import Item

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies leave files open while they are imported
    import reasoning_gym
    from reasoning_gym.factory import DATASETS


@dataclass(frozen=True, slots=True)
class GymScorer:
    """The library's score of an answer to one generated problem, from 0 to 1."""

    task: str
    settings: str
    """The task's settings as JSON: some scorers depend on them."""
    entry: dict[str, Any]

    def __call__(self, answer: str) -> float:
        """Score an extracted answer."""
        return float(_scoring_dataset(self.task, self.settings).score_answer(answer, self.entry))


def load(data: ReasoningGymData) -> list[Item]:
    """Generate all problems of a task; the same seed and settings give the same problems.

    Raises:
        DataError: the task is unknown or its settings are refused; the message starts with the field's name.
    """
    return _generate(data, data.size)


def check(data: ReasoningGymData) -> int:
    """Validate task and settings by generating the first problem; how many problems `load` will give.

    Raises:
        DataError: as for `load`.
    """
    _generate(data, 1)
    return data.size


def _generate(data: ReasoningGymData, count: int) -> list[Item]:
    if data.task not in DATASETS:
        near = difflib.get_close_matches(data.task, DATASETS, n=3, cutoff=0.4) or sorted(DATASETS)[:3]
        raise DataError(f"task: reasoning-gym has no task {data.task!r}; the nearest names are {', '.join(near)}")
    for name in ("size", "seed"):
        if name in data.settings:
            raise DataError(f"settings: {name} belongs beside settings, not in it; move it there")
    settings = json.dumps(data.settings, default=str)
    try:
        dataset = reasoning_gym.create_dataset(data.task, size=data.size, seed=_start(data.seed), **data.settings)
        return [_item(data, index, dataset[index], settings) for index in range(count)]
    except (
        Exception
    ) as error:  # whatever a task makes of its settings: a failed assert, a missing key, an endless search given up
        raise DataError(
            f"settings: {data.task} cannot work with {settings}: {error or type(error).__name__}"
        ) from error


def _start(seed: int) -> int:
    """The library seeds problem i with seed + i, so that neighbouring seeds would share all but one: spread them out."""
    return random.Random(seed).getrandbits(31)


def _item(data: ReasoningGymData, index: int, entry: dict[str, Any], settings: str) -> Item:
    problem = entry["question"]
    return Item(
        id=f"{data.task}-{data.seed}-{index}",
        problem=problem,
        answer=entry["answer"] or "",  # some tasks have many right answers and name none
        prompt=data.template.replace("{problem}", problem),
        scorer=GymScorer(data.task, settings, entry),
        chat=data.chat,
        system=data.system,
    )


@lru_cache(maxsize=8)
def _scoring_dataset(task: str, settings: str) -> Any:
    return reasoning_gym.create_dataset(task, size=1, seed=0, **json.loads(settings))
