"""The command line, as a user meets it: exit codes, sentences, JSON."""

import csv
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from backend_harness import look
from standin_supervisor import PROGRAM

from backend import runs, settings, stack, store
from backend.supervisor import supervise
from db.tables import runs as run_rows
from db.workers import worker_heartbeat
from trainer.config import RunConfig, dump, parse
from trainer.errors import StoreError
from trainer.presets import presets

Mtprl = Callable[..., tuple[int, str, str]]
Config = Callable[..., RunConfig]


@pytest.fixture
def file(tmp_path: Path, values: dict[str, Any]) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_help_answers_at_once_and_loads_nothing_heavy() -> None:
    code = "import sys, backend.cli; print([n for n in ('torch', 'streamlit', 'celery', 'sqlalchemy') if n in sys.modules])"
    begun = time.monotonic()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings.environment())
    assert answer.stdout == "[]\n"
    assert time.monotonic() - begun < 5  # a fraction of a second where nothing else is going on


def test_submit_with_overrides_and_seeds(mtprl: Mtprl, file: Path) -> None:
    code, out, err = mtprl("submit", str(file), "--set", "optimizer.lr=0.5", "--seeds", "0,1", "--experiment", "mine")
    assert (code, out) == (0, "run 1 (finish-seed0) is queued\nrun 2 (finish-seed1) is queued\n")
    assert "no worker is alive" in err
    assert look(2).config["optimizer"]["lr"] == 0.5
    assert look(2).experiment == "mine"


