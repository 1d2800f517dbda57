"""The grader, measured: gold answers against themselves and against one another, hard pairs, speed, hostile completions.

    python -m benchmarks.grading

Needs the six benchmarks as JSONL files (MTPRL_BENCHMARKS_DIR, else ../shared/benchmarks). Prints Markdown; docs/results/grading.md has it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.hostile import completions
from benchmarks.markdown import table
from trainer.tasks import GRADER_VERSION, Grader, answers
from trainer.tasks.items import Scorer
from trainer.tasks.named import benchmarks_folder

NAMES = ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench"]
FORMS = ["Answer: {}", "\\boxed{{{}}}", "Answer: ${}$."]
PAIRS = Path("tests/trainer/tasks/hard_pairs.jsonl")
BATCH, HOSTILE = 4_096, 10_000


class Counting(Grader):
    """A grader that notes how long its worker process took for each comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    def _score(self, scorer: Scorer, answer: str) -> float:
        begun = time.perf_counter()
        try:
            return super()._score(scorer, answer)
        finally:
            self.asked.append(time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    folder = benchmarks_folder(os.environ)
    if folder is None:
        sys.exit("MTPRL_BENCHMARKS_DIR: names the folder with the six benchmarks as JSONL files; set it")
    golds = {name: _golds(folder / f"{name}.jsonl") for name in NAMES}
    print(f"Grader version {GRADER_VERSION}.\n\n### Gold answers\n")
    for line in [*_gold_table(golds), "", "### Hard pairs", "", *_pair_table(), "", "### Speed", "", *_speed(golds)]:
        print(line, flush=True)


def _golds(path: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]


def _gold_table(golds: dict[str, list[str]]) -> Iterator[str]:
    rows, accidents = [], []
    for name, wanted in golds.items():
        with Counting() as grader:
            right = [
                sum(one.correct for one in grader.grade_many([(form.format(gold), gold) for gold in wanted]))
                for form in FORMS
            ]
            asked = len(grader.asked)
            begun = time.perf_counter()
            found = list(_accidents(wanted, grader))
            took = time.perf_counter() - begun
        pairs = len(set(wanted)) * (len(set(wanted)) - 1)
        accidents += [f"{name}: " + "; ".join(f"`{one}` for `{gold}`" for one, gold in found)] if found else []
        rows.append(
            [name, str(len(wanted)), *map(str, right), str(asked), f"{pairs:,}", str(len(found)), f"{took / pairs * 1e6:.0f}"]
        )  # fmt: skip
    head = [
        "benchmark",
        "gold answers",
        "right: plain",
        "boxed",
        "in $",
        "by the worker",
        "pairs of different ones",
        "right for another",
        "µs each",
    ]
    yield from table(head, rows)
    yield ""
    yield "Right for another, all of them:"
    yield ""
    yield from (f"* {line}" for line in accidents)


def _accidents(wanted: Sequence[str], grader: Grader) -> Iterator[tuple[str, str]]:
    distinct = sorted(set(wanted))
    for gold in distinct:
        grades = grader.grade_many([(f"\\boxed{{{one}}}", gold) for one in distinct if one != gold])
        others = [one for one in distinct if one != gold]
        yield from ((one, gold) for one, grade in zip(others, grades, strict=True) if grade.correct)


def _pair_table() -> Iterator[str]:
    pairs: list[dict[str, Any]] = [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]
    rows = []
    for name in NAMES:
        mine = [pair for pair in pairs if pair["benchmark"] == name]
        wrong = [pair for pair in mine if pair.get("known_wrong")]
        taken = sum(not pair["right"] for pair in wrong)
        true = sum(pair["right"] for pair in mine)
        rows.append([name, str(len(mine)), str(true), str(len(mine) - true), str(len(wrong) - taken), str(taken)])
    head = ["benchmark", "pairs", "right by hand", "wrong by hand", "right ones refused", "wrong ones taken"]
    yield from table(head, rows)
    yield ""
    yield "Refused or taken, all of them:"
    yield ""
    yield from known_wrong(pairs)


def known_wrong(pairs: Sequence[dict[str, Any]]) -> list[str]:
    """The pairs that the grader gets wrong, as a table."""
    words = {True: "refused", False: "**taken**"}
    rows = [
        [one["benchmark"], _code(one["gold"]), _code(one["answer"]), words[one["right"]], one["why"]]
        for one in pairs
        if one.get("known_wrong")
    ]
    return table(["benchmark", "gold answer", "answer", "", "why"], rows, words=5)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _ordinary(golds: dict[str, list[str]], names: Sequence[str], seed: int) -> list[tuple[str, str]]:
    """Completions that end in an answer: half of them in the right one, half in that of another problem."""
    draw = random.Random(seed)
    pool = [gold for name in names for gold in golds[name]]
    pairs = []
    for turn in range(BATCH):
        gold, other = draw.choice(pool), draw.choice(pool)
        thought = "so that we get $x = \\frac{1}{2}$ and go on, " * draw.randint(5, 60)
        pairs.append((f"{thought} \\boxed{{{gold if turn % 2 else other}}}", gold))
    return pairs


def _speed(golds: dict[str, list[str]]) -> Iterator[str]:
    rows = []
    kinds = {"integers (AIME, AMC)": NAMES[:3], "all six benchmarks": NAMES}
    per_grade = []
    for title, names in kinds.items():
        pairs = _ordinary(golds, names, seed=1)
        with Counting() as grader:
            begun = time.perf_counter()
            grader.grade_many(pairs)
            took = time.perf_counter() - begun
        per_grade.append(took / BATCH)
        rows.append(
            [f"{BATCH:,} completions: {title}", f"{took:.2f}", f"{took / BATCH * 1e6:.0f}", str(len(grader.asked))]
        )
    with Counting() as grader:
        begun = time.perf_counter()
        for completion, gold in completions(HOSTILE, seed=2):
            grader.grade(completion, gold)
        took = time.perf_counter() - begun
    rows.append(
        [f"{HOSTILE:,} hostile completions", f"{took:.2f}", f"{took / HOSTILE * 1e6:.0f}", str(len(grader.asked))]
    )
    yield from table(["what", "s", "µs each", "by the worker"], rows)
    symbolic = _symbolic()
    own = _own([gold for name in NAMES for gold in golds[name]])
    yield ""
    yield (
        f"Comparing two of the gold answers takes {own * 1e6:.0f} µs here (mean); one that the worker process compares takes "
        f"{symbolic * 1e3:.0f} ms (median), {symbolic / own:.0f} times as long."
    )


def _symbolic() -> float:
    with Counting() as grader:
        for factor in range(3, 23):
            assert grader.grade(rf"\boxed{{\frac{{{factor}x^2}}{{2}}}}", rf"\int_0^x {factor} t dt").correct
    return median(grader.asked[1:])


def _own(golds: Sequence[str]) -> float:
    draw = random.Random(3)
    pairs = [(draw.choice(golds), draw.choice(golds)) for _ in range(5_000)]
    begun = time.perf_counter()
    for one, other in pairs:
        answers.equal(one, other)
    return (time.perf_counter() - begun) / len(pairs)


if __name__ == "__main__":
    main()
