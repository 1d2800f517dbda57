"""The grader beside math-verify alone, on the hard pairs: what each takes that is wrong, refuses that is right, and how long it takes.

    python -m benchmarks.math_verify_alone

Prints Markdown; docs/decisions/grading.md has it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import math_verify

from benchmarks.markdown import table
from trainer.tasks import Grader

PAIRS = Path("tests/trainer/tasks/hard_pairs.jsonl")


def main() -> None:
    """Measure and print."""
    logging.disable(logging.CRITICAL)
    pairs = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]
    with Grader() as grader:
        graders: dict[str, Callable[[str, str], bool]] = {
            "trainer.tasks.grade": lambda answer, gold: grader.grade(f"Answer: {answer}", gold).correct,
            "math-verify 0.9 alone": _alone,
        }
        rows, seconds = [], []
        for name, grade in graders.items():
            begun = time.perf_counter()
            verdicts = [grade(pair["answer"], pair["gold"]) for pair in pairs]
            seconds.append(time.perf_counter() - begun)
            taken = sum(verdict and not pair["right"] for verdict, pair in zip(verdicts, pairs, strict=True))
            refused = sum(pair["right"] and not verdict for verdict, pair in zip(verdicts, pairs, strict=True))
            rows.append([name, str(taken), str(refused), f"{seconds[-1] / seconds[0]:.0f}"])
    print("\n".join(table([f"{len(pairs)} pairs", "wrong ones taken", "right ones refused", "time, as a ratio"], rows)))


def _alone(answer: str, gold: str) -> bool:
    one, other = (math_verify.parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (gold, answer))
    return bool(math_verify.verify(one, other, timeout_seconds=None))


if __name__ == "__main__":
    main()