def test_submit_a_grid_says_what_is_queued_missing_and_left_out(mtprl: Mtprl, file: Path) -> None:
    asked = ("submit", str(file), "--regimes", "ce,occ", "--algorithms", "dapo,gspo", "--set", "update.mini_batches=1")
    code, out, err = mtprl(*asked)
    assert (code, out) == (1, "")
    assert "(in occ x gspo)" in err
    code, out, err = mtprl(*asked, "--skip-refused", "--seeds", "7", "--experiment", "grid")
    assert code == 0
    assert out == "run 1 (finish-ce-dapo-seed7) is queued\nrun 2 (finish-ce-gspo-seed7) is queued\n"
    assert "detach is not in the grid" in err
    assert "left out: occ x dapo: update.mini_batches" in err
    code, out, err = mtprl("clone", "1", "--regimes", "detach", "--lr-controls", "1.5", "--set", "optimizer.lr=0.2")
    assert (code, [look(run).config["optimizer"]["lr"] for run in (3, 4)]) == (0, [0.2, 0.3])
    assert (look(4).cloned_from, look(4).experiment, look(4).algorithm) == (1, "grid", "dapo")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["submit", "{file}", "--regimes", "magic"], 1, "regimes: 'magic' is unknown; choose among own, off"),
        (["submit", "{file}", "--lr-controls", "fast"], 1, "--lr-controls: 'fast' is refused"),
        (["submit", "{file}", "--set", "regime.kind=magic"], 1, "regime.kind: 'magic' is not known"),
        (["submit", "{file}", "--set", "regime.coefficient=-1", "--set", "regime.kind=ce"], 1, "regime.coefficient"),
        (["submit", "{file}", "--set", "update.mini_batches=3"], 1, "update.mini_batches: 3 does not divide"),
        (["submit", "{file}", "--set", "data.path=/no/file.jsonl"], 1, "data.path: /no/file.jsonl"),
        (["submit", "{file}", "--seeds", "one"], 1, "--seeds: 'one' is refused; give whole numbers from 0 on"),
        (["submit", "{file}", "--seeds", "-1"], 1, "--seeds: '-1' is refused"),
        (["submit", "{file}", "--seeds", "١,2"], 1, "--seeds: '١,2' is refused"),
        (["submit", "{file}", "--seeds", "9" * 5000], 1, "give whole numbers from 0 on"),
        (
            ["submit", "{file}", "--experiment", "caf\udce9"],
            1,
            r"experiment: 'caf\udce9' is not valid Unicode; write whole characters",
        ),
        (["show", "caf\udce9"], 1, r"'caf\udce9': this text holds bytes that are not UTF-8"),
        (["runs", "--experiment", "caf\udce9"], 1, r"'caf\udce9': this text holds bytes that are not UTF-8"),
        (["runs", "--limit", "99999999999999999999"], 2, "10000"),
        (["show", "٧"], 1, "run '٧' is refused; write its id with the digits 0 to 9"),
        (["submit", "nothing/like-this"], 1, "neither a file nor a preset"),
        (["submit", "absent.yaml"], 1, "absent.yaml: cannot be read"),
        (["show", "7"], 1, "'7' does not exist"),
        (["export", "7", "--format", "xml"], 2, "xml"),
        (["train", "{file}", "--output", "{home}", "--set", "steps=0"], 1, "steps"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_nothing_is_made(
    mtprl: Mtprl, home: Path, file: Path, arguments: list[str], code: int, words: str
) -> None:
    answer, out, err = mtprl(*(part.format(file=file, home=home) for part in arguments))
    assert (answer, out) == (code, "")
    assert words in err
    assert "Traceback" not in err
    assert not (home / "runs").exists()
    assert not (home / "config.yaml").exists()


def test_without_a_database_every_command_says_what_to_do(
    mtprl: Mtprl, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPRL_HOME", str(tmp_path / "empty"))
    for command in (["runs"], ["submit", str(file)], ["stop", "1"], ["leaderboard"], ["watch", "1"], ["logs", "1"]):
        code, _, err = mtprl(*command)
        assert (code, "run `mtprl up`" in err) == (1, True), command
    assert not (tmp_path / "empty").exists()


def test_a_database_that_does_not_answer_is_said_in_words(mtprl: Mtprl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTPRL_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    code, _, err = mtprl("runs")
    assert code == 1
    assert err.startswith("the database does not answer (")
    assert "Traceback" not in err


def test_a_finished_run_is_listed_shown_and_exported(mtprl: Mtprl, claimed: Callable[..., int], tmp_path: Path) -> None:
    run_id = claimed(steps=3)
    supervise(run_id, 1, program=PROGRAM)
    assert json.loads(mtprl("runs", "--json")[1])[0]["status"] == "finished"
    assert "finished" in mtprl("runs")[1]
    assert json.loads(mtprl("show", "finish", "--json")[1])["config"]["steps"] == 3
    assert "3 of 3" in mtprl("show", str(run_id))[1]
    assert mtprl("logs", str(run_id))[0] == 0
    code, out, _ = mtprl("watch", str(run_id))
    assert (code, out.splitlines()[-1]) == (0, f"run {run_id} finished")
    rows = list(csv.DictReader(io.StringIO(mtprl("export", str(run_id))[1])))
    assert list(rows[0]) == ["run", "attempt", "metric", "step", "mini_batch", "value", "time"]
    assert [row["value"] for row in rows if row["metric"] == "reward/mean"] == ["0.1", "0.2", "0.3"]
    target = tmp_path / "values.jsonl"
    mtprl("export", str(run_id), "--format", "jsonl", "--output", str(target))
    assert len(target.read_text().splitlines()) == len(rows)
    assert "no finished run with an evaluation" in mtprl("leaderboard")[1]
    assert mtprl("stop", str(run_id))[1] == f"run {run_id} has already ended (finished)\n"


def test_the_exit_code_of_watch_tells_a_failure(mtprl: Mtprl, claimed: Callable[..., int]) -> None:
    run_id = claimed("fail")
    supervise(run_id, 1, program=PROGRAM)
    code, out, _ = mtprl("watch", str(run_id))
    assert code == 1
    assert "the loss is not finite at step 2" in out


def test_a_preset_is_printed_as_the_file_that_it_stands_for(mtprl: Mtprl) -> None:
    code, text, _ = mtprl("presets", "demo/ce")
    assert code == 0
    assert parse(yaml.safe_load(text)) == parse(presets()["demo/ce"].values)
    assert "coefficient: 1.0" in text
    code, _, error = mtprl("presets", "demo/nope")
    assert code == 1
    assert "'demo/nope' is no preset; give RECIPE/REGIME with a recipe of demo, " in error


def test_presets_are_listed(mtprl: Mtprl) -> None:
    names = [preset["name"] for preset in json.loads(mtprl("presets", "--json")[1])]
    assert {"demo/detach", "demo/ce", "demo/policy", "demo/occ-calibrated"} <= set(names)
    lines = mtprl("presets")[1].splitlines()
    listed = {line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")}
    assert {f"{recipe}/{regime}" for recipe in listed for regime in listed} >= set(names)


def test_train_refuses_the_folder_of_another_run(mtprl: Mtprl, file: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    other = parse({**yaml.safe_load(file.read_text()), "seed": 7})
    (tmp_path / "out" / "config.yaml").write_text(dump(other))
    code, _, err = mtprl("train", str(file), "--output", str(tmp_path / "out"))
    assert code == 1
    assert "a run goes on with what it began with" in err


def test_train_becomes_the_trainer_of_these_packages(
    mtprl: Mtprl, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    def execve(program: str, arguments: list[str], environment: dict[str, str]) -> None:
        called.append(arguments)
        raise SystemExit(0)

    monkeypatch.setattr(os, "execve", execve)
    assert mtprl("train", str(file), "--output", str(tmp_path / "out"))[0] == 0
    config = str(tmp_path / "out" / "config.yaml")
    assert called == [[sys.executable, "-P", "-m", "trainer", config, "--output", str(tmp_path / "out")]]
    assert Path(config).exists()


def test_a_port_in_use_is_refused_before_anything_starts(mtprl: Mtprl, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = mtprl("up", "--port", str(port))
    assert (code, out) == (1, "")
    assert (
        err
        == f"port {port} is in use by another program; give the dashboard another one, or none to take the next free one\n"
    )
    assert not (home / "stack.json").exists()


def test_a_redis_that_was_named_and_does_not_answer_is_not_replaced(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTPRL_REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(StoreError, match="MTPRL_REDIS_URL"):
        stack.up(lambda _: None)
    assert settings.read_stack(settings.settings()) == {}


def test_waiting_ends_with_the_run(claimed: Callable[..., int]) -> None:
    run_id = claimed(steps=3)
    supervise(run_id, 1, program=PROGRAM)
    seen: list[int] = []
    [row] = runs.wait_for([run_id], lambda rows: seen.append(rows[0].step))
    assert (row.id, seen) == (run_id, [3])


def test_resume_clone_drain_and_the_reason_why_a_run_waits(mtprl: Mtprl, file: Path) -> None:
    mtprl("submit", str(file), "--set", "launch.priority=2")
    assert mtprl("stop", "1")[0] == 0
    code, out, err = mtprl("resume", "1", "--steps", "8", "--set", "launch.max_hours=3")
    assert (code, out) == (0, "run 1 is queued again: it starts anew, to step 8\n")
    assert "no worker is alive" in err
    assert mtprl("resume", "1")[::2] == (1, "run 1 waits in the queue already; it need not be resumed\n")
    code, out, _ = mtprl("clone", "1", "--set", "optimizer.lr=0.5", "--seeds", "0,1")
    assert (code, out) == (0, "run 2 (finish-clone-seed0) is queued\nrun 3 (finish-clone-seed1) is queued\n")
    with store.writing() as connection:
        worker_heartbeat(connection, "w", socket.gethostname(), 1, ["cpu:0"], time.time())
    assert "run 1, seed: 0 → 1; optimizer.lr: 1e-06 → 0.5" in " ".join(mtprl("show", "3")[1].split())
    waits = {run["id"]: run["waits"] for run in json.loads(mtprl("runs", "--json")[1])}
    reason = "resumed by the user; steps: 5 → 8; launch.max_hours: not set → 3.0"
    assert waits[1] == f"place 1 in the queue; next on {socket.gethostname()} ({reason})"
    assert waits[3] == "place 3 in the queue"
    assert waits[2] == f"place 2 in the queue; waits for a device, 0 of 1 free on {socket.gethostname()}"
    assert mtprl("drain")[1] == "w takes no new run; those that it has go on\n"
    assert json.loads(mtprl("workers", "--json")[1])[0]["draining"]
    assert "every worker is drained" in mtprl("runs")[1]
    assert mtprl("undrain", "w")[1] == "w takes runs again\n"
    assert "there is no worker 'v'" in mtprl("drain", "v")[2]
    assert [run["id"] for run in json.loads(mtprl("runs", "--text", "CLONE-seed1", "--json")[1])] == [3]
    assert "give one of queued, starting" in mtprl("runs", "--status", "waiting")[2]
    assert mtprl("stop", "1", "2", "3")[1].count("was still queued and is stopped") == 3


def test_more_devices_than_any_worker_has_are_told_at_once(mtprl: Mtprl, config: Config) -> None:
    with store.writing() as connection:
        worker_heartbeat(connection, "w", "here", 1, ["cpu:0"], time.time())
    run_id = runs.submit(config())
    with store.writing() as connection:
        values = {**look(run_id).config, "launch": {"num_processes": 2}}
        connection.execute(run_rows.update().values(config=values, devices=2))
    assert runs.notice([run_id]).startswith(
        "the run asks for 2 devices (launch.num_processes) and no worker has more than 1"
    )
    assert "waits for 2 devices; no worker has more than 1" in mtprl("runs")[1]


def test_contamination_is_listed_and_said_when_a_run_is_queued(
    mtprl: Mtprl, file: Path, values: dict[str, Any]
) -> None:
    data = values["data"]["path"]
    held_out = f"evaluation.benchmarks=[{{name: held-out, data: {{kind: jsonl, path: {data}}}}}]"
    code, out, err = mtprl("contamination", str(file), "--set", held_out, "--json")
    [own, *_] = json.loads(out)["benchmarks"]
    assert (code, own["benchmark"], own["exact"]) == (0, "held-out", own["problems"])
    assert own["matches"][0]["place"] == "line 1"
    code, out, err = mtprl("contamination", str(file), "--set", held_out, "--suite", data)
    assert (code, err) == (0, "")
    assert "word for word" in out
    assert "line 1 (word for word)" in out
    code, out, _ = mtprl("contamination", data, "--suite", data, "--json")
    assert (code, json.loads(out)["benchmarks"][0]["exact"]) == (0, own["problems"])
    alone = file.with_name("alone.yaml")
    alone.write_text(f"data: {{kind: jsonl, path: {data}}}\nmodel: {{path: nowhere}}\n")
    assert mtprl("contamination", str(alone), "--suite", data)[0] == 0
    assert "'absent' is no registered data set" in mtprl("contamination", "absent")[2]
    assert "regime" not in mtprl("contamination", str(alone), "--set", "data.kind=magic")[2]
    code, out, err = mtprl("submit", str(file), "--set", held_out)
    assert code == 0
    assert f"the training data holds problems to evaluate on: all {own['problems']} of held-out, word for word" in err
