"""The end of a run in words, from every combination of evidence that can occur."""

import pytest

from backend.outcome import Evidence, end_of, heading, last_words, part_of
from db.statuses import Status

UNSEEN = "the trainer ended while nothing supervised it, and left no word of why"
FAILED = {"outcome": "failed", "message": "the loss is not finite"}
TRACEBACK = """step 3
Traceback (most recent call last):
  File "loop.py", line 1, in train
    raise ValueError("bad shape")
    ~~~~~^^^^
ValueError: bad shape

"""


@pytest.mark.parametrize(
    ("evidence", "status", "reason"),
    [
        (Evidence(0, {"outcome": "finished"}, ""), Status.FINISHED, ""),
        # It finished before the request reached it, or crashed while Python shut down: all steps are done.
        (Evidence(0, {"outcome": "finished"}, "", stop="stopped by the user"), Status.FINISHED, ""),
        (Evidence(-11, {"outcome": "finished"}, ""), Status.FINISHED, ""),
        (Evidence(None, {"outcome": "finished"}, ""), Status.FINISHED, ""),
        (Evidence(3, {"outcome": "stopped"}, "", stop="stopped by the user"), Status.STOPPED, "stopped by the user"),
        (Evidence(3, {"outcome": "stopped"}, ""), Status.STOPPED, "the trainer was stopped by a signal from outside"),
        (Evidence(-15, None, "", stop="the stack was shut down"), Status.STOPPED, "the stack was shut down"),
        (Evidence(None, None, "", stop="stopped by the user"), Status.STOPPED, "stopped by the user"),
        (Evidence(1, FAILED, TRACEBACK), Status.FAILED, "the loss is not finite"),
        # It was asked to stop, but failed by itself.
        (Evidence(1, FAILED, "", stop="stopped by the user"), Status.FAILED, "the loss is not finite"),
        (Evidence(1, None, TRACEBACK, stop="stopped by the user"), Status.FAILED, "ValueError: bad shape"),
        (Evidence(1, None, TRACEBACK), Status.FAILED, "ValueError: bad shape"),
        (Evidence(None, None, TRACEBACK), Status.FAILED, "ValueError: bad shape"),
        # Killed: the log's last line is older than the reason.
        (
            Evidence(-9, None, "step 3"),
            Status.FAILED,
            "the trainer was killed by signal 9 (SIGKILL); the machine may have run out of memory",
        ),
        (Evidence(-11, None, ""), Status.FAILED, "the trainer was killed by signal 11 (SIGSEGV)"),
        (Evidence(None, None, ""), Status.FAILED, UNSEEN),
        # Its last words are no error: it was killed, whatever it had said before.
        (Evidence(None, None, f"{TRACEBACK}attempt 2 trains\nstep 3"), Status.FAILED, UNSEEN),
        (
            Evidence(-9, None, "", stop="stopped by the user", killed_after=30),
            Status.STOPPED,
            "stopped by the user; killed, because it had not ended 30 s later",
        ),
    ],
)
def test_the_end_is_true_and_says_why(evidence: Evidence, status: Status, reason: str) -> None:
    end = end_of(evidence)
    assert (end.status, end.reason) == (status, reason)
    assert end.lost == (reason == UNSEEN)


def test_a_very_long_reason_is_cut() -> None:
    assert len(end_of(Evidence(1, None, "x" * 10_000)).reason) == 500


def test_the_last_words_of_a_log_are_its_error_and_not_its_decoration() -> None:
    assert last_words(TRACEBACK) == "ValueError: bad shape"
    assert last_words("\n \n") == ""


def test_what_an_earlier_attempt_said_is_not_the_word_of_a_later_one() -> None:
    log = f"{TRACEBACK}{heading(2)}step 4\n"
    assert part_of(log, 2) == "step 4\n"
    assert part_of(log, 1) == log
