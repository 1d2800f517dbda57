"""The commands of a report, given to the command line: the same configurations again."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic

from backend import cli, store
from backend.report import Report
from backend.report.document import Code, Text
from backend.report.gathered import gather
from backend.report.methods import methods_of
from backend.report.origins import content, first_attempt
from backend.report.repeat import evaluation_command, is_queued_by_training, repeated_by, training_commands
from backend.report.sections.closing import repeat
from db import reads
from db.reads import RunDetail
from db.statuses import Kind
from trainer.config import EvaluationConfig, parse

Made = Callable[[str], Report]
Mtprl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mtprl(filled, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mtprl:
    """Run the command line in this process: (exit code, output, errors)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mtprl", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def runs_of(experiment: str) -> list[RunDetail]:
    with store.reading() as connection:
        return [reads.get_run(connection, row.id) for row in reads.list_runs(connection, experiment=experiment)]


def configs(runs: list[RunDetail]) -> list[dict[str, Any]]:
    return sorted((parse(run.config).model_dump(mode="json") for run in runs), key=repr)


def submit_all(text: str, mtprl: Mtprl, folder: Path) -> None:
    """What a shell would do with the block."""
    for name, _, body in re.findall(r"^cat > (\S+) <<'(\S+)'\n(.*?)^\2$", text, re.S | re.M):
        (folder / name).write_text(body)
    for line in text.splitlines():
        if line.startswith("mtprl "):
            code, _, errors = mtprl(*shlex.split(line)[1:])
            assert code == 0, errors


