"""What stands on a board, as plain frozen data that goes to JSON and comes back the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from backend import words
from trainer.evaluation.statistics import SEEDS_FOR_METHODS, Estimate, RankInterval


@dataclass(frozen=True, slots=True)
class RowRun:
    """One training that a row pools."""

    run_id: int
    seed: int
    evaluated_by: int
    """The run whose evaluation counts: the training itself, or a job of its own."""
    evaluations: dict[str, int]
    """By benchmark, the id of that evaluation."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row minus the detach that was trained in the same way."""

    to: str
    """Key of detach's row."""
    mean: Estimate
    """Of the mean over benchmarks."""
    benchmarks: dict[str, Estimate]
    p: float | None
    """Of the mean over benchmarks, two-sided, over trainings; None where a side has fewer than `SEEDS_FOR_METHODS` seeds."""
    adjusted_p: float | None
    """The same, corrected for all comparisons of the board (Holm)."""
    smallest_p: float | None
    """The smallest p, uncorrected, that so many seeds can give."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method on a board."""

    key: str
    """Names the method in addresses; the same on every board."""
    regime: str
    algorithm: str
    variant: str
    """The preset, where its name says more than the regime's, and the settings that tell the row from others of its regime and
    algorithm, such as `occ-calibrated optimizer.lr=0.0006`."""
    runs: tuple[RowRun, ...]
    mean: Estimate
    """avg@k, from 0 to 1: the mean over the benchmarks, each of which weighs the same."""
    benchmarks: dict[str, Estimate]
    """avg@k of each."""
    difference: Difference | None
    """None for detach itself, and where there is no detach trained in the same way."""
    rank: RankInterval | None
    """None with fewer than `SEEDS_FOR_METHODS` seeds."""
    pass_at_k: Estimate | None
    """Chance that one of all k samples is right, mean over benchmarks; None with one sample per problem."""
    maj_at_k: Estimate | None
    """How often the most frequent answer of all k samples is right, mean over benchmarks; None where the answers were not kept."""
    step_seconds: float
    """Median seconds per training step; NaN where none was logged."""
    acceptance: float
    """Greedy draft acceptance, mean of the last ten values of each run; NaN for a regime without heads."""

    @property
    def name(self) -> str:
        """How it is called in a sentence."""
        return " ".join(filter(None, [self.regime, self.algorithm, self.variant]))

    @property
    def seeds(self) -> tuple[int, ...]:
        """In order."""
        return tuple(sorted(run.seed for run in self.runs))

    @property
    def run_ids(self) -> tuple[int, ...]:
        """In order."""
        return tuple(sorted(run.run_id for run in self.runs))


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A setting of the protocol in which two boards differ, in words."""

    field: str
    here: str
    there: str


@dataclass(frozen=True, slots=True)
class Board:
    """Methods that share a protocol, the best first."""

    key: str
    """Names the protocol in addresses."""
    problems: dict[str, int]
    """Problems of each benchmark."""
    samples: int
    """The k of avg@k."""
    temperature: float
    top_p: float
    max_tokens: int
    """Longest response of the evaluation."""
    evaluated: str
    """By whom, in words."""
    model: str
    data: str
    """The training data: a file, or the name of a task."""
    steps: int
    prompts_per_step: int
    samples_per_prompt: int
    experiments: tuple[str, ...]
    protocol: dict[str, Any]
    """All that the rows have in common, by dotted name."""
    nearest: str | None
    """Key of the board above that differs in the fewest settings; None for the first."""
    differs: tuple[FieldDifference, ...]
    """In what the nearest one differs."""
    rows: tuple[Row, ...]

    @property
    def engine(self) -> str:
        """What sampled the answers; boards that were frozen before this was told have the built-in sampler's."""
        return self.protocol.get("evaluation.engine", "builtin")

    @property
    def top_k(self) -> int:
        """Of how many most likely tokens they were drawn; 0: of all."""
        return self.protocol.get("evaluation.top_k", 0)

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts that ended them."""
        return tuple(self.protocol.get("evaluation.stop", ()))

    @property
    def decoding(self) -> str:
        """How they were sampled, in words."""
        return words.decoding(
            engine=self.engine, temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, stop=self.stop
        )

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.problems)

    @property
    def title(self) -> str:
        """The benchmarks and the measure."""
        return f"{', '.join(self.benchmarks)} · avg@{self.samples}"

    @property
    def caveat(self) -> str:
        """What these numbers cannot say, in words; empty where every row has enough seeds."""
        few = [row for row in self.rows if len(row.runs) < SEEDS_FOR_METHODS]
        if not few:
            return ""
        most = max(len(row.runs) for row in few)
        count = "One seed ranks" if most == 1 else f"{most} seeds rank"
        which = "" if len(few) == len(self.rows) else f" for {', '.join(sorted({row.regime for row in few}))}"
        return (
            f"{count} nothing: the intervals{which} speak of these checkpoints, not these methods. "
            f"Use at least {SEEDS_FOR_METHODS} seeds, such as `--seeds 0,1,2`."
        )

    def row(self, key: str) -> Row | None:
        """The row of that key."""
        return next((row for row in self.rows if row.key == key), None)


def numbers(boards: Sequence[Board]) -> dict[str, int]:
    """By key of a board its place, from 1, by which others refer to it."""
    return {board.key: number for number, board in enumerate(boards, start=1)}


def titles(boards: Sequence[Board]) -> dict[str, str]:
    """By key of a board its title, with its number where there are several."""
    several = len(boards) > 1
    return {
        board.key: f"Board {number} · {board.title}" if several else board.title
        for number, board in enumerate(boards, start=1)
    }


_BOARDS = TypeAdapter(tuple[Board, ...])


def boards_to_json(boards: Sequence[Board], *, indent: int | None = None) -> str:
    """All that stands on the boards, as JSON; numbers that are not finite are strings, as in event files."""
    return to_json(boards, inf_nan_mode="strings", indent=indent).decode()


def boards_from_json(text: str) -> list[Board]:
    """The boards that `boards_to_json` wrote.

    Raises:
        pydantic.ValidationError: it wrote something else.
    """
    return list(_BOARDS.validate_json(text))
