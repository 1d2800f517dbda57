"""Registered names: what they stand for in a run, and what may have one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backend_harness import look
from tiny_checkpoints import write_tiny

from backend import registry, runs, store
from backend.cli.common import read_config
from db.registry import Registered, find
from trainer.config import RunConfig, dump, parse
from trainer.errors import ConfigError, StoreError

Config = Callable[..., RunConfig]
Mtprl = Callable[..., tuple[int, str, str]]


def users(kind: Registered, name: str) -> list[int]:
    with store.reading() as connection:
        entry = find(connection, kind, name)
        assert entry is not None
        return [run_id for run_id, _ in registry.used_by(connection, entry).newest]


def test_a_runs_configuration_holds_what_the_names_stood_for(
    home: Path, values: dict[str, Any], tmp_path: Path
) -> None:
    registry.add_model("small", values["model"]["path"])
    registry.add_data("sums", {**values["data"], "template": "Q: {problem}"})
    asked = {**values, "model": {"path": "small", "mtp_depths": 2}, "data": "sums"}
    asked["evaluation"] = {"benchmarks": [{"name": "held-out", "data": "sums"}]}
    run = look(runs.submit(parse(registry.resolved(asked))))
    assert run.config["model"]["path"] == values["model"]["path"]
    assert run.config["model"]["mtp_depths"] == 2
    assert run.config["data"]["template"] == "Q: {problem}"
    assert run.config["evaluation"]["benchmarks"][0]["data"] == run.config["data"]
    assert (users(Registered.MODEL, "small"), users(Registered.DATA, "sums")) == ([run.id], [run.id])


def test_a_folder_and_a_hub_name_stay_as_they_are_and_an_unknown_name_is_refused(
    home: Path, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_model("model", str(tmp_path / "model"))
    monkeypatch.chdir(tmp_path)  # where a folder has the name
    for path in ("model", "Qwen/Qwen3-0.6B", "./absent"):
        assert registry.resolved({"model": {"path": path}}) == {"model": {"path": path}}
    with pytest.raises(
        ConfigError, match=r"model\.path: 'nothing' is no registered model \(`mtprl models` lists them\); give"
    ):
        registry.resolved({"model": {"path": "nothing"}})
    with pytest.raises(ConfigError, match="data: 'nothing' is no registered data set"):
        registry.resolved({"data": "nothing"})


def test_an_unknown_name_lists_the_near_ones(home: Path, values: dict[str, Any]) -> None:
    for name in ("addition-base", "Qwen-small", "other"):
        registry.add_model(name, values["model"]["path"])
    with pytest.raises(ConfigError, match=r"'aditon-base' is no registered model; near to it: addition-base \("):
        registry.resolved({"model": {"path": "aditon-base"}})
    with pytest.raises(ConfigError, match=r"'qwen' is no registered model; near to it: Qwen-small \("):
        registry.model_path("qwen")
    assert registry.model_path("other") == values["model"]["path"]


def test_what_is_no_model_or_no_data_gets_no_name(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"path: .* does not exist"):
        registry.add_model("a", str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"data: .*cannot be read"):
        registry.add_data("a", {"kind": "jsonl", "path": str(tmp_path / "absent.jsonl")})
    with pytest.raises(ConfigError, match=r"data\.kind"):
        registry.add_data("a", {"kind": "magic"})
    with pytest.raises(StoreError, match="run '7' does not exist"):
        registry.add_checkpoint("a", 7)


def test_a_checkpoint_of_a_run_is_registered_as_a_model(config: Config) -> None:
    run = look(runs.submit(config()))
    for step in (2, 4):
        (Path(run.folder) / "checkpoints" / f"step-{step:06d}" / "model").mkdir(parents=True)
    entry = registry.add_checkpoint("trained", run.id)
    assert entry.content["path"] == f"{run.folder}/checkpoints/step-000004/model"
    assert entry.note == f"run {run.id} after step 4"
    assert registry.add_checkpoint("earlier", run.id, 2, "before").note == "before"
    with pytest.raises(StoreError, match="has no checkpoint of step 3"):
        registry.add_checkpoint("third", run.id, 3)


def test_a_checkpoint_is_exported_by_its_runs_number_or_name_and_its_step(
    config: Config, mtprl: Mtprl, tmp_path: Path
) -> None:
    run = look(runs.submit(config()))
    for step, depths in ((2, 1), (4, 2)):
        write_tiny("mimo", Path(run.folder) / "checkpoints" / f"step-{step:06d}" / "model", depths=depths)
    for called, step, depths in ((str(run.id), (), "2 MTP depths"), (run.name, ("--step", "2"), "1 MTP depth ")):
        code, out, said = mtprl("models", "export", called, str(tmp_path / called), *step)
        assert code == 0, said
        assert depths in out
        assert (tmp_path / called / "model.safetensors").is_file()
    code, _, said = mtprl("models", "export", str(run.id), str(tmp_path / "no"), "--step", "3")
    assert code == 1
    assert "has no checkpoint of step 3; choose one of 2, 4" in said
    assert mtprl("models", "export", "nothing", str(tmp_path / "no"))[0] == 1


def test_a_configuration_file_may_name_them(home: Path, config: Config, tmp_path: Path) -> None:
    registry.add_data("sums", config().model_dump(mode="json")["data"])
    registry.add_model("small", config().model.path)
    (tmp_path / "run.yaml").write_text(dump(config()))
    values, _ = read_config(str(tmp_path / "run.yaml"), ["data=sums", "model.path=small"])
    assert values["data"]["path"].endswith("problems.jsonl")
    assert values["model"]["path"] == config().model.path


def test_from_the_shell(mtprl: Mtprl, values: dict[str, Any]) -> None:
    assert "no model has a name yet" in mtprl("models")[1]
    code, out, _ = mtprl("models", "add", "small", values["model"]["path"], "--note", "tiny")
    assert (code, out) == (0, f"model small is {values['model']['path']}\n")
    assert mtprl("models", "add", "small", values["model"]["path"])[::2] == (
        1,
        "model 'small' is there already; take another name, or remove that one first\n",
    )
    assert "tiny" in mtprl("models")[1]
    assert "none: a run starts new ones" in mtprl("models", "show", "small")[1]
    assert mtprl("data", "add", "sums", values["data"]["path"], "--set", "template=Q {problem}")[0] == 0
    assert "integer 4" in mtprl("data", "show", "sums")[1]
    assert '"template": "Q {problem}"' in mtprl("data", "--json")[1]
    assert mtprl("data", "rm", "sums")[1] == "data sums has its name no more\n"
    assert mtprl("data", "show", "sums")[0] == 1
    assert "give either a folder or hub name, or --run RUN" in mtprl("models", "add", "x")[2]


def test_a_plan_says_what_a_run_needs_and_refuses_what_could_not_work(
    mtprl: Mtprl, values: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump(parse(values)))
    code, out, _ = mtprl("plan", str(path))
    assert code == 0
    assert "4 problems read" in out
    code, out, _ = mtprl("plan", str(path), "--set", "data.path=absent.jsonl", "--json")
    assert code == 1
    assert '"level": "bad"' in out
