"""Matched controls, from a real store: which coefficient, what stays as it was, and what is refused."""

import math
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backend_harness import look

from backend import cli, controls, runs, store
from db import claims, ingest
from db.statuses import Status
from trainer.config import RunConfig
from trainer.errors import StoreError

Config = Callable[..., RunConfig]
Trained = Callable[..., int]

OCC = {"kind": "occ", "reference": "own", "ratio": "own", "clip": [0, 1]}


@pytest.fixture
def trained(config: Config) -> Trained:
    """Make an occ run with these coefficients, [step][depth][mini-batch], and let it end unless told otherwise."""

    def train(
        coefficients: list[list[list[float]]],
        *,
        status: Status | None = Status.FINISHED,
        depths: int = 1,
        **changes: Any,
    ) -> int:
        given = {
            "regime": OCC,
            "update": {"mini_batches": 2},
            "model": {"path": config().model.path, "mtp_depths": depths},
        }
        run_id = runs.submit(config("trained", **{**given, **changes}), experiment="trial")
        with store.writing() as connection:
            claims.claim_next(connection, host=socket.gethostname(), devices=[f"cpu:{run_id}"], now=time.time())
            events = [_event("attempt_started", 0, pid=1, host="h", total_steps=5, resumed_from=None)]
            for step, by_depth in enumerate(coefficients, start=1):
                for depth, values in enumerate(by_depth, start=1):
                    name = "mtp/coefficient" if depth == 1 else f"mtp/depth_{depth}/coefficient"
                    events += [
                        _event("metrics", step, index, values={name: value}) for index, value in enumerate(values)
                    ]
                    events.append(_event("metrics", step, values={name: 99.0}))
            ingest.ingest(connection, run_id, events, attempt=1, start=0, offset=1, torn_lines=0)
            if status is not None:
                claims.finish(
                    connection, run_id=run_id, attempt=1, status=status, reason="", exit_code=0, now=time.time()
                )
        return run_id

    return train


def _event(type: str, step: int, mini_batch: int = -1, **fields: Any) -> dict[str, Any]:
    return {"type": type, "attempt": 1, "step": step, "mini_batch": mini_batch, "time": 1.0, **fields}


def control_of(run_id: int) -> controls.Control:
    with store.reading() as connection:
        return controls.matched_control(connection, run_id)


def test_the_control_weighs_with_the_mean_over_all_mini_batches(trained: Trained) -> None:
    run_id = trained([[[0.0, 0.5]], [[0.0, -0.1]], [[0.0, 0.3]]])
    control = control_of(run_id)
    assert control.config.regime.model_dump() == {"kind": "policy", "coefficient": 0.1167, "ratio": "own"}
    assert (control.of, control.experiment, control.values, control.left_out) == (run_id, "trial", 6, 0)
    assert "mean coefficient, 0.1167, over 6 mini-batch values; everything" in control.words


def test_everything_but_regime_and_name_is_the_runs(trained: Trained) -> None:
    changes = {"seed": 7, "mtp": {"head_loss": "ce"}, "optimizer": {"lr": 3e-4}, "algorithm": {"kind": "grpo"}}
    run_id = trained([[[0.0, 0.5]]], **changes)
    control, run = control_of(run_id).config.model_dump(mode="json"), dict(look(run_id).config)
    assert control.pop("name") == f"control-of-run-{run_id}"
    assert (control.pop("regime")["kind"], run.pop("regime")["kind"]) == ("policy", "occ")
    del run["name"]
    assert control == run
    assert control["seed"] == 7


def test_the_mean_is_over_the_depths_too(trained: Trained) -> None:
    run_id = trained([[[0.0, 1.0], [0.0, 3.0]]], depths=2)
    assert control_of(run_id).config.regime.coefficient == 1.0


def test_a_negative_mean_is_kept(trained: Trained) -> None:
    assert control_of(trained([[[0.0, -0.5]]])).config.regime.coefficient == -0.25


def test_values_that_are_not_finite_are_left_out_and_it_says_so(trained: Trained) -> None:
    control = control_of(trained([[[0.0, math.nan]], [[0.5, math.inf]]]))
    assert control.config.regime.coefficient == 0.25
    assert "over 2 mini-batch values (2 that are not finite left out)" in control.words


def test_a_stopped_run_has_a_control_and_one_that_trains_has_none_yet(trained: Trained) -> None:
    assert control_of(trained([[[0.0, 0.5]]], status=Status.STOPPED)).config.regime.coefficient == 0.25
    with pytest.raises(StoreError, match=r"run 2 is running; its mean coefficient is known when it has ended"):
        control_of(trained([[[0.0, 0.5]]], status=None))


@pytest.mark.parametrize(
    ("coefficients", "changes", "words"),
    [
        ([], {}, "run 1 has no coefficient to take the mean of: it ended before its first update"),
        ([[[math.nan, math.nan]]], {}, "run 1 has no coefficient to take the mean of: all 2 are not finite"),
        ([[[1.0, 1.0]]], {"regime": {"kind": "policy"}}, "run 1 has regime policy; a matched control needs"),
    ],
)
def test_what_has_no_control_is_refused_in_words(
    trained: Trained, coefficients: list[Any], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(StoreError, match=re.escape(words)):
        control_of(trained(coefficients, **changes))


def test_an_unknown_run_has_no_control(home: Path) -> None:
    with pytest.raises(StoreError, match="run '9' does not exist"):
        control_of(9)


def mtprl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mtprl", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_shell_submits_the_control_beside_its_run(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = trained([[[0.0, 0.5]]], seed=7)
    code, out, _ = mtprl(monkeypatch, capsys, "submit", "--control-of", str(run_id))
    assert (code, out.splitlines()[1]) == (0, "run 2 (control-of-run-1) is queued")
    assert out.startswith("Matched control of run 1: regime policy with that run's mean coefficient, 0.25, ")
    control = look(2)
    assert (control.regime, control.seed, control.experiment, control.preset) == ("policy", 7, "trial", None)
    assert control.config["regime"]["coefficient"] == 0.25

    options = ("--seeds", "0,1", "--set", "steps=3", "--experiment", "mine")
    assert mtprl(monkeypatch, capsys, "submit", "--control-of", "trained", *options)[0] == 0
    assert [(look(n).name, look(n).total_steps, look(n).experiment) for n in (3, 4)] == [
        ("control-of-run-1-seed0", 3, "mine"),
        ("control-of-run-1-seed1", 3, "mine"),
    ]
    assert {look(n).config["regime"]["coefficient"] for n in (3, 4)} == {0.25}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit"], "give either a configuration (a file or a preset) or --control-of RUN"),
        (
            ["submit", "demo/occ", "--control-of", "1"],
            "give either a configuration (a file or a preset) or --control-of",
        ),
        (["submit", "--control-of", "77"], "run '77' does not exist"),
    ],
)
def test_a_control_that_the_shell_cannot_make_is_refused_in_words(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    code, out, err = mtprl(monkeypatch, capsys, *arguments)
    assert (code, out) == (1, "")
    assert words in err