def test_the_commands_queue_the_same_configurations_again(made: Made, mtprl: Mtprl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = [block for part in made("demo").sections if part.title == "Repeat it" for block in part.blocks]
    [code] = [block for block in blocks if isinstance(block, Code)]
    assert code.text.count("mtprl submit demo/occ --set") == 1
    assert "--seeds 0,1,2 --experiment demo-again" in code.text
    submit_all(code.text, mtprl, tmp_path)
    assert configs(runs_of("demo-again")) == configs(runs_of("demo"))


def test_without_its_preset_a_method_is_a_file_and_names_are_kept(filled, mtprl: Mtprl, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with store.writing() as connection:
        for seed, name in ((0, "mine-seed0"), (1, "mine-seed1"), (2, "of its own"), (3, "")):
            synthetic.add_run(
                connection,
                filled.home,
                "demo/occ",
                seed=seed,
                status=synthetic.Status.QUEUED,
                now=time.time(),
                experiment="named",
                changes={"name": name or "''", "optimizer.lr": 3e-4, "regime": "{kind: occ, clip: [0, 2]}"},
            )
    runs = [run.__class__(**{**_fields(run), "preset": None}) for run in runs_of("named")]
    commands = list(training_commands(runs, "named"))
    assert len(commands) == 3  # two runs share a command
    for command in commands:
        submit_all(command, mtprl, tmp_path)
    assert configs(runs_of("named-again")) == configs(runs_of("named"))


def test_an_evaluation_is_repeated_with_its_settings(filled, mtprl: Mtprl, tmp_path, monkeypatch):
    """Of a model, whose folder is at hand; that of a checkpoint needs the checkpoint."""
    monkeypatch.chdir(tmp_path)
    model = filled.home / "models" / "addition"
    asked = [
        "--suite",
        "demo",
        "--samples",
        "3",
        "--temperature",
        "0.5",
        "--top-p",
        "0.9",
        "--max-tokens",
        "20",
        "--plain",
    ]
    more = ["--set", "seed=7", "--set", "sequences=16", "--set", "launch.priority=2", "--experiment", "asked"]
    code, _, errors = mtprl("evaluate", str(model), *asked, *more)
    assert code == 0, errors
    [job] = runs_of("asked")
    command = evaluation_command(job, None)
    assert command is not None
    code, _, errors = mtprl(*shlex.split(command)[1:])
    assert code == 0, errors
    [first], [again] = runs_of("asked"), runs_of("asked-again")
    assert again.config == first.config
    assert EvaluationConfig.model_validate(again.config).seed == 7


def test_the_command_for_a_checkpoint_names_run_and_step(filled):
    with store.writing() as connection:
        rows = reads.list_runs(connection, experiment="single")
        of = reads.get_run(connection, rows[0].id)
    benchmarks = of.config["evaluation"]["benchmarks"]
    values = {"kind": "evaluation", "model": {"path": "m"}, "suite": "demo", "benchmarks": benchmarks, "samples": 4}
    job = RunDetail(**{**_fields(of), "config": values, "evaluates": of.id, "evaluates_step": 12})
    command = evaluation_command(job, of)
    assert command is not None
    assert command.startswith(f"mtprl evaluate {of.id} --suite demo --samples 4 --step 12 ")


def test_configurations_that_are_refused_today_are_named_and_not_repeated(filled):
    [run] = runs_of("single")
    old = RunDetail(**{**_fields(run), "config": {**run.config, "regime": {"kind": "gone"}}})
    assert list(training_commands([old], "single")) == []
    assert [method.name for method in methods_of([old])] == ["occ-calibrated"]


def test_what_a_run_said_of_itself_is_read_from_its_folder(tmp_path):
    line = (
        '{"type": "attempt_started", "device": "cpu", "processes": 2, "threads": 3, "versions": {"python": "3.11"}}\n'
    )
    (tmp_path / "events.jsonl").write_text(line)
    found = first_attempt(str(tmp_path))
    assert found is not None
    assert (found.device, found.processes, found.threads, found.versions) == ("cpu", 2, 3, {"python": "3.11"})
    (tmp_path / "events.jsonl").write_text("torn")
    assert first_attempt(str(tmp_path)) is None
    assert first_attempt(str(tmp_path / "gone")) is None


def test_the_hash_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "data").write_bytes(b"abc")
    found = content(str(tmp_path / "data"))
    assert found is not None
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content(str(tmp_path / "gone")) is None


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ((), ["report-single.html", "report-single.md"]),
        (("--format", "markdown"), ["report-single.md"]),
        (("--output", "new/mine.html"), ["new/mine.html"]),
        (("--output", "folder"), ["folder/report-single.html", "folder/report-single.md"]),
    ],
)
def test_the_command_writes_files_and_prints_their_paths(mtprl: Mtprl, tmp_path, monkeypatch, arguments, written):
    monkeypatch.chdir(tmp_path)
    code, output, errors = mtprl("report", "single", *arguments)
    assert code == 0, errors
    assert output.split() == written
    assert all((tmp_path / name).stat().st_size > 1000 for name in written)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing",), "experiment 'nothing' does not exist; those that do: "),
        (("single", "--format", "pdf"), "--format: 'pdf' is not known; give html, markdown, or html,markdown"),
        (("single", "--output", "a.pdf"), "--output: 'a.pdf' ends in neither .html nor .md"),
        (("single", "--output", "a.md", "--format", "html"), "--format: html does not fit the file a.md"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(mtprl: Mtprl, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, errors = mtprl("report", *arguments)
    assert code == 1
    assert said in errors
    assert not list(tmp_path.glob("*.html"))


def commands_of(report: Report, title: str) -> str:
    """The block of commands of that title; empty where there is none."""
    blocks = [block for part in report.sections if part.title == "Repeat it" for block in part.blocks]
    return next((block.text for block in blocks if isinstance(block, Code) and block.title == title), "")


def a_job(of: RunDetail, **more: Any) -> RunDetail:
    values = {
        "kind": "evaluation",
        "model": {"path": "m"},
        "suite": "demo",
        "benchmarks": of.config["evaluation"]["benchmarks"],
        "samples": 4,
        "temperature": of.config["evaluation"]["temperature"],
        "top_p": of.config["evaluation"]["top_p"],
        "max_response_tokens": 12,
        **more.pop("config", {}),
    }
    fields = {"id": of.id + 100, "kind": Kind.EVALUATION, "status": synthetic.Status.FINISHED, "evaluates": of.id}
    return RunDetail(**{**_fields(of), **fields, "evaluates_step": of.total_steps, "config": values, **more})


def test_evaluations_are_repeated_of_the_new_runs_once_and_only_where_they_finished(connection, filled):
    found = gather(connection, "single", 0.0, lambda what: None)
    [of] = found.runs
    stopped = a_job(of, id=of.id + 102, status=synthetic.Status.STOPPED, config={"samples": 9})
    report = Report("r", sections=[repeat(replace(found, jobs=[a_job(of), a_job(of, id=of.id + 101), stopped]))])
    comment, *lines = commands_of(report, "Evaluation").splitlines()
    assert comment.startswith("# The numbers to give are those of the new runs")
    assert comment.endswith("mtprl runs --experiment single-again")
    [line] = lines
    assert line.startswith(f"mtprl evaluate NEW-RUN-OF-{of.id} --suite demo --samples 4 --step {of.total_steps} ")
    assert "--experiment single-again" in line
    said = [block.text for block in report.sections[0].blocks if isinstance(block, Text)]
    assert any("`mtprl runs --experiment single-again`" in text for text in said)


@pytest.mark.parametrize(
    ("config", "queued"),
    [({}, True), ({"samples": 5}, False), ({"suite": "six"}, False), ({"temperature": 0.5}, False)],
)
def test_what_a_training_evaluates_by_itself_is_not_listed_once_more(connection, filled, config, queued):
    found = gather(connection, "single", 0.0, lambda what: None)
    [run] = found.runs
    evaluation = {**run.config["evaluation"], "afterwards": {"suite": "demo", "samples": 4}}
    of = replace(run, config={**run.config, "evaluation": evaluation})
    job = a_job(of, config=config)
    assert is_queued_by_training(job, of) == queued
    assert not is_queued_by_training(a_job(of, evaluates_step=1), of)
    report = Report("r", sections=[repeat(replace(found, groups=methods_of([of]), jobs=[job]))])
    assert ("NEW-RUN-OF" in commands_of(report, "Evaluation")) != queued


def test_runs_that_never_started_a_step_are_not_repeated(made: Made):
    [part] = [part for part in made("queued").sections if part.title == "Repeat it"]
    assert [block.text for block in part.blocks if isinstance(block, Text)] == [
        "There is nothing to repeat: nothing has been trained or evaluated yet."
    ]


def test_a_configuration_that_was_trained_twice_is_queued_once(connection, filled):
    [run] = runs_of("single")
    twice = replace(run, id=run.id + 1, preset=None, config={**run.config, "name": "of its own"})
    [command] = training_commands([run, twice], "single")
    assert command.startswith(f"# run {twice.id}\n")
    assert repeated_by([run, twice])[run.id] == twice


def _fields(run: RunDetail) -> dict[str, Any]:
    return {name: getattr(run, name) for name in RunDetail.__dataclass_fields__}
