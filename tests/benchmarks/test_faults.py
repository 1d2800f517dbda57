"""The trials of faults: what they draw, what they count, and that the page agrees with its records."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import evidence, plan, report
from benchmarks.faults.__main__ import Results, main, make_base
from benchmarks.faults.evidence import History
from benchmarks.faults.verdict import Done, Ended, complaints

ROOT = Path(__file__).parents[2]


# --- what is tried ---


def test_the_plan_tries_every_fault_in_each_of_its_phases_as_far_as_it_has_trials() -> None:
    drawn = plan.trials(0)
    assert len(drawn) >= 60
    assert [trial.number for trial in drawn] == list(range(1, len(drawn) + 1))
    for fault in plan.FAULTS:
        mine = [trial for trial in drawn if trial.fault == fault.name]
        assert len(mine) == fault.stand_in + fault.real
        assert len({trial.phase for trial in mine}) >= min(len(fault.phases), max(fault.stand_in, fault.real))
        assert {trial.database for trial in mine} == set(fault.databases)


def test_the_seed_alone_decides_what_is_drawn() -> None:
    assert plan.trials(3) == plan.trials(3)
    assert plan.trials(3) != plan.trials(4)


def test_a_phase_that_comes_again_meets_the_other_database() -> None:
    for number in (2, 3, 4, 5):
        turns = list(zip([*range(number)] * 2, plan._turns(("a", "b"), number), strict=False))
        assert len(set(turns)) == 2 * number


def test_only_takes_numbers_and_words_and_refuses_what_names_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "kill -9 cat"])
    assert "names no trial; the faults are: kill -9 worker" in capsys.readouterr().err


def test_the_last_result_of_a_trial_counts(tmp_path: Path) -> None:
    results = Results(tmp_path / "r.jsonl")
    for seconds in (1.0, 2.0):
        results.add({"number": 7, "seconds": seconds})
    assert Results(tmp_path / "r.jsonl").rows == {7: {"number": 7, "seconds": 2.0}}


# --- what is counted ---


def line(kind: str, attempt: int, step: int, **more: Any) -> bytes:
    event = {"type": kind, "attempt": attempt, "step": step, "mini_batch": -1, "time": attempt + step / 100, **more}
    return json.dumps(event).encode() + b"\n"


FILE = b"".join(
    [
        line("attempt_started", 1, 0, resumed_from=None),
        line("metrics", 1, 1, values={"a": 1.0, "odd": "NaN"}),
        line("metrics", 1, 2, values={"a": 2.0}, mini_batch=0),
        line("metrics", 1, 3, values={"a": 3.0, "gone": 3.0}),
        line("completions", 1, 3, items=[{"prompt_id": "p", "sample": 0, "completion": "void"}]),
        b'{"type": "metr\n',
        line("attempt_started", 2, 2, resumed_from=2),
        line("metrics", 2, 3, values={"a": 3.5}),
        line("evaluation", 2, 3, benchmark="b", items=[{"id": "i", "outcomes": [1, 0]}]),
        line("alarm", 2, 3, name="events_dropped", message="4 events could not be written and are lost"),
        line("ended", 2, 3, outcome="finished"),
        b'{"type": "ended", "attempt": 2, "st',
    ]
)
ROWS = [
    (("metric", "a", 1, -1), (1, 1.0)),
    (("metric", "odd", 1, -1), (1, None)),
    (("metric", "a", 2, 0), (1, 2.0)),
    (("metric", "a", 3, -1), (2, 3.5)),
    (("evaluation", "b", 3), (2, [("i", "10")])),
]
NOTED = Counter(
    [("attempt_started", 1, 0, 1.0), ("attempt_started", 2, 2, 2.02), ("alarm", 2, 3, 2.03), ("ended", 2, 3, 2.03)]
)


def test_what_survives_of_a_file_is_what_no_resume_made_void() -> None:
    history = evidence.read(FILE)
    assert history.rows == dict(ROWS)
    assert history.noted == NOTED
    assert (history.torn, history.dropped, history.steps) == (1, 4, {1, 3})
    assert history.ended == {2: "finished"}


def test_a_store_that_says_the_same_differs_in_nothing() -> None:
    assert evidence.compare(evidence.read(FILE), ROWS, NOTED) == (0, 0, [])


@pytest.mark.parametrize(
    ("rows", "noted", "lost", "doubled"),
    [
        (ROWS[1:], NOTED, 1, 0),
        ([*ROWS, ROWS[0]], NOTED, 0, 1),
        ([*ROWS, (("metric", "gone", 3, -1), (1, 3.0))], NOTED, 0, 1),
        ([(ROWS[0][0], (1, 9.0)), *ROWS[1:]], NOTED, 1, 1),
        ([*ROWS[:3], (ROWS[3][0], (1, 3.0)), ROWS[4]], NOTED, 1, 1),
        ([*ROWS[:4], (ROWS[4][0], (2, []))], NOTED, 1, 1),
        (ROWS, NOTED - Counter([("ended", 2, 3, 2.03)]), 1, 0),
        (ROWS, NOTED + Counter([("ended", 2, 3, 2.03)]), 0, 1),
    ],
    ids=["lost", "twice", "void", "other value", "old attempt", "items lost", "history lost", "history twice"],
)
def test_every_difference_is_counted_and_named(rows: Any, noted: Counter[Any], lost: int, doubled: int) -> None:
    found = evidence.compare(evidence.read(FILE), rows, noted)
    assert (found.lost, found.doubled) == (lost, doubled)
    assert len(found.examples) == lost + doubled


# --- what may be said of an end ---


def ended(*ends: tuple[str, str], said: str = "finished", steps: int = 5, **more: Any) -> Ended:
    history = History(steps=set(range(1, steps + 1)), ended={1: said} if said else {})
    values = {"run_id": 1, "step": 5, "total": 5, "attempts": 1, "torn": 0, "history": history, "done": Done()}
    return Ended(ends=ends, **{**values, **more})


WELL = ("finished", "")
KILLED = ("failed", "the trainer was killed by signal 9 (SIGKILL)")


@pytest.mark.parametrize(
    ("fault", "run"),
    [
        (plan.WORKER, ended(WELL)),
        (plan.PAIR, ended(WELL, attempts=2, done=Done({"supervisor", "trainer"}, had_trainer=True))),
        (plan.TRAINER, ended(KILLED, WELL, said="", done=Done({"trainer"}, had_trainer=True))),
        (plan.TRAINER, ended(WELL, done=Done({"trainer"}, had_trainer=True))),
        (plan.SUPERVISOR, ended(("stopped", "stopped by the user"), said="stopped", done=Done(asked_to_stop=True))),
        (plan.CHECKPOINT_FULL, ended(("failed", "c: the checkpoint cannot be written (full)"), WELL, said="failed")),
        (
            plan.SIGTERM_SAVING,
            ended(
                ("stopped", "the trainer was stopped by a signal from outside"),
                WELL,
                said="stopped",
                done=Done(told=True),
            ),
        ),
        (plan.EVENTS_FULL, ended(WELL, history=History(steps={1, 2}, dropped=3))),
    ],
)
def test_an_end_that_fits_what_was_done_is_true(fault: str, run: Ended) -> None:
    assert complaints(fault, run) == []


@pytest.mark.parametrize(
    ("fault", "run", "words"),
    [
        (plan.WORKER, ended(KILLED), "may only be"),
        (plan.WORKER, ended(WELL, attempts=2, done=Done(had_trainer=True)), "its trainer lived on"),
        (plan.WORKER, ended(WELL, steps=4), "lacks 1 steps"),
        (plan.WORKER, ended(WELL, step=4), "at step 4 of 5"),
        (plan.WORKER, ended(WELL, torn=1), "torn"),
        (plan.WORKER, ended(("finished", "its last events are missing")), "with a reason"),
        (plan.WORKER, ended(("running", "")), "may only be"),
        (plan.TRAINER, ended(WELL, said="", done=Done({"trainer"})), "may only be"),
        (plan.TRAINER, ended(KILLED, said=""), "may only be"),
        (plan.TRAINER, ended(KILLED, KILLED, done=Done({"trainer"})), "resumed, it is failed"),
        (plan.SUPERVISOR, ended(("failed", "lost"), said="", done=Done(asked_to_stop=True)), "may only be"),
        (plan.EVENTS_FULL, ended(WELL, history=History(steps={1, 2})), "nothing says so"),
    ],
)
def test_an_end_that_does_not_is_complained_of(fault: str, run: Ended, words: str) -> None:
    assert [words in one for one in complaints(fault, run)] == [True]


# --- the page ---


def row(number: int, **more: Any) -> dict[str, Any]:
    values = plan.trials(0)[number - 1].as_json()
    counted = dict.fromkeys(report.COUNTED, 0)
    return {
        **values,
        "seconds": 30.0,
        "counted": counted,
        "skipped": "",
        "moment": "m",
        "killed": {},
        "ends": {},
        "commit": "abc",
        **more,
    }


def test_the_page_names_what_was_not_as_promised_and_what_was_skipped(tmp_path: Path) -> None:
    wrong = dict.fromkeys(report.COUNTED, 0) | {"orphan": 2}
    rows = {1: row(1), 2: row(2, counted=wrong), 3: row(3, skipped="nothing can be mounted here")}
    page = report.write(rows, seed=0, planned=86, folder=tmp_path)
    assert "broke the stack 2 times (of 86 trials planned)" in page
    assert "| **all** |  | 2 |" in page
    assert "| 0 | 0 | 0 | 2 | 0 |" in page
    assert "Not as promised: trials 2." in page
    late = [number for number in (1, 2) if row(number)["fault"] in (plan.SUPERVISOR, plan.TRAINER, plan.PAIR)]
    assert f"Came too late to kill anything: trials {', '.join(map(str, late))}." in page
    assert "Skipped: 1 trials, because nothing can be mounted here." in page


def test_the_kept_page_is_made_from_its_records() -> None:
    folder = ROOT / report.FOLDER
    rows = [json.loads(line) for line in (folder / report.TRIALS).read_text().splitlines()]
    assert rows
    assert (folder / report.PAGE).read_text() == report.render(rows)


@pytest.mark.slow
def test_a_trial_kills_what_it_says_and_counts_what_is_wrong_afterwards(tmp_path: Path) -> None:
    make_base(tmp_path)
    trial = plan.Trial(1, plan.SUPERVISOR, plan.RUNNING, plan.STAND_IN, plan.SQLITE, runs=1, seed=0)
    command = [sys.executable, "-m", "benchmarks.faults.trial", json.dumps(trial.as_json()), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["said"] == []
    assert result["counted"] == dict.fromkeys(report.COUNTED, 0)
    assert (result["killed"], result["ends"]) == ({"1": ["supervisor"]}, {"1": "finished, 1"})
