"""What the paper reports, to be shown apart: none of it was measured here.

*Joint Training of Multi-Token Prediction in Reinforcement Learning via Optimal Coefficient Calibration*, arXiv 2605.28184, 2026.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from backend.leaderboard.board import Board, FieldDifference

CITATION, ADDRESS = "arXiv 2605.28184", "https://arxiv.org/abs/2605.28184"
REGIMES = ("detach", "ce", "policy", "occ")
SECONDS_PER_STEP = {"occ": 8.07, "detach": 8.11, "oracle": 45.06}
"""As reported; the oracle is called full-model gradients there."""
BENCHMARKS = ("aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench")


@dataclass(frozen=True, slots=True)
class Reported:
    """One line of the paper's tables: avg@32 in percent, by regime; None where it gives none."""

    setting: str
    benchmarks: str
    percent: tuple[float | None, float | None, float | None, float | None]
    """In the order of `REGIMES`."""


REPORTED = (
    Reported("MiMo-7B-RL, DAPO", "mean of six", (58.9, 47.7, 57.4, 61.7)),
    Reported("MiMo-7B-RL, GSPO", "mean of six", (57.8, 50.0, 56.2, 60.1)),
    Reported("GLM-4.5-Air, DAPO", "mean of six", (65.9, 54.8, 64.4, 67.6)),
    Reported("MiMo-7B-RL, DAPO", "AIME24", (45.3, 16.1, 38.9, 45.9)),
    Reported("MiMo-7B-RL, DAPO", "AIME25", (36.7, None, None, 46.7)),
)


def apart(board: Board) -> list[FieldDifference]:
    """In what a board's protocol differs from the paper's, so that its numbers and the paper's cannot be compared."""
    here_and_there = {
        "base model": (PurePath(board.model).name, "MiMo-7B-RL or GLM-4.5-Air"),
        "training data": (PurePath(board.data).name, "DAPO-Math-17k"),
        "steps": (board.steps, 200),
        "prompts per step": (board.prompts_per_step, 128),
        "responses per prompt": (board.samples_per_prompt, 16),
        "longest response in training": (board.protocol["rollout.max_response_tokens"], 8192),
        "benchmarks": (", ".join(board.benchmarks), ", ".join(BENCHMARKS)),
        "problems of each benchmark": (_asked(board), "all"),
        "samples per problem": (board.samples, 32),
        "temperature": (board.temperature, 1.0),
        "top-p": (board.top_p, 0.7),
        "top-k": (board.top_k, 0),
    }
    return [
        FieldDifference(field, f"{here:g}" if isinstance(here, float) else str(here), f"{there}")
        for field, (here, there) in here_and_there.items()
        if not _same(here, there)
    ]


def _asked(board: Board) -> str:
    """all, or of which benchmarks only the first."""
    limits = {name: board.protocol.get(f"{name}.limit") for name in board.benchmarks}
    return ", ".join(f"the first {limit} of {name}" for name, limit in limits.items() if limit) or "all"


def _same(here: object, there: object) -> bool:
    if isinstance(here, str) and isinstance(there, str):
        return _plain(here) in {_plain(name) for name in there.split(" or ")}
    return here == there


def _plain(name: str) -> str:
    return name.lower().removesuffix(".jsonl").replace("_", "-")
