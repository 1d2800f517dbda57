"""Grading: right for the right reason, in bounded time, whatever a model wrote."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from trainer.errors import TrainingError
from trainer.tasks import Grade, Grader, Item, grade

FOR_THE_WORKER, INTEGRAL = r"Answer: \frac{x^2}{2}", r"\int_0^x t dt"
"""A right completion and its gold answer that are decided in the worker process."""

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def grader():
    with Grader(limit_s=1.0) as one:
        yield one


@pytest.fixture(scope="module")
def hasty():
    with Grader(limit_s=0.2) as one:
        yield one


def item(scorer) -> Item:
    return Item(id="1", problem="p", answer="gold", prompt="p", scorer=scorer)


def workers() -> list[psutil.Process]:
    """The grading processes of this test process; graders that the module's tests share keep theirs."""
    children = psutil.process_iter(["ppid", "cmdline"])  # None where a process is gone already
    return [
        child
        for child in children
        if child.info["ppid"] == os.getpid() and "trainer.tasks.worker" in (child.info["cmdline"] or ())
    ]


# Scorers as a task could bring them; they run in the worker process.


@dataclass(frozen=True)
class Hang:
    def __call__(self, answer: str) -> float:
        while True:
            pass


@dataclass(frozen=True)
class Sleep:
    def __call__(self, answer: str) -> float:
        time.sleep(1000)
        return 1.0


@dataclass(frozen=True)
class Die:
    signal: int

    def __call__(self, answer: str) -> float:
        os.kill(os.getpid(), self.signal)
        return 1.0


@dataclass(frozen=True)
class Leave:
    def __call__(self, answer: str) -> float:
        os._exit(5)


@dataclass(frozen=True)
class Eat:
    def __call__(self, answer: str) -> float:
        return float(len(bytearray(6 << 30)))


@dataclass(frozen=True)
class Fail:
    def __call__(self, answer: str) -> float:
        raise KeyError(answer)


@dataclass(frozen=True)
class Share:
    def __call__(self, answer: str) -> float:
        return float(answer)


@dataclass(frozen=True)
class Process:
    def __call__(self, answer: str) -> float:
        return float(os.getpid())


@pytest.mark.parametrize(
    ("completion", "gold", "correct", "reason"),
    [
        ("7+4=11 Answer:1221", "1221", True, "equal to 1221"),
        ("7+4=11 Answer:1222", "1221", False, "not equal to 1221"),
        (r"\boxed{\frac{1}{2}}", "0.5", True, "equal to 0.5"),
        (r"\boxed{x+1}", "1+x", True, "equal to 1+x"),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", True, "equal to x^2+2x+1"),
        (r"\boxed{\{2,1\}}", r"\{1,2\}", True, r"equal to \{1,2\}"),
        (r"\boxed{(2,1)}", "(1,2)", False, "not equal to (1,2)"),
        (r"\boxed{x=5}", "5", True, "equal to 5"),
        (r"\boxed{\sqrt{8}}", r"2\sqrt{2}", True, r"equal to 2\sqrt{2}"),
        ("Answer: no", "yes", False, "not equal to yes"),
        (r"\boxed{\frac{x^2}{2}}", r"\int_0^x t dt", True, r"equal to \int_0^x t dt by math-verify"),
        (r"\boxed{\frac{x^2}{3}}", r"\int_0^x t dt", False, r"not equal to \int_0^x t dt by math-verify"),
        (r"\boxed{\frac{n(n+1)}{2}}", r"\sum_{k=1}^{n} k", True, r"equal to \sum_{k=1}^{n} k by math-verify"),
        (r"\boxed{\sum_{k=1}^{n} k}", r"\frac{n(n+1)}{2}", False, r"not equal to \frac{n(n+1)}{2}"),
        ("I do not know", "5", False, "no answer found"),
    ],
)
def test_an_answer_is_graded_with_its_reason(grader, completion, gold, correct, reason):
    graded = grader.grade(completion, gold)
    assert (graded.correct, graded.reason) == (correct, reason)


def test_many_grades_come_in_order_and_equal_questions_are_compared_once(grader):
    pairs = [("Answer: 2", "2"), (FOR_THE_WORKER, INTEGRAL), ("", "2"), ("Answer: 3", "2")]
    assert [one.correct for one in grader.grade_many(pairs)] == [True, True, False, False]
    assert grader.grade_many([]) == []
    same = item(Fail())
    first, second = grader.grade_many([("Answer: x", same), ("so... Answer: x", same)])
    assert first is second


