"""The demo: what a second call uses again, and how progress is told."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backend_harness import look

from backend import demo, live, runs, show, store
from db.reads import RunRow
from db.runs import request_stop
from db.statuses import Status
from trainer.config import parse


@pytest.fixture
def base(home: Path) -> None:
    """Files that look like the demo's base model and problems."""
    model, data = home / "models" / "addition", home / "data" / "addition"
    model.mkdir(parents=True)
    data.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "qwen3"}')
    (model / "tokenizer.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    problems = "".join(f'{{"problem": "{n}+{n}=", "answer": "{2 * n}"}}\n' for n in range(100))
    (data / "train.jsonl").write_text(problems)
    (data / "test.jsonl").write_text(problems)


def stop(run_id: int) -> None:
    with store.writing() as connection:
        assert request_stop(connection, run_id, time.time()) == Status.STOPPED


def test_the_four_runs_differ_in_their_regime_only(base: None) -> None:
    found = [look(run_id) for run_id in demo._queue(again=False)]
    assert [run.regime for run in found] == ["detach", "ce", "policy", "occ"]
    assert {run.experiment for run in found} == {"demo"}

    def budget(config: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in config.items() if key not in ("regime", "mtp")}

    assert all(budget(dict(run.config)) == budget(dict(found[0].config)) for run in found)


def test_a_second_call_uses_what_is_there_and_repeats_only_what_did_not_finish(base: None) -> None:
    first = demo._queue(again=False)
    assert demo._queue(again=False) == first
    stop(first[1])
    second = demo._queue(again=False)
    assert [a == b for a, b in zip(first, second, strict=True)] == [True, False, True, True]
    assert look(second[1]).experiment == "demo"


def test_a_rerun_is_another_experiment(base: None) -> None:
    first, second = demo._queue(again=False), demo._queue(again=True)
    assert not set(first) & set(second)
    assert {look(run_id).experiment for run_id in second} == {"demo-2"}
    assert demo._queue(again=False) == second


def test_runs_of_changed_presets_are_not_compared_with_new_ones(base: None) -> None:
    old = look(demo._queue(again=False)[0])
    runs.submit(parse({**old.config, "steps": 5}), experiment="demo", preset=old.preset)
    assert {look(run_id).experiment for run_id in demo._queue(again=False)} == {"demo-2"}


@pytest.fixture
def row(base: None) -> RunRow:
    """A run that has made 30 of 120 steps in a minute."""
    fields = {name: getattr(look(demo._queue(again=False)[0]), name) for name in RunRow.__dataclass_fields__}
    started = {"status": Status.RUNNING, "attempt_started_at": time.time() - 60, "step": 30, "total_steps": 120}
    return RunRow(**{**fields, **started, "latest": {"time/step_seconds": 1.0}})


def test_the_time_left_is_estimated_from_the_pace(row: RunRow) -> None:
    assert show.seconds_left(row) == pytest.approx(180, rel=0.05)
    # In the first steps the time so far is mostly that of loading.
    assert show.seconds_left(replace(row, step=2)) == 118
    assert show.seconds_left(replace(row, step=0)) is None
    # The steps of an earlier attempt took other time.
    assert show.seconds_left(replace(row, step=90, resumed_from=60)) == pytest.approx(60, rel=0.05)
    assert show.seconds_left(replace(row, step=60, resumed_from=60)) is None
    queued = replace(row, id=99, status=Status.QUEUED, attempt_started_at=None, step=0)
    assert live.seconds_left([queued]) is None
    assert live.seconds_left([row, queued]) == pytest.approx(180 + 240, rel=0.05)
    assert live.seconds_left([row, replace(row, id=98), queued]) == pytest.approx((180 + 180 + 240) / 2, rel=0.05)
    assert live.seconds_left([replace(row, status=Status.FINISHED, ended_at=time.time())]) is None


def test_without_a_terminal_progress_is_lines_and_only_news(row: RunRow, capsys: pytest.CaptureFixture[str]) -> None:
    with live.Live() as shown:
        shown.show([row])
        shown.show([replace(row, step=31)])
        shown.show([replace(row, status=Status.FAILED, reason="the clip [0, 1] is [/empty]")])
    assert capsys.readouterr().out.splitlines() == [
        f"run {row.id} (detach-dapo-seed0) running, step 30/120, about 3 min left",
        f"run {row.id} (detach-dapo-seed0) failed, the clip [0, 1] is [/empty]",
    ]
