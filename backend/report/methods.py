"""The runs of an experiment by method: what differs in nothing but seed and what changes nothing of a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend import palette
from backend.leaderboard.protocol import flat, key_of, variant
from db.reads import RunDetail
from db.statuses import Status
from trainer.config import parse
from trainer.config.continuing import FREE
from trainer.errors import ConfigError

_NOT_AVERAGED = (Status.FAILED, Status.STOPPED)


@dataclass(frozen=True, slots=True)
class Method:
    """Trainings that differ in their seed."""

    name: str
    regime: str
    dash: str
    """Tells it from other methods of its regime."""
    runs: tuple[RunDetail, ...]
    """All of them, by seed."""
    averaged: tuple[RunDetail, ...]
    """Of each seed the newest training that has begun, did not fail and was not stopped."""

    @property
    def colour(self) -> str:
        """That of its regime."""
        return palette.regime_colour(self.regime)

    @property
    def finished(self) -> list[int]:
        """Ids of those that are averaged and have made all their steps."""
        return [run.id for run in self.averaged if run.status == Status.FINISHED]


def has_begun(run: RunDetail) -> bool:
    """Whether it has made a step, or has finished; a run that never did says nothing of a method."""
    return run.step > 0 or run.status == Status.FINISHED


def methods_of(runs: Sequence[RunDetail]) -> list[Method]:
    """The methods, in the order of their first runs."""
    groups: dict[str, list[RunDetail]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.id):
        groups[key_of(_fixed(run))].append(run)
    firsts = [group[0] for group in groups.values()]
    names = _names(firsts)
    dashes = palette.dashes(run.regime for run in firsts)
    found = []
    for group, name, dash in zip(groups.values(), names, dashes, strict=True):
        by_seed = sorted(group, key=lambda run: (run.seed, run.id))
        newest = {run.seed: run for run in by_seed if run.status not in _NOT_AVERAGED and has_begun(run)}
        found.append(Method(name, group[0].regime, dash, tuple(by_seed), tuple(newest.values())))
    return found


def _names(firsts: Sequence[RunDetail]) -> list[str]:
    """The shortest names that tell the methods apart: by preset or regime, then by algorithm, too, then by every setting that differs."""
    settings = [flat(_fixed(run)) for run in firsts]
    longest = [
        " ".join(
            filter(
                None,
                [run.regime, run.algorithm, variant(run.preset, run.regime, own, _siblings(run, firsts, settings))],
            )
        )
        for run, own in zip(firsts, settings, strict=True)
    ]
    short = [(run.preset or "").rpartition("/")[2] or run.regime for run in firsts]
    middle = [f"{name} {run.algorithm}" for name, run in zip(short, firsts, strict=True)]
    if len({run.algorithm for run in firsts}) > 1:
        short = middle
    return [
        next(names[place] for names in (short, middle, longest) if names.count(names[place]) == 1 or names is longest)
        for place in range(len(firsts))
    ]


def _siblings(
    run: RunDetail, firsts: Sequence[RunDetail], settings: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    called = (run.regime, run.algorithm)
    return [own for other, own in zip(firsts, settings, strict=True) if (other.regime, other.algorithm) == called]


def settings_of(run: RunDetail) -> dict[str, Any]:
    """The run's configuration with every value; as it was kept where this version refuses it."""
    try:
        return parse(run.config).model_dump(mode="json")
    except ConfigError:
        return dict(run.config)


def _fixed(run: RunDetail) -> Mapping[str, Any]:
    return {name: value for name, value in settings_of(run).items() if name not in (*FREE, "seed")}
