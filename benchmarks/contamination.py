"""How well does the check for contamination find problems of the six benchmarks, and how often does it name others?

    python -m benchmarks.contamination

Found: every problem of the six, changed as training data change them, planted alone. Named: what the check says of the folder's
DAPO-Math-17k, from which exact and near duplicates were taken out before. Prints tables for docs/data.md; needs MTPRL_BENCHMARKS_DIR.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks.markdown import table
from trainer.config import NamedData
from trainer.evaluation import suites
from trainer.tasks import Item, load
from trainer.tasks.contamination import overlaps

Benchmarks = Mapping[str, Sequence[Item]]

_SENTENCE_END = re.compile(r"(?<=[.?!])\s+")

CHANGES: dict[str, Callable[[str], str]] = {
    "as in the raw training set, between its instructions": lambda text: (
        "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without "
        f"quotes) where $Answer is the answer to the problem.\n\n{text}\n\nRemember to put your answer on its own line after "
        '"Answer:".'
    ),
    "other spaces and capitals": lambda text: re.sub(r"\s+", "\n  ", text).replace("$", " $ ").upper(),
    "first sentence last": lambda text: " ".join([*_SENTENCE_END.split(text)[1:], _SENTENCE_END.split(text)[0]]),
    "every number one larger": lambda text: re.sub(r"[0-9]{1,9}", lambda number: str(int(number[0]) + 1), text),
}


def main() -> None:
    """Measure and print."""
    six = {benchmark.name: load(benchmark.data) for benchmark in suites.resolve(suites.SIX, os.environ).benchmarks}
    _print(["planted", *six], [[name, *_found(change, six)] for name, change in CHANGES.items()])
    training = load(NamedData(language="all"))
    began = time.process_time()
    result = overlaps(training, six)
    seconds = time.process_time() - began
    counts = {"word for word": [part.exact for part in result], "nearly": [part.near for part in result]}
    _print(["in the training set", *six], [[name, *map(str, row)] for name, row in counts.items()])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(training)} training problems against {sum(map(len, six.values()))}: {seconds:.1f} s of one core, process {peak:.0f} MB\n"
    )
    for part in result:
        for match in part.matches:
            print(f"* {match.problem.id} and {match.training.id} ({match.score:.2f})")
            print(f"  * {_short(match.problem)}\n  * {_short(match.training)}")


def _print(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("\n".join(table(head, rows)), "\n")


def _found(change: Callable[[str], str], six: Benchmarks) -> list[str]:
    """By benchmark: how many of its problems are found by the changed problem itself, of how many."""
    cells = []
    for name, items in six.items():
        planted = [replace(item, problem=change(item.problem)) for item in items]
        [part] = overlaps(planted, {name: items})
        cells.append(f"{sum(match.problem.id == match.training.id for match in part.matches)} of {len(items)}")
    return cells


def _short(item: Item) -> str:
    return " ".join(item.problem.split())[:160]


if __name__ == "__main__":
    main()
