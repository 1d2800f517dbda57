"""Finished trainings and evaluations of them, put into the store as supervisors do."""

import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from backend import cli, runs, settings, store
from db import claims, engine
from db import runs as stored_runs
from db.ingest import ingest
from db.statuses import Kind, Status
from trainer.config import RunConfig
from trainer.events import MemorySink

Outcomes = dict[str, list[int]]
ANSWER, WRONG = "4", "5"


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store; nothing is started in it."""
    monkeypatch.setenv("MTPRL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MTPRL_DATABASE_URL", raising=False)
    engine.migrate(settings.settings().database_url)
    yield tmp_path / "home"
    store.engine().dispose()
    store._engine.cache_clear()


@pytest.fixture
def mtprl(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command line in this process: (exit code, output, errors)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtprl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def finished(config: Callable[..., RunConfig], values: dict[str, Any]) -> Callable[..., int]:
    """Make a finished training that ended with these outcomes of one benchmark, or of several by name.

    `earlier` are those of its evaluation before training, `terms` change what the evaluation says of itself, `accepted` is its draft
    acceptance by step.
    """

    def make(
        regime: str,
        outcomes: Outcomes | dict[str, Outcomes],
        *,
        earlier: Outcomes | None = None,
        status: Status = Status.FINISHED,
        terms: dict[str, Any] | None = None,
        texts: bool = False,
        experiment: str = "board",
        at_step: int | None = None,
        accepted: Sequence[float] = (0.5, 0.7, 0.9),
        **changes: Any,
    ) -> int:
        by_name = _by_name(outcomes)
        benchmarks = [{"name": name, "data": values["data"]} for name in by_name]
        evaluation = {"benchmarks": benchmarks, "samples": 2, "top_p": 1.0} | changes.pop("evaluation", {})
        made = config(regime={"kind": regime}, evaluation=evaluation, **changes)
        run_id = runs.submit(made, experiment=experiment)
        sink = MemorySink()
        for step, seconds in enumerate([9.0, 1.0, 2.0]):
            sink.emit("metrics", step=step, values={"time/step_seconds": seconds})
        for step, acceptance in enumerate(accepted):
            sink.emit("metrics", step=step, values={"mtp/acceptance_greedy": acceptance})
        if earlier is not None:
            _say(sink, 0, _by_name(earlier), terms or {}, texts)
        _say(sink, made.steps if at_step is None else at_step, by_name, terms or {}, texts)
        _end(run_id, sink, status)
        return run_id

    return make


@pytest.fixture
def evaluated(values: dict[str, Any]) -> Callable[..., int]:
    """Make a finished job that evaluated a training after its last step."""

    def make(
        subject: int,
        outcomes: Outcomes | dict[str, Outcomes],
        *,
        step: int = 5,
        status: Status = Status.FINISHED,
        template: str = "{problem}",
        **terms: Any,
    ) -> int:
        data = {**values["data"], "template": template}
        by_name = _by_name(outcomes)
        with store.writing() as connection:
            job = stored_runs.create_run(
                connection,
                experiment="board",
                name=f"evaluation-of-{subject}",
                config={
                    "kind": "evaluation",
                    "model": {"path": "m", "mixed_precision": "no"},
                    "benchmarks": [{"name": name, "data": data} for name in by_name],
                },
                regime="detach",
                algorithm="dapo",
                seed=0,
                total_steps=1,
                preset=None,
                folder="",
                now=time.time(),
                kind=Kind.EVALUATION,
                evaluates=subject,
                evaluates_step=step,
            )
        sink = MemorySink()
        _say(sink, 0, by_name, terms, texts=True)
        _end(job, sink, status)
        return job

    return make


def _by_name(outcomes: Outcomes | dict[str, Outcomes]) -> dict[str, Any]:
    return dict(outcomes) if isinstance(next(iter(outcomes.values())), dict) else {"sums": outcomes}


def _say(sink: MemorySink, step: int, by_name: dict[str, Outcomes], terms: dict[str, Any], texts: bool) -> None:
    for name, outcomes in by_name.items():
        said = {
            "benchmark": name,
            "samples": len(next(iter(outcomes.values()))),
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 8,
            "revision": "r1",
            "grader": "1",
        }
        items = [
            {"id": item, "outcomes": marks, **(_texts(marks) if texts else {})} for item, marks in outcomes.items()
        ]
        sink.emit("evaluation", step=step, items=items, **{**said, **terms})


def _texts(marks: list[int]) -> dict[str, Any]:
    samples = [
        {
            "completion": f"it is {ANSWER if mark else WRONG}",
            "tokens": 3,
            "truncated": False,
            "extracted": ANSWER if mark else WRONG,
            "reason": "equal" if mark else "not equal",
        }
        for mark in marks
    ]
    return {"problem": "2+2?", "answer": ANSWER, "samples": samples}


def _end(run_id: int, sink: MemorySink, status: Status) -> None:
    with store.writing() as connection:
        assert claims.claim_next(connection, host=socket.gethostname(), devices=["cpu:0"], now=time.time())
        ingest(connection, run_id, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
        ended = {"status": status, "reason": "", "exit_code": 0, "now": time.time()}
        claims.finish(connection, run_id=run_id, attempt=1, **ended)
