"""What was compared, and the answer first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from backend import palette, words
from backend.leaderboard import Board, Row, export, figures, numbers
from backend.leaderboard.words import verdict
from backend.report.document import Block, Cell, Figure, Marked, Section, Table, Text
from backend.report.gathered import Gathered
from backend.report.methods import settings_of
from db.statuses import ENDED, Status
from trainer.evaluation.statistics import SEEDS_FOR_METHODS


def lead(found: Gathered) -> list[str]:
    """What was compared, in sentences."""
    if not found.runs:
        jobs = words.plural(len(found.jobs), "evaluation")
        return [
            f"No run of this experiment trains{f'; it holds {jobs}' if found.jobs else ' and none was queued yet'}."
        ]
    if not found.methods:
        return ["No run of this experiment has made a step yet, so there is no method to compare.", *_unfinished(found)]
    names = [method.name for method in found.methods]
    runs = [run for method in found.methods for run in method.runs]
    configs = [settings_of(run) for run in runs]
    models = _said(PurePath(config.get("model", {}).get("path", "not said")).name for config in configs)
    data = _said(_data(config.get("data", {})) for config in configs)
    steps = _said(words.plural(run.total_steps, "step") for run in runs)
    counts = {len(method.averaged) for method in found.methods}
    seeds = words.plural(counts.pop(), "seed") if len(counts) == 1 else f"{min(counts)} to {max(counts)} seeds"
    many = len(names) > 1
    said = f"{len(names)} methods are compared, with {seeds} of each" if many else f"One method, with {seeds}"
    sentences = [
        f"{said}: {'; '.join(names)}.",
        f"All begin with the model {models} and train on {data} for {steps}.",
    ]
    return [*sentences, *_unfinished(found)]


def section(found: Gathered) -> Section:
    """The boards of the experiment."""
    blocks: list[Block] = []
    if not found.boards:
        blocks.append(
            Text(
                "There is no ranking: no finished training of this experiment has an evaluation after its last step. "
                "The curves below show how far the runs are."
                if found.runs
                else "There is nothing to compare.",
                strong=True,
            )
        )
    several = len(found.boards) > 1
    if several:
        blocks.append(
            Text(
                f"There are {len(found.boards)} tables, because the runs do not all share training and evaluation protocol; "
                "numbers of different tables are not compared."
            )
        )
    places = numbers(found.boards)
    for board in found.boards:
        blocks += _board(board, f"Table {places[board.key]}. {board.title}" if several else board.title, places)
    return Section("Answer", blocks)


def _board(board: Board, title: str, places: Mapping[str, int]) -> Iterator[Block]:
    notes = [*verdict(board), *filter(None, [board.caveat])]
    yield Table(title, export.head(board), [_cells(board, row) for row in board.rows], words=2, notes=notes)
    yield Text(
        f"{export.facts(board)} Seeds of each row: {_seeds(board.rows)}. avg@{board.samples} is the share of right answers among "
        f"{words.plural(board.samples, 'sample')} per problem; differences are paired by problem and to detach trained in the same way; "
        f"p deals the trainings out anew and is corrected for all comparisons of the table (Holm); ranks are those a method may have, "
        f"all of them together with 95 %, and are given from {SEEDS_FOR_METHODS} seeds on."
    )
    yield Figure(figures.score_chart(board), f"avg@{board.samples} of each method with its 95 % interval", "")
    differences = figures.difference_chart(board)
    if differences is not None:
        yield Figure(differences, "Difference of each method to detach with its 95 % interval", "")
    if board.nearest is not None:
        yield Table(
            f"In what this table's protocol differs from that of table {places[board.nearest]}",
            ("setting", "here", "there"),
            [(one.field, one.here, one.there) for one in board.differs],
            words=3,
        )


def _cells(board: Board, row: Row) -> list[Cell]:
    first, *rest = export.cells(board, row)
    return [Marked(first, palette.regime_colour(row.regime)), *(cell or "–" for cell in rest)]


def _seeds(rows: Sequence[Row]) -> str:
    every = {row.seeds for row in rows}
    if len(every) == 1:
        return ", ".join(map(str, every.pop()))
    return "; ".join(f"{row.name}: {', '.join(map(str, row.seeds))}" for row in rows)


def _unfinished(found: Gathered) -> Iterator[str]:
    going = [run for run in found.runs if run.status not in ENDED]
    if going:
        yield (
            f"Preliminary: {words.plural(len(going), 'run')} of {len(found.runs)} had not ended when this report was made "
            f"({', '.join(f'run {run.id}, {run.status}, step {run.step} of {run.total_steps}' for run in going)})."
        )
    for status, said in ((Status.FAILED, "failed"), (Status.STOPPED, "stopped")):
        ids = [run.id for run in found.runs if run.status == status]
        if ids:
            yield f"{words.plural(len(ids), 'run')} {said} ({', '.join(map(str, ids))}): listed, not averaged."


def _data(data: dict[str, object]) -> str:
    for key in ("path", "name", "task", "id"):
        if data.get(key):
            return "/".join(PurePath(str(data[key])).parts[-2:])
    return str(data.get("kind"))


def _said(values: Iterator[str]) -> str:
    return " or ".join(dict.fromkeys(values))
