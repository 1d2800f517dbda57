"""What a line of a comparison stands for: a run, or several runs that are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend import palette
from backend.leaderboard.protocol import flat
from backend.overrides import as_yaml
from backend.report.methods import methods_of, settings_of
from db.reads import RunDetail

RUNS, SEEDS, REGIMES, SETTING = "Each run", "Seeds together", "Regime and algorithm", "A setting"
GROUPINGS = (RUNS, SEEDS, REGIMES, SETTING)

NAMES = frozenset({"name", "seed"})
"""Settings that tell runs of one kind apart."""


@dataclass(frozen=True)
class Group:
    """Runs that are one line."""

    name: str
    regime: str
    """"" where its runs are of several."""
    runs: tuple[RunDetail, ...]
    averaged: tuple[RunDetail, ...]
    """Of each method and seed the newest run that did not fail and was not stopped; of a group that is one run, that run."""
    methods: int = 1
    """Methods (all settings but the seed) among those that are averaged."""
    dash: str = "solid"

    @property
    def colour(self) -> str:
        """That of its regime."""
        return palette.regime_colour(self.regime)

    @property
    def ids(self) -> list[int]:
        """Of the runs that are averaged."""
        return [run.id for run in self.averaged]

    @property
    def left_out(self) -> list[int]:
        """Ids of the runs that are not averaged."""
        return sorted({run.id for run in self.runs} - set(self.ids))


def grouped(runs: Sequence[RunDetail], by: str, setting: str = "") -> list[Group]:
    """The runs as groups, in the order of their first runs.

    Args:
        by: one of `GROUPINGS`.
        setting: for `SETTING`, the dotted name of the setting whose value makes the group.
    """
    if by == RUNS:
        return _dashed([Group(f"{run.id} · {run.name}", run.regime, (run,), (run,)) for run in runs])
    methods = methods_of(runs)
    if by == SEEDS:
        return _dashed([Group(one.name, one.regime, one.runs, one.averaged) for one in methods])
    keys: dict[str, list[Any]] = {}
    for method in methods:
        keys.setdefault(_key(method.runs[0], by, setting), []).append(method)
    groups = []
    for name, members in keys.items():
        regimes = {member.regime for member in members}
        groups.append(
            Group(
                name,
                members[0].regime if len(regimes) == 1 else "",
                tuple(run for member in members for run in member.runs),
                tuple(run for member in members for run in member.averaged),
                sum(bool(member.averaged) for member in members),
            )
        )
    return _dashed(groups)


def settings_that_differ(runs: Sequence[RunDetail]) -> list[str]:
    """Dotted names of the settings that are not the same in all runs."""
    plain = [flat(settings_of(run)) for run in runs]
    names = dict.fromkeys(name for values in plain for name in values)
    return [name for name in names if name not in NAMES and len({said(values, name) for values in plain}) > 1]


def difference(groups: Sequence[Group]) -> tuple[list[list[str]], list[list[str]]]:
    """Rows [setting, value in each group ...] of the settings that differ, and [setting, value] of those that are the same in all runs."""
    plain = [[(run.id, flat(settings_of(run))) for run in group.runs] for group in groups]
    differing, equal = [], []
    for name in dict.fromkeys(name for group in plain for _, values in group for name in values):
        if name == "name":  # of a run, which its group has no other use for
            continue
        every = {said(values, name) for group in plain for _, values in group}
        if len(every) == 1:
            equal.append([name, every.pop()])
        else:
            differing.append([name, *(_in_group(group, name) for group in plain)])
    return differing, equal


def said(values: Mapping[str, Any], name: str) -> str:
    """A setting's value as YAML says it."""
    if name not in values:
        return "–"
    value = values[name]
    return "not set" if value is None else (as_yaml(value) if value != "" else "empty")


def _in_group(group: Sequence[tuple[int, Mapping[str, Any]]], name: str) -> str:
    return ", ".join(dict.fromkeys(said(values, name) for _, values in group))


def _key(run: RunDetail, by: str, setting: str) -> str:
    if by == REGIMES:
        return f"{run.regime} {run.algorithm}"
    return f"{setting} = {said(flat(settings_of(run)), setting)}"


def _dashed(groups: Sequence[Group]) -> list[Group]:
    dashes = palette.dashes(group.regime for group in groups)
    return [replace(group, dash=dash) for group, dash in zip(groups, dashes, strict=True)]
