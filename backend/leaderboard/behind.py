"""What stands behind a difference: the problems on which two rows differ, and what was answered to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from backend.leaderboard.board import Row, RowRun
from db import reads
from db.reads import EvaluatedItem


@dataclass(frozen=True, slots=True)
class Share:
    """Right samples of all that a row's runs drew of one problem."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """From 0 to 1."""
        return self.right / self.of


@dataclass(frozen=True, slots=True)
class Change:
    """One problem in two rows."""

    item_id: str
    here: Share
    there: Share

    @property
    def by(self) -> float:
        """Share of right samples here less that there."""
        return self.here.value - self.there.value


def changes(connection: Connection, here: Row, there: Row, benchmark: str) -> list[Change]:
    """The problems of a benchmark, that with the largest change first; of equal ones in the order of their ids."""
    own, other = (_shares(connection, row, benchmark) for row in (here, there))
    found = [Change(item, own[item], other[item]) for item in sorted(own.keys() & other.keys())]
    return sorted(found, key=lambda change: -abs(change.by))


def most_apart(connection: Connection, here: Row, there: Row, benchmark: str, change: Change) -> tuple[RowRun, RowRun]:
    """Of both rows the training that shows a problem's change most clearly; of equal pairs one of the same seed, else the first."""
    own, other = (_marks(connection, row, benchmark) for row in (here, there))

    def shown(pair: tuple[RowRun, RowRun]) -> tuple[float, bool]:
        marks = own[pair[0].evaluations[benchmark]], other[pair[1].evaluations[benchmark]]
        one, two = (_share(found[change.item_id]).value for found in marks)
        by = one - two
        return (by if change.by > 0 else -by if change.by < 0 else abs(by)), pair[0].seed == pair[1].seed

    pairs = [(one, two) for one in _by_seed(here) for two in _by_seed(there)]
    return max(pairs, key=shown)


def _by_seed(row: Row) -> list[RowRun]:
    return sorted(row.runs, key=lambda run: run.seed)


def answers(connection: Connection, run: RowRun, benchmark: str, item_id: str) -> EvaluatedItem | None:
    """What one run of a row answered to a problem; None where the texts were not kept."""
    return reads.evaluated_item(connection, run.evaluations[benchmark], item_id)


def _shares(connection: Connection, row: Row, benchmark: str) -> Mapping[str, Share]:
    together: dict[str, str] = defaultdict(str)
    for by_item in _marks(connection, row, benchmark).values():
        for item, marks in by_item.items():
            together[item] += marks
    return {item: _share(marks) for item, marks in together.items()}


def _marks(connection: Connection, row: Row, benchmark: str) -> Mapping[int, Mapping[str, str]]:
    """By id of each evaluation that the row pools: by problem a 0 or 1 per sample."""
    wanted = {run.evaluations[benchmark] for run in row.runs}
    evaluators = sorted({run.evaluated_by for run in row.runs})
    found = reads.evaluations(connection, evaluators, benchmark=benchmark, last_only=True)
    return {evaluation.id: evaluation.items for evaluation in found if evaluation.id in wanted}


def _share(marks: str) -> Share:
    return Share(marks.count("1"), len(marks))
