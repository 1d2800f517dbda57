"""What docs/clients.md shows works as it stands there; and the reads that it describes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from pages import in_store

from backend import cli, client
from db import reads
from trainer.errors import StoreError

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "clients.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_the_notebook_of_the_document_runs_without_torch_and_streamlit(full_store):
    program = "\n".join([*blocks("python"), "import sys", "print(sorted({'torch', 'streamlit'} & set(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(blocks("python")) >= 4
    assert done.stdout.splitlines()[-1] == "[]"
    assert "addition" in done.stdout


def test_the_commands_of_the_document_work(full_store, tmp_path, monkeypatch, capsys):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install tensorboard")
    import shlex

    monkeypatch.chdir(tmp_path)
    commands = [line for block in blocks("shell") for line in block.splitlines()]
    assert len(commands) > 10
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, (command, capsys.readouterr().err)
    assert (tmp_path / "tb" / "demo").is_dir()


def export(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["mtprl", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


def test_several_runs_are_exported_in_every_format_with_the_same_values(full_store, tmp_path, monkeypatch, capsys):
    a, b = full_store.runs["occ"], full_store.runs["detach"]
    rows = [list(in_store(lambda connection, run=run: list(reads.export_rows(connection, run)))) for run in (a, b)]
    expected = [tuple(row) for each in rows for row in each]
    export(monkeypatch, str(a), str(b), "--format", "parquet", "--output", str(tmp_path / "x.parquet"))
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == expected
    export(monkeypatch, str(a), str(b), "--format", "jsonl", "--output", str(tmp_path / "x.jsonl"))
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    assert [tuple(json.loads(line).values()) for line in lines] == expected
    capsys.readouterr()
    export(monkeypatch, str(a), str(b))
    assert len(capsys.readouterr().out.splitlines()) == len(expected) + 1


def test_parquet_wants_a_file(full_store, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mtprl", "export", "1", "--format", "parquet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert "name a file, such as --output runs.parquet" in capsys.readouterr().err


def test_the_clients_numbers_are_those_of_the_store(full_store):
    run = full_store.runs["occ"]
    assert client.run(run) == in_store(reads.get_run, run)
    assert client.run("detach-dapo-seed0").id == full_store.runs["detach"]
    assert [row.id for row in client.runs(regime="detach")] == [full_store.runs["detach"]]
    whole = client.metrics(run, ["reward/mean"])
    points = in_store(lambda connection: reads.series(connection, [run], ["reward/mean"]))[run, "reward/mean"]
    np.testing.assert_array_equal(whole["value"], points.values)
    np.testing.assert_array_equal(whole["step"], points.steps)
    assert set(client.metrics(run)["metric"]) <= set(client.metric_names(run))
    fine = client.metrics(run, ["mtp/c_hat"], mini_batches=True)
    assert set(fine["mini_batch"]) == set(range(fine["mini_batch"].max() + 1))
    thin = client.metrics([run, full_store.runs["off"]], max_points=5)
    assert thin.groupby(["run", "metric"]).size().max() <= 5
    assert set(thin["run"]) == {run, full_store.runs["off"]}
    table = client.evaluations(run)
    rows = in_store(reads.evaluations, [run])
    assert list(table["accuracy"]) == [
        pytest.approx(np.mean([int(bit) for item in row.items.values() for bit in item])) for row in rows
    ]
    last = client.results(run).by_benchmark[-1]
    assert last.average.value == pytest.approx(table["accuracy"].iloc[-1])
    assert len(client.completions(run, 10)) == len(in_store(reads.completions_at, run, 10))
    for name, words in (("occ-dapo-seed0", "2 runs are named"), ("nobody", "run 'nobody' does not exist")):
        with pytest.raises(StoreError, match=words):
            client.run(name)


def test_what_is_not_there_is_an_empty_table_or_said_in_words(full_store, no_store, monkeypatch):
    with pytest.raises(StoreError, match="run `mtprl migrate`"):
        client.runs()
    monkeypatch.setenv("MTPRL_HOME", str(full_store.home))
    queued = full_store.runs["queued"]
    for table in (client.metrics(queued), client.completions(queued), client.evaluations(queued)):
        assert len(table) == 0
        assert len(table.columns) >= 5
