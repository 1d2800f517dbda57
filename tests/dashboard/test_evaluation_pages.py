"""Evaluations on the pages: results, every answer, and the button that queues one; through Streamlit's own test driver."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import synthetic
from pages import charts, html, in_store, texts
from test_page_actions import toasts

from backend import client, evaluations, results, show, store
from db import claims, ingest, reads
from db.statuses import Kind, Status
from trainer.events import MemorySink

TERMS = {"samples": 2, "temperature": 1.0, "top_p": 0.7, "max_tokens": 48, "grader": "7", "adds": True}


def sample(number: int, right: bool) -> dict:
    text = f"<i>thus</i> Answer:{number if right else number + 1}"
    reason = f"{'equal' if right else 'not equal'} to {number}"
    return {"completion": text, "tokens": 9, "truncated": not right, "extracted": text[-1], "reason": reason}


def checkpoint(full_store, name: str) -> int:
    """Give a run a checkpoint of its step 12."""
    run = in_store(reads.get_run, full_store.runs[name])
    folder = Path(run.folder) / "checkpoints" / "step-000012"
    folder.mkdir(parents=True, exist_ok=True)  # all copies of the store name the same run folders
    shutil.copytree(full_store.home / "models" / "addition", folder / "model", dirs_exist_ok=True)
    return run.id


@pytest.fixture
def job(full_store) -> int:
    """An evaluation of the occ run that has answered 3 of 5 problems of two benchmarks."""
    run = in_store(reads.get_run, checkpoint(full_store, "occ"))
    files = []
    for name, count in (("first", 3), ("second", 2)):
        files.append(full_store.home / f"{name}.jsonl")
        files[-1].write_text("".join(f'{{"problem": "{name} {n}", "answer": "{n}"}}\n' for n in range(1, count + 1)))
    prepared = evaluations.prepare(evaluations.checkpoint(run), ",".join(map(str, files)), {"samples": 2})
    job = evaluations.queue(prepared)
    with store.writing() as connection:
        connection.exec_driver_sql("UPDATE runs SET status = 'finished' WHERE status = 'queued' AND kind = 'training'")
        assert claims.claim_next(connection, host="here", devices=["cpu:77"], now=time.time()).run_id == job
        claims.heartbeat(connection, job, 1, time.time() + 1e6)
        sink = MemorySink()
        fields = {"pid": 1, "host": "here", "threads": 1, "device": "cpu", "versions": {}}
        sink.emit("attempt_started", step=0, total_steps=5, resumed_from=None, **fields)
        for done, (benchmark, n, marks) in enumerate(
            [("first", 1, (1, 1)), ("first", 2, (1, 0)), ("second", 1, (0, 0))], start=1
        ):
            item = {"id": str(n), "outcomes": list(marks), "problem": f"{benchmark} {n}", "answer": str(n)}
            item["samples"] = [sample(n, bool(mark)) for mark in marks]
            sink.emit("evaluation", step=0, benchmark=benchmark, revision=f"of-{benchmark}", **TERMS, items=[item])
            sink.emit("metrics", step=done, values={f"eval/{benchmark}/avg_at_2": 0.5, "time/step_seconds": 1.0})
        ingest.ingest(connection, job, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
    return job


def test_an_evaluation_shows_what_it_is_of_how_far_it_is_and_what_came_out(job, full_store, open_page):
    app = open_page("run", run=str(job))
    shown = html(app)
    assert not app.exception
    assert f'evaluates <a href="run?run={full_store.runs["occ"]}"' in shown
    assert "after step 12" in shown
    assert "3 / 5" in shown
    assert "Time per problem" in shown
    assert [title.partition("<")[0] for title in charts(app)] == ["avg@2 with 95 % interval"]
    rows = [row.split("<td") for row in shown.split("<tr>") if "of-first" in row or "of-second" in row]
    assert len(rows) == 2
    assert "75.0 %" in rows[0][3]
    assert "100.0 %" in rows[0][5]  # pass@2
    assert "0.0 %" in rows[1][3]
    assert "<b>37.5 %</b>" in shown  # the mean of both
    assert "grader 7" in texts(app)
    assert [tab.label for tab in app.tabs][:2] == ["Results", "Answers"]


def test_an_evaluation_that_was_stopped_is_marked_as_partial_on_the_page_in_the_shell_and_in_tables(job, open_page):
    assert "Partial: 3 of 5 problems are answered so far." in texts(open_page("run", run=str(job)))
    with store.writing() as connection:
        claims.finish(connection, run_id=job, attempt=1, status=Status.STOPPED, reason="", exit_code=0, now=time.time())
    assert "It ended before the others" in texts(open_page("run", run=str(job)))
    found = in_store(results.results, job)
    assert show.results_json(found)["partial"] == "3 of 5 problems"
    console = show.console()
    with console.capture() as printed:
        console.print(show.results_table(found))
    assert "partial: 3 of 5 problems are answered" in printed.get()
    assert set(client.evaluations(job)["partial"]) == {"3 of 5 problems"}
    whole = found.by_benchmark[0].evaluation
    run = in_store(reads.get_run, job)
    assert results.partial(replace(run, total_steps=2), [whole]) == ""


def test_one_sample_per_problem_has_neither_pass_nor_maj(empty_store, open_page):
    synthetic.make_base(empty_store)
    with store.writing() as connection:
        subject = synthetic.add_run(connection, empty_store, "demo/detach", seed=0, steps=12, now=time.time())
        one = synthetic.add_evaluation(connection, subject, {"doubles": [1.0] * 3}, now=time.time(), samples=1)
    shown = html(open_page("run", run=str(one)))
    [cells] = [row.split("<td") for row in shown.split("<tr>") if "0123456789ab" in row]
    assert "100.0 %" in cells[3]
    assert [re.sub(r".*>([^<]*)</td>", r"\1", cell) for cell in cells[5:7]] == ["–", "–"]


def test_every_answer_is_shown_as_written_with_its_grade_and_can_be_linked(job, open_page):
    app = open_page("run", run=str(job), tab="Answers", benchmark="first", which="sometimes right")
    assert app.selectbox(key="item").options == ["2 · 1 of 2 right"]
    shown = html(app)
    assert "first 2" in shown
    assert "&lt;i&gt;thus&lt;/i&gt; Answer:2" in shown
    assert "not equal to 2" in shown
    assert "truncated" in shown
    app.selectbox(key="which").set_value("always right").run()
    assert app.selectbox(key="item").options == ["1 · 2 of 2 right"]
    app.selectbox(key="benchmark").set_value("second").run()
    assert "No problem of this kind" in texts(app)
    assert not app.exception


def test_a_run_lists_the_evaluations_of_its_checkpoints(job, full_store, open_page):
    app = open_page("run", run=str(full_store.runs["occ"]), tab="Evaluation")
    assert f'href="run?run={job}"' in html(app)
    assert "addition" in html(app)  # its own last evaluation
    app = open_page("run", run=str(full_store.runs["occ"]), tab="Answers")
    assert "The texts were not kept" in texts(app)


def test_a_checkpoint_is_evaluated_from_the_page_of_its_run(full_store, open_page):
    run = checkpoint(full_store, "occ")
    app = open_page("run", run=str(run))
    app.session_state["evaluate"] = True
    app.run()
    assert app.selectbox(key="evaluate:suite").value == "demo"
    app.number_input(key="evaluate:samples").set_value(3).run()
    app.number_input(key="evaluate:limit").set_value(2).run()
    [button] = [button for button in app.button if button.label == "Queue the evaluation"]
    button.click().run()
    assert not app.exception
    [row] = in_store(lambda connection: reads.list_runs(connection, kind=Kind.EVALUATION))
    assert (row.status, row.evaluates, row.evaluates_step) == (Status.QUEUED, run, 12)
    assert f"run {row.id} is queued: 2 problems, 3 samples each" in toasts(app)
    assert "only the first problems of addition (2)" in toasts(app)


def test_what_cannot_be_evaluated_is_said_in_words(full_store, open_page, monkeypatch):
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", "/nowhere")
    app = open_page("run", run=str(checkpoint(full_store, "occ")))
    app.session_state["evaluate"] = True
    app.run()
    app.selectbox(key="evaluate:suite").set_value("six").run()
    [button] = [button for button in app.button if button.label == "Queue the evaluation"]
    button.click().run()
    assert "MTPRL_BENCHMARKS_DIR: '/nowhere' is no folder" in toasts(app)
    assert in_store(lambda connection: reads.list_runs(connection, kind=Kind.EVALUATION)) == []


def test_the_list_of_runs_tells_evaluations_and_compares_trainings_alone(job, full_store, open_page):
    app = open_page("runs")
    assert f"evaluation of run {full_store.runs['occ']}, step 12" in html(app)
    [link] = [link.proto for link in app.get("page_link") if link.proto.label.startswith("Compare the first")]
    assert str(job) not in link.query_string.partition("=")[2].split("%2C")
    app.selectbox(key="kind").set_value("Evaluations").run()
    assert html(app).count("run?run=") == 1


def test_a_checkpoint_is_sampled_by_the_engine_that_was_chosen_and_the_page_says_by_which(
    full_store, open_page, monkeypatch
):
    monkeypatch.setattr("trainer.preflight.engine_problems", lambda config: [])
    app = open_page("run", run=str(checkpoint(full_store, "occ")))
    app.session_state["evaluate"] = True
    app.run()
    assert app.selectbox(key="evaluate:engine").value == "builtin"
    app.selectbox(key="evaluate:engine").set_value("vllm").run()
    [button] = [button for button in app.button if button.label == "Queue the evaluation"]
    button.click().run()
    [row] = in_store(lambda connection: reads.list_runs(connection, kind=Kind.EVALUATION))
    assert in_store(reads.get_run, row.id).config["rollout"]["engine"] == "vllm"
