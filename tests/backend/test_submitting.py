"""Submitting and stopping, as the command line and the pages do it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from backend_harness import look

from backend import runs, store
from backend.celery_app import ring
from db import reads, workers
from db.statuses import Status
from trainer.config import Mtp, Occ, RunConfig
from trainer.errors import ConfigError, StoreError

Config = Callable[..., RunConfig]


def everything(home: Path) -> tuple[int, list[Path]]:
    """How many runs there are, and their folders."""
    with store.reading() as connection:
        rows = reads.list_runs(connection)
    return len(rows), sorted((home / "runs").glob("*")) if (home / "runs").exists() else []


def test_a_run_is_a_row_and_a_folder_with_its_configuration(home: Path, config: Config) -> None:
    run = look(
        runs.submit(
            config("My first (run)".replace("(", "").replace(")", "")), experiment="trial", preset="demo/detach"
        )
    )
    assert (run.status, run.experiment, run.preset, run.total_steps) == (Status.QUEUED, "trial", "demo/detach", 5)
    folder = Path(run.folder)
    assert folder.parent == home / "runs"
    assert folder.name.startswith(f"{run.id:05d}-my-first-run-")
    assert yaml.safe_load((folder / "config.yaml").read_text()) == run.config


def test_a_run_is_named_after_its_preset_until_its_method_is_changed(home: Path, config: Config) -> None:
    calibrated = {"regime": Occ(reference="own", clip=(0, 1)), "mtp": Mtp(head_loss="ce")}
    given = config("").model_copy(update=calibrated)
    kept = look(runs.submit(given, preset="demo/occ-calibrated"))
    assert (kept.name, kept.preset) == ("occ-calibrated-dapo-seed0", "demo/occ-calibrated")
    other = given.model_copy(update={"regime": Occ(), "mtp": Mtp()})
    changed = look(runs.submit(other, preset="demo/occ-calibrated"))
    assert (changed.name, changed.preset) == ("occ-dapo-seed0", None)


def test_a_refused_run_leaves_nothing_behind(home: Path, config: Config) -> None:
    with pytest.raises(ConfigError, match=r"data\.path"):
        runs.submit(config(data={"kind": "jsonl", "path": "/no/such/file.jsonl"}))
    assert everything(home) == (0, [])


def test_of_several_seeds_all_are_queued_or_none(home: Path, values: dict[str, Any]) -> None:
    ids = runs.submit_many(values, [3, 1], experiment="seeds")
    assert [(look(run_id).seed, look(run_id).name) for run_id in ids] == [(3, "finish-seed3"), (1, "finish-seed1")]
    with pytest.raises(ConfigError, match="seed"):
        runs.submit_many(values, [5, -1])
    with pytest.raises(ConfigError, match="each seed once"):
        runs.submit_many(values, [5, 5])
    count, folders = everything(home)
    assert (count, len(folders)) == (2, 2)


def test_a_failure_while_folders_are_made_leaves_nothing_behind(
    home: Path, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config, calls = runs.write_config, []

    def write_once(config: RunConfig, folder: Path) -> None:
        calls.append(config)
        if len(calls) == 2:
            raise OSError("no space left on device")
        write_config(config, folder)

    monkeypatch.setattr(runs, "write_config", write_once)
    with pytest.raises(OSError, match="no space"):
        runs.submit_many(values, [0, 1])
    assert everything(home) == (0, [])


def test_relative_paths_are_those_of_whoever_submits(
    home: Path, tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = look(runs.submit(config(model={"path": "model"}, data={"kind": "jsonl", "path": "problems.jsonl"})))
    assert run.config["model"]["path"] == str(tmp_path / "model")
    assert run.config["data"]["path"] == str(tmp_path / "problems.jsonl")


def test_a_queued_run_is_stopped_at_once(config: Config) -> None:
    run_id = runs.submit(config())
    assert runs.stop(run_id) == f"run {run_id} was still queued and is stopped"
    assert look(run_id).status == Status.STOPPED
    assert "has already ended" in runs.stop(run_id)


def test_stopping_a_run_that_does_not_exist_is_refused_in_words(home: Path) -> None:
    with pytest.raises(StoreError, match="99"):
        runs.stop(99)


def test_who_submits_is_told_what_is_missing(config: Config) -> None:
    runs.submit(config())
    assert runs.notice() == "no worker is alive, so the run waits; start one with `mtprl up`"
    with store.writing() as connection:
        workers.worker_heartbeat(connection, "w", "host", 1, ["cpu:0"], time.time())
    assert "a worker will find it by itself" in runs.notice()


def test_a_doorbell_that_cannot_be_rung_does_no_harm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("redis://127.0.0.1:1/0", "redis://127.0.0.1:1/0?socket_timeout=soon"):
        monkeypatch.setenv("MTPRL_REDIS_URL", address)
        assert not ring(1)


def test_waiting_for_a_run_that_nobody_will_end_is_given_up(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "ABANDONED", 0.0)
    run_id = runs.submit(config())
    with pytest.raises(StoreError, match="no worker and no supervisor is alive"):
        runs.wait_for([run_id], interval=0.01)
