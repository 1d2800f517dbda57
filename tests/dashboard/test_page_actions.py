"""What can be done to runs from the pages: resume, clone, find, and stop several."""

from __future__ import annotations

import json

from synthetic import make_base
from test_pages import html, in_store, texts

from db import reads
from db.statuses import Status


def toasts(app):
    return "".join(toast.value for toast in app.toast)


def test_a_failed_run_is_resumed_from_its_page_and_says_what_it_waits_for(full_store, open_page):
    run = full_store.runs["failed"]
    app = open_page("run", run=str(run))
    app.session_state["resume"] = True
    app.run()
    assert app.number_input(key="resume:steps").value == 12
    [button] = [button for button in app.button if button.label == f"Resume run {run}"]
    button.click().run()
    assert not app.exception
    assert f"run {run} is queued again: it goes on from its newest checkpoint, to step 12" in toasts(app)
    assert in_store(reads.get_run, run).status == Status.QUEUED
    app = open_page("run", run=str(run))
    assert "place 2 in the queue" in html(app)
    assert "(resumed by the user)" in html(app)


def test_a_finished_run_is_lengthened_from_its_page(full_store, open_page):
    run = full_store.runs["occ"]
    app = open_page("run", run=str(run))
    app.session_state["resume"] = True
    app.run()
    app.number_input(key="resume:steps").set_value(20).run()
    [button] = [button for button in app.button if button.label == f"Resume run {run}"]
    button.click().run()
    assert (in_store(reads.get_run, run).total_steps, in_store(reads.get_run, run).status) == (20, Status.QUEUED)


def test_a_clone_begins_as_its_origin_was_and_shows_in_what_it_differs(full_store, open_page):
    run = full_store.runs["occ"]
    links = {link.proto.label: link.proto.query_string for link in open_page("run", run=str(run)).get("page_link")}
    assert links["Clone"] == f"clone_of={run}"
    alive = open_page("run", run=str(full_store.runs["running"])).get("page_link")
    assert "Clone" in [link.proto.label for link in alive]
    app = open_page("new_run")
    app.segmented_control(key="form:mode").set_value("Grid of methods").run()
    app.button[0].click().run()
    assert "4 runs submitted" in texts(app)
    app.query_params["clone_of"] = str(run)
    app.run()  # makes one run, though a grid was launched before, of which nothing is said any more
    assert "4 runs submitted" not in texts(app)
    assert app.code[0].value == f"mtprl clone {run} --seeds 0 --experiment demo"
    app.text_input(key="form:steps").set_value("9").run()
    assert app.code[0].value == f"mtprl clone {run} --set steps=9 --seeds 0 --experiment demo"
    app.button[0].click().run()
    assert "1 run submitted" in texts(app)
    launched = in_store(reads.get_run, max(row.id for row in in_store(reads.list_runs)))
    assert (launched.cloned_from, launched.difference) == (run, [["steps", 12, 9]])
    assert launched.preset == "demo/occ-calibrated"
    page = html(open_page("run", run=str(launched.id)))
    assert f'href="run?run={run}"' in page
    assert "steps: 12 → 9" in page


def test_runs_are_found_by_regime_and_by_text(full_store, open_page):
    def found(**query) -> set[str]:
        rows = html(open_page("runs", **query)).split("<tr>")
        return {name for name, run in full_store.runs.items() if any(f'href="run?run={run}"' in row for row in rows)}

    assert found(regime="detach") == {"detach"}
    assert found(text="AT STEP 4") == {"failed"}
    assert found(text=str(full_store.runs["off"])) == {"off"}
    assert found(text="%") == set()


def test_several_runs_are_stopped_at_once(full_store, open_page):
    app = open_page("runs")
    app.multiselect(key="manage:runs").set_value([full_store.runs[name] for name in ("queued", "running", "off")]).run()
    press(app, "Stop 3 runs")
    assert "2 runs asked to stop" in toasts(app)
    statuses = {name: in_store(reads.get_run, full_store.runs[name]).status for name in ("queued", "running", "lost")}
    assert statuses == {"queued": Status.STOPPED, "running": Status.STOPPING, "lost": Status.RUNNING}


def press(app, label):
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception
    return app


def test_the_list_says_why_a_run_waits(full_store, open_page):
    assert "place 1 in the queue; next on here" in html(open_page("runs"))


def check_contamination(app):
    [button] = [button for button in app.button if button.label == "Check contamination"]
    button.click().run()
    assert not app.exception
    return app


def write_training(home, *more):
    """Training data for the demo without problems of its benchmark, and these lines."""
    make_base(home)
    lines = [json.dumps({"problem": f"{n}+2=", "answer": n + 2}) for n in range(64)]
    (home / "data" / "addition" / "train.jsonl").write_text("\n".join([*lines, *more]))


def test_training_data_that_holds_problems_of_its_benchmark_is_shown_before_launching(
    empty_store, open_page, monkeypatch
):
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(empty_store))  # none of the six is there
    write_training(empty_store, '{"problem": "7 + 1 =", "answer": 8}')
    app = check_contamination(open_page("new_run"))
    assert "1 of the 64 of addition (1 word for word)" in texts(app).replace("\\", "")
    assert [part.label for part in app.expander if part.label.startswith("addition")] == ["addition: 1 problem"]
    assert "the same as training problem 65, line 65" in html(app)
    app.text_input(key="form:data.jsonl.path").set_value("other.jsonl").run()
    assert "word for word" not in texts(app), "what was found counts for the data that was checked"
    assert "other.jsonl: cannot be read" in texts(check_contamination(app)).replace("\\", "")


def test_clean_training_data_is_said_to_be_so_and_launches_without_a_warning(empty_store, open_page, monkeypatch):
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(empty_store))
    write_training(empty_store)
    app = check_contamination(open_page("new_run"))
    assert "none of them is a problem to evaluate on" in texts(app)
    app.button[0].click().run()
    assert "1 run submitted" in texts(app)
    assert "problems to evaluate on:" not in texts(app)
