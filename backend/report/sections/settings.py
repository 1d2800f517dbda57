"""Configurations: what all runs share once, then what differs, then all of each method; and the versions of programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backend import words
from backend.leaderboard.protocol import flat
from backend.overrides import as_yaml
from backend.report.document import Block, Code, Section, Table, Text
from backend.report.gathered import Gathered
from backend.report.methods import Method, settings_of
from trainer.config import yaml_text

_MISSING = object()


def configurations(found: Gathered) -> Section:
    """The common part, what differs, and every method's configuration."""
    if not found.runs:
        return Section("Configurations", [Text("There is none.")])
    settings = {run.id: settings_of(run) for run in found.runs}
    shared = _shared([{**values, "seed": None, "name": None} for values in settings.values()])
    del shared["seed"], shared["name"]
    blocks: list[Block] = [Code("Shared by all runs", yaml_text.write(shared), "yaml", folded=len(found.runs) > 1)]
    rows = list(_differing(found.groups, settings))
    if rows:
        head = ("setting", *(method.name for method in found.groups))
        blocks.insert(0, Table("What differs, the seeds aside", head, rows, words=len(head)))
    elif len(found.runs) > 1:
        blocks.insert(0, Text("The runs differ in nothing but their seeds."))
    for method in found.groups:
        run = method.runs[0]
        others = (
            f"; runs {words.listed_briefly(sorted(other.id for other in method.runs))}" if len(method.runs) > 1 else ""
        )
        blocks.append(
            Code(
                f"{method.name}: run {run.id}, complete{others}", yaml_text.write(settings[run.id]), "yaml", folded=True
            )
        )
    return Section("Configurations", blocks)


def versions(found: Gathered) -> Section:
    """What the runs were made with, as far as it is known."""
    made: dict[tuple[str, ...], list[int]] = {}
    libraries: dict[str, None] = {}
    for attempt in found.attempts.values():
        libraries |= dict.fromkeys(attempt.versions if attempt else ())
    for run_id, attempt in found.attempts.items():
        if attempt is not None:
            said = [attempt.versions.get(name, "not said") for name in libraries]
            key = (*said, attempt.device, str(attempt.processes), str(attempt.threads))
            made.setdefault(key, []).append(run_id)
    blocks: list[Block] = []
    if made:
        head = (*libraries, "device", "processes", "threads of each", "runs")
        rows = [[*key, words.listed_briefly(sorted(ids))] for key, ids in made.items()]
        blocks.append(Table("What the runs were made with, by their first attempts", head, rows, words=len(head)))
    gone = sorted(run_id for run_id, attempt in found.attempts.items() if attempt is None)
    if gone:
        blocks.append(
            Text(
                f"Not known of {words.listed_briefly(gone)}: the run folder, or the first event in it, is gone.",
                strong=True,
            )
        )
    build = found.build
    commit = f"git commit {build.commit}" if build.commit else "no git commit is known"
    blocks.append(Text(f"This report was made by mtprl {build.version} ({commit}) on Python {build.python}."))
    return Section("Versions", blocks)


def _shared(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is equal in all of them."""
    first, *others = settings
    found: dict[str, Any] = {}
    for name, value in first.items():
        every = [other.get(name, _MISSING) for other in others]
        if isinstance(value, dict) and all(isinstance(other, dict) for other in every):
            inner = _shared([value, *every])
            if inner:
                found[name] = inner
        elif all(other == value for other in every):
            found[name] = value
    return found


def _differing(methods: Sequence[Method], settings: Mapping[int, Mapping[str, Any]]) -> Iterator[list[str]]:
    """A row per setting that is not the same in all runs, a cell per method."""
    plain = {run_id: flat(values) for run_id, values in settings.items()}
    for name in dict.fromkeys(name for values in plain.values() for name in values):
        if name != "seed" and len({_said(values, name) for values in plain.values()}) > 1:
            yield [name, *(_of_method(method, plain, name) for method in methods)]


def _of_method(method: Method, plain: Mapping[int, Mapping[str, Any]], name: str) -> str:
    runs: dict[str, list[int]] = {}
    for run in method.runs:
        runs.setdefault(_said(plain[run.id], name), []).append(run.id)
    if len(runs) == 1:
        return next(iter(runs))
    return "; ".join(f"{said} (run {words.listed_briefly(sorted(ids))})" for said, ids in runs.items())


def _said(values: Mapping[str, Any], name: str) -> str:
    if name not in values:
        return "–"
    value = values[name]
    return "not set" if value is None else (as_yaml(value) if value != "" else "empty")
