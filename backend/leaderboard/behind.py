"""What stands behind a difference: the problems on which two rows differ, and what was answered to them."""

from __future__ import annotations

from collections import Counter
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


def answers(connection: Connection, run: RowRun, benchmark: str, item_id: str) -> EvaluatedItem | None:
    """What one run of a row answered to a problem; None where the texts were not kept."""
    return reads.evaluated_item(connection, run.evaluations[benchmark], item_id)


def _shares(connection: Connection, row: Row, benchmark: str) -> Mapping[str, Share]:
    wanted = {run.evaluations[benchmark] for run in row.runs}
    right: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    evaluators = sorted({run.evaluated_by for run in row.runs})
    for evaluation in reads.evaluations(connection, evaluators, benchmark=benchmark, last_only=True):
        if evaluation.id in wanted:
            for item, marks in evaluation.items.items():
                right[item] += marks.count("1")
                drawn[item] += len(marks)
    return {item: Share(right[item], of) for item, of in drawn.items()}
