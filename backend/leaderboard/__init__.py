"""The leaderboard: regimes side by side on held-out problems, compared only where comparing means something.

A board holds the finished trainings that share a protocol (`protocol`): base model, data, budget and rewards, and how they were evaluated.
On it, a row is a method: regime, algorithm, optimiser and everything else that is not the protocol, pooled over seeds. A training
counts with its newest finished evaluation of that protocol after its last step, a seed with its newest training. Differences are
to `detach` trained in the same way, paired by problem (`trainer.evaluation.statistics`).

| module | what |
| --- | --- |
| `build` | the boards of now |
| `snapshots` | the boards of one time, for good |
| `words` | which methods are better here, and how sure that is |
| `behind` | the problems and answers behind a difference |
| `export`, `figures` | CSV and Markdown, and charts |
| `paper` | what the paper reports, to be shown apart |
"""

from backend.leaderboard.board import (
    Board,
    Difference,
    FieldDifference,
    Row,
    RowRun,
    boards_from_json,
    boards_to_json,
    numbers,
    titles,
)
from backend.leaderboard.build import leaderboard, left_out

__all__ = [
    "Board",
    "Difference",
    "FieldDifference",
    "Row",
    "RowRun",
    "boards_from_json",
    "boards_to_json",
    "leaderboard",
    "left_out",
    "numbers",
    "titles",
]
