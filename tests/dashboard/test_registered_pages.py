"""The pages of models and of data: registering, what is said of one, the runs that used it, removing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import synthetic
from pages import html, in_store, texts

from backend import registry, verified
from db.registry import Registered, listed


def names(kind):
    return [entry.name for entry in in_store(listed, kind)]


def press(app, label):
    [button] = [button for button in app.button if button.label == label]
    button.click().run()
    assert not app.exception
    return app


def links(app):
    return {link.proto.label: link.proto.query_string for link in app.get("page_link")}


@pytest.mark.parametrize(
    ("page", "says"), [("models", "No model has a name yet"), ("data", "No data set has a name yet")]
)
def test_an_empty_page_says_what_a_name_is_for(page, says, empty_store, open_page):
    app = open_page(page)
    assert not app.exception
    assert says in texts(app)


@pytest.mark.parametrize("page", ["models", "data"])
def test_without_a_store_the_page_says_what_to_run(page, no_store, open_page):
    assert "mtprl up" in texts(open_page(page))


def test_a_model_is_registered_inspected_used_and_removed(full_store, open_page):
    app = open_page("models")
    app.text_input(key="model:name").set_value("small").run()
    app.text_input(key="model:path").set_value("/absent/model/folder").run()
    press(app, "Register")
    assert "path: /absent/model/folder does not exist" in texts(app).replace("\\", "")
    assert app.text_input(key="model:name").value == "small", "what was typed stays"
    path = in_store(lambda connection: registry.reads.get_run(connection, full_store.runs["occ"])).config["model"][
        "path"
    ]
    app.text_input(key="model:path").set_value(path).run()
    press(app, "Register")
    assert f"model small is {path}" in texts(app).replace("\\", "")
    assert 'href="models?name=small"' in html(app)
    app = open_page("models", name="small")
    page = html(app)
    assert "none: a run starts new ones from the last block" in page
    assert "not yet: <code>mtprl verify small</code> measures its heads" in page
    verified.keep(Path(path), {"alarms": ["depth 1 guesses"]})
    assert "just now: depth 1 guesses" in html(open_page("models", name="small"))
    assert f'href="run?run={full_store.runs["occ"]}"' in page
    assert links(app)["Train with it"] == "model=small"
    assert links(app)["Warm its heads"] == "warm=small"
    press(app, "Remove small")
    assert names(Registered.MODEL) == []
    assert "no model has its name" not in texts(app)
    assert "any more" in texts(open_page("models", name="small"))


def test_a_checkpoint_is_registered_by_run_and_step(full_store, open_page):
    app = open_page("models")
    app.segmented_control(key="model:from").set_value("Checkpoint of a run").run()
    app.text_input(key="model:name").set_value("trained").run()
    app.text_input(key="model:run").set_value(str(full_store.runs["queued"])).run()
    press(app, "Register")
    assert "has no checkpoint yet" in texts(app)
    app.text_input(key="model:step").set_value("last").run()
    press(app, "Register")
    assert "'last' is no step" in texts(app).replace("\\", "")


def test_data_is_registered_with_settings_inspected_and_compared(empty_store, open_page, monkeypatch):
    synthetic.make_base(empty_store)
    six = empty_store / "six"
    six.mkdir()
    (six / "aime24.jsonl").write_text(json.dumps({"id": "1", "problem": "who is first", "answer": "2"}) + "\n")
    monkeypatch.setenv("MTPRL_BENCHMARKS_DIR", str(six))
    path = empty_store / "own.jsonl"
    rows = [("who is first", "Ada"), ("who is first", "Bob"), ("<b>1/2</b>", "\\frac12"), ("a", "0.5")]
    path.write_text("".join(json.dumps({"question": problem, "answer": answer}) + "\n" for problem, answer in rows))
    app = open_page("data")
    app.text_input(key="data:name").set_value("own").run()
    app.text_input(key="data:where").set_value(str(path)).run()
    press(app, "Register")
    assert "has no 'problem'" in texts(app).replace("\\", "")
    app.text_area(key="data:more").set_value("- columns").run()
    press(app, "Register")
    assert "is no mapping" in texts(app)
    app.text_area(key="data:more").set_value("columns: {problem: question}").run()
    press(app, "Register")
    assert names(Registered.DATA) == ["own"]
    app = open_page("data", name="own")
    assert "text 2, expression 1, decimal 1" in texts(app).replace("\\", "")
    assert "&lt;b&gt;1/2&lt;/b&gt;" in html(app)
    assert [part.label for part in app.expander if "another answer" in part.label] == [
        "1 problem again with another answer"
    ]
    assert links(app)["Train on it"] == "data=own"
    press(app, "Compare with the six benchmarks")
    assert "1 of the 1 of aime24" in texts(app).replace("\\", "") or "all 1 of aime24" in texts(app).replace("\\", "")
    path.unlink()
    assert "cannot be read" in texts(open_page("data", name="own")).replace("\\", "")


def test_what_is_on_the_hub_is_read_only_when_asked_for(empty_store, open_page):
    registry.add_data("far", {"kind": "hub", "id": "nobody/nothing", "split": "train"})
    app = open_page("data", name="far")
    assert "fetched from the hub" in texts(app)
    assert "Read it now" in [button.label for button in app.button]
