"""Grading: is a completion's final answer right? One function for rewards and for evaluation.

Nearly all answers are decided here by `trainer.tasks.answers`, in bounded time. The rest go to math-verify or to the source's own scorer in
a worker process (`trainer.tasks.worker`) that is started when first needed, and killed and replaced when a job takes too
long, because sympy can hang, crash and eat memory on what a model writes.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from trainer.errors import TrainingError
from trainer.launch.child import python_path
from trainer.tasks import answers
from trainer.tasks.items import Item, Scorer
from trainer.tasks.symbolic import MathScorer

GRADER_VERSION = "6"
"""Changes whenever a verdict may change, so that accuracies are compared only where the same grader gave them."""

LONGEST_FORMULA = 1_000
LONGEST_TEXT = 20_000
"""Characters of an answer beyond which it is wrong unread: as mathematics, and for a source's own scorer."""

_START_S = 60.0
_WALL_FACTOR = 15.0  # processor time is the bound, so that a crowded machine changes no grade; this catches what sleeps


class Grade(NamedTuple):
    """The verdict on one completion: `extracted` is its final answer, None where none was found; `reason` is in words."""

    correct: bool
    extracted: str | None
    reason: str


class Grading(Protocol):
    """Whatever grades completions."""

    def grade_many(self, pairs: Sequence[tuple[str, str | Item]]) -> list[Grade]:
        """The grades of (completion, gold) pairs, in order."""


class Grader:
    """Grades completions; owns a worker process, started when first needed.

    Use it as a context manager, or call `close`. Threads may share one.

    Args:
        limit_s: seconds of processor time that one comparison may take.
    """

    def __init__(self, limit_s: float = 2.0):
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the worker process, if there is one. The grader stays usable and would start another."""
        with self._lock:
            self._drop_worker()

    def grade(self, completion: str, gold: str | Item) -> Grade:
        """Grade one completion against an answer, or against an item by the item's own scorer.

        Raises:
            TrainingError: the worker process cannot be started.
        """
        return self.grade_many([(completion, gold)])[0]

    def grade_many(self, pairs: Sequence[tuple[str, str | Item]]) -> list[Grade]:
        """Grade (completion, gold) pairs, in order; equal answers to the same gold are compared once.

        Raises:
            TrainingError: the worker process cannot be started.
        """
        known: dict[tuple[str, str | int], Grade] = {}
        grades = []
        for completion, gold in pairs:
            extracted = answers.extract(completion)
            if extracted is None:
                grades.append(Grade(False, None, "no answer found"))
                continue
            key = (extracted, gold if isinstance(gold, str) else id(gold))
            if key not in known:
                known[key] = self._compare(extracted, gold)
            grades.append(known[key])
        return grades

    def _compare(self, extracted: str, gold: str | Item) -> Grade:
        answer, scorer = (gold, None) if isinstance(gold, str) else (gold.answer, gold.scorer)
        if extracted == answer:
            return Grade(True, extracted, f"equal to {answer}")
        limit = LONGEST_FORMULA if scorer is None else LONGEST_TEXT
        if len(extracted) > limit:
            return Grade(
                False, extracted, f"the answer has {len(extracted)} characters, more than the {limit} that are compared"
            )
        verdict = answers.equal(extracted, answer) if scorer is None else None
        if verdict is not None:
            return Grade(verdict, extracted, f"equal to {answer}" if verdict else f"not equal to {answer}")
        try:
            score = self._score(scorer or MathScorer(answer), extracted)
        except _Failure as failure:
            return Grade(False, extracted, str(failure))
        if scorer is None:
            return Grade(
                score >= 1.0, extracted, f"{'equal' if score >= 1.0 else 'not equal'} to {answer} by math-verify"
            )
        return Grade(score >= 1.0, extracted, f"scored {score:g} by its task, where 1 is right")

    def _score(self, scorer: Scorer, answer: str) -> float:
        with self._lock:
            if self._worker is None:
                self._worker = _Worker(self.limit_s)
            try:
                return self._worker.score(scorer, answer)
            except BaseException as error:
                if not (isinstance(error, _Failure) and error.worker_lives):
                    self._drop_worker()  # dead, hanging, or interrupted with an answer on its way that nobody waits for
                raise

    def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()


class _Failure(Exception):
    """A comparison came to no verdict; the message says why."""

    def __init__(self, message: str, worker_lives: bool = False):
        self.worker_lives = worker_lives
        super().__init__(message)


class _Worker:
    """One running `trainer.tasks.worker`."""

    def __init__(self, limit_s: float):
        self.limit_s = limit_s
        self._connection, theirs = multiprocessing.Pipe()
        assert isinstance(theirs, Connection)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "trainer.tasks.worker", str(theirs.fileno()), str(limit_s)],
                    env={**os.environ, "PYTHONPATH": python_path()},
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            except OSError as error:
                self._connection.close()
                raise TrainingError(
                    f"the grading process cannot be started ({error.strerror}); free memory or processes"
                ) from None
        if not self._hears(_START_S):
            self.close()
            raise TrainingError(f"the grading process did not start within {_START_S:g} s; its output above says why")

    def score(self, scorer: Scorer, answer: str) -> float:
        """Run a scorer in the worker.

        Raises:
            _Failure: it took too long, failed, or the process ended.
        """
        try:
            self._connection.send((scorer, answer))
            if not self._connection.poll(self.limit_s * _WALL_FACTOR):
                raise _Failure(f"comparing took longer than {self.limit_s * _WALL_FACTOR:g} s")
            score, error = self._connection.recv()
        except (EOFError, OSError):
            code = self._process.wait(_START_S)
            if code == -signal.SIGPROF:
                raise _Failure(f"comparing took longer than {self.limit_s:g} s of processor time") from None
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise _Failure(f"the grading process ended with {how} while comparing") from None
        if error is not None:
            raise _Failure(f"comparing failed with {error}", worker_lives=True)
        return score

    def _hears(self, seconds: float) -> bool:
        try:
            return self._connection.poll(seconds) and self._connection.recv() == "ready"
        except (EOFError, OSError):
            return False

    def close(self) -> None:
        """End the process, however busy it is."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


_shared = Grader()
atexit.register(_shared.close)


def grade(completion: str, gold: str | Item) -> Grade:
    """Grade one completion with the process-wide grader.

    Args:
        completion: what the model wrote.
        gold: the right answer, or the item, whose own scorer is then used.

    Raises:
        TrainingError: the worker process cannot be started.
    """
    return _shared.grade(completion, gold)
