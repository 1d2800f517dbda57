"""Procedurally generated tasks of the reasoning-gym library, with the library's own scorers.

The library gives partial credit to wrong answers, so that only a score of 1.0 counts as correct. Importing this module
imports the library, which takes about a second: import it only where a reasoning-gym task is used.
"""

from __future__ import annotations

import difflib
import json
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
        DataError: the task is unknown or its settings are refused.
    """
    dataset = _create(data.task, data.settings, data.size, data.seed)
    settings = json.dumps(data.settings)
    return [_item(data, index, dataset[index], settings) for index in range(data.size)]


def check(data: ReasoningGymData) -> int:
    """Validate task and settings by generating the first problem; how many problems `load` will give.

    Raises:
        DataError: as for `load`.
    """
    _item(data, 0, _create(data.task, data.settings, data.size, data.seed)[0], "{}")
    return data.size


def _item(data: ReasoningGymData, index: int, entry: dict[str, Any], settings: str) -> Item:
    problem = entry["question"]
    return Item(
        id=f"{data.task}-{data.seed}-{index}",
        problem=problem,
        answer=entry["answer"] or "",  # some tasks have many right answers and name none
        prompt=data.template.replace("{problem}", problem),
        scorer=GymScorer(data.task, settings, entry),
    )


def _create(task: str, settings: dict[str, Any], size: int, seed: int) -> Any:
    if task not in DATASETS:
        near = difflib.get_close_matches(task, DATASETS, n=3, cutoff=0.4) or sorted(DATASETS)[:3]
        raise DataError(f"task: reasoning-gym has no task {task!r}; the nearest names are {', '.join(near)}")
    for name in ("size", "seed"):
        if name in settings:
            raise DataError(f"settings: {name} stands beside settings, not in it; set data.{name}")
    try:
        return reasoning_gym.create_dataset(task, size=size, seed=seed, **settings)
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(f"settings: {task} refuses {json.dumps(settings, default=str)}: {error}") from None


@lru_cache(maxsize=8)
def _scoring_dataset(task: str, settings: str) -> Any:
    return _create(task, json.loads(settings), size=1, seed=0)