def test_numeric_answers_need_no_process():
    before = workers()
    with Grader() as fresh:
        pairs = [(f"7+4=11 5+6+1=12 3+8+1=12 Answer:{n}", str(n // 2 * 2)) for n in range(512)]
        grades = fresh.grade_many(pairs)
        assert sum(one.correct for one in grades) == 256
        assert workers() == before


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (Hang(), "comparing took longer than 0.2 s of processor time"),
        (Die(signal.SIGSEGV), "the grading process ended with SIGSEGV while comparing"),
        (Leave(), "the grading process ended with exit code 5 while comparing"),
        (Eat(), "comparing failed with MemoryError"),
        (Fail(), "comparing failed with KeyError"),
    ],
    ids=["hang", "crash", "exit", "memory", "error"],
)
def test_what_a_scorer_does_wrong_is_a_wrong_answer_and_the_next_is_graded(hasty, scorer, reason):
    assert hasty.grade("Answer: x", item(scorer)) == Grade(False, "x", reason)
    assert hasty.grade("Answer: 1", item(Share())).correct


def test_a_scorer_that_sleeps_is_cut_off_by_the_clock():
    with Grader(limit_s=0.04) as one:
        assert one.grade("Answer: x", item(Sleep())) == Grade(False, "x", "comparing took longer than 0.6 s")


def test_partial_credit_is_not_correct(grader):
    assert grader.grade("Answer: 0.99", item(Share())) == Grade(
        False, "0.99", "scored 0.99 by its task, where 1 is right"
    )
    assert grader.grade("Answer: 1", item(Share())).correct
    assert not grader.grade("Answer: nan", item(Share())).correct


def test_the_gold_answer_itself_needs_no_scorer(grader):
    assert grader.grade("Answer: gold", item(Fail())) == Grade(True, "gold", "equal to gold")


@pytest.mark.parametrize(
    "answer",
    [
        r"9^{9^{9^{9^9}}}",
        "(" * 400,
        r"\sqrt{" * 90 + "2" + "}" * 90,
        r"\sum_{n=1}^{10^{12}} \frac{1}{n^n}",
        "5} \\boxed{6",
        "\x00\udc80",
        "import os; os.abort()",
    ],
)
@pytest.mark.timeout(60)
def test_a_hostile_answer_is_wrong_within_the_bound(hasty, answer):
    assert not hasty.grade(f"Answer: {answer}", "7").correct
    assert hasty.grade("Answer: 7", "7").correct


@pytest.mark.parametrize(
    "completion", [r"\boxed{" + "{" * 10**6, r"\boxed{" + "x" * 10**6 + "}", r"\boxed{" + "x^2+" * 4000 + "1}"]
)
def test_a_megabyte_is_wrong_at_once(completion):
    before = workers()
    with Grader() as fresh:
        start = time.perf_counter()
        assert not fresh.grade(completion, "7").correct
        assert time.perf_counter() - start < 0.05
        assert workers() == before


def test_an_answer_too_long_to_compare_is_wrong_and_says_so():
    assert (
        grade(r"\boxed{" + "x" * 1001 + "}", "7").reason
        == "the answer has 1001 characters, more than the 1000 that are compared"
    )


def test_a_worker_is_reused_ends_with_its_grader_and_starts_again_when_needed():
    before = workers()
    with Grader() as one:
        first = one.grade("Answer: 1", item(Process())).reason
        assert one.grade("Answer: 2", item(Process())).reason == first
        assert len(workers()) == len(before) + 1
    assert workers() == before
    assert one.grade("Answer: 1", item(Process())).correct
    one.close()
    assert workers() == before


def test_signals_to_the_trainers_group_do_not_disturb_grading():
    before = workers()
    with Grader() as one:
        assert one.grade(FOR_THE_WORKER, INTEGRAL).correct
        (worker,) = set(workers()) - set(before)
        worker.send_signal(signal.SIGTERM)
        worker.send_signal(signal.SIGINT)
        assert one.grade(FOR_THE_WORKER, INTEGRAL).correct
        assert worker in workers()


def test_a_worker_whose_trainer_was_killed_ends_even_in_the_middle_of_a_hang():
    code = (
        "import functools, itertools, operator, os, sys, threading, time; sys.path.insert(0, sys.argv[1])\n"
        "from trainer.tasks import Grader, Item\n"
        "hangs = Item('1', 'p', 'gold', 'p', functools.partial(operator.contains, itertools.repeat(0)))\n"
        "one = Grader(limit_s=1.0); one.grade('Answer: x^2/2', r'\\int_0^x t dt'); print(one._worker._process.pid, flush=True)\n"
        "threading.Thread(target=one.grade, args=('Answer: x', hangs), daemon=True).start(); time.sleep(0.2); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and psutil.Process(int(done.stdout)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the worker outlived its trainer"
        time.sleep(0.05)


def test_a_worker_that_cannot_start_stops_training_with_words(monkeypatch):
    before = workers()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Grader() as one, pytest.raises(TrainingError, match="the grading process cannot be started"):
        one.grade(FOR_THE_WORKER, INTEGRAL)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Grader() as one, pytest.raises(TrainingError, match="the grading process did not start"):
        one.grade(FOR_THE_WORKER, INTEGRAL)
    assert workers() == before


def test_a_grader_works_from_any_folder(tmp_path, monkeypatch):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("raise ImportError('the wrong trainer')")
    monkeypatch.chdir(tmp_path)
    with Grader() as one:
        assert one.grade(FOR_THE_WORKER, INTEGRAL).correct


def test_the_process_wide_grader_leaves_nothing_behind():
    code = "import sys; sys.path.insert(0, sys.argv[1])\nfrom trainer.tasks import grade\nprint(grade('Answer: x^2/2', r'\\int_0^x t dt').correct)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(ROOT)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)
