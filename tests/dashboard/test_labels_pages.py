"""Tags, notes, names and the archive in the list and on a run's page; the list page by page."""

from __future__ import annotations

import csv
import io
import time

import pytest
import synthetic
from pages import html, in_store, texts
from test_page_actions import press, toasts

from backend import labels, listing, store
from db import reads
from db.statuses import Status


def listed(app, runs: dict[str, int]) -> set[str]:
    rows = html(app).split("<tr>")
    return {name for name, run in runs.items() if any(f'href="run?run={run}"' in row for row in rows)}


def choose(app, action: str, runs: list[int]):
    app.multiselect(key="manage:runs").set_value(runs).run()
    return app.segmented_control(key="manage:action").set_value(action).run()


def test_runs_are_tagged_in_the_list_and_found_by_tag_in_the_address(full_store, open_page):
    occ, detach = full_store.runs["occ"], full_store.runs["detach"]
    app = choose(open_page("runs"), "Tag", [occ, detach])
    assert [button.disabled for button in app.button if button.label == "Tag 2 runs"] == [True], "no tag is typed yet"
    app.multiselect(key="manage:add").set_value(["baseline"]).run()
    press(app, "Tag 2 runs")
    assert "2 runs: tagged baseline" in toasts(app)
    assert app.multiselect(key="manage:runs").value == []
    found = open_page("runs", tags="baseline")
    assert listed(found, full_store.runs) == {"occ", "detach"}
    assert 'href="?tags=baseline"' in html(found)


def test_a_refused_tag_is_said_and_the_choice_stays(full_store, open_page):
    occ = full_store.runs["occ"]
    app = choose(open_page("runs"), "Tag", [occ])
    app.multiselect(key="manage:add").set_value(["two words"]).run()
    press(app, "Tag 1 run")
    assert "tag 'two words' is refused" in toasts(app)
    assert app.multiselect(key="manage:runs").value == [occ]


def test_the_choice_stays_with_other_filters_and_ticks(full_store, open_page):
    occ, off = full_store.runs["occ"], full_store.runs["off"]
    app = open_page("runs")
    app.multiselect(key="manage:runs").set_value([occ]).run()
    app.selectbox(key="experiment").select("controls").run()
    assert listed(app, full_store.runs) == {"off"}
    assert app.multiselect(key="manage:runs").value == [occ]
    app.multiselect(key="manage:runs").set_value([occ, off]).run()
    app.run()
    assert app.multiselect(key="manage:runs").value == [occ, off]


def test_the_chosen_runs_are_compared(full_store, open_page):
    occ, off = full_store.runs["occ"], full_store.runs["off"]

    def link(app):
        [found] = [one.proto for one in app.get("page_link") if one.proto.label.endswith(("1 run", "2 runs"))]
        return found.query_string, found.disabled

    assert link(choose(open_page("runs"), "Compare", [occ])) == (f"runs={occ}", True)
    assert link(choose(open_page("runs"), "Compare", [occ, off])) == (f"runs={occ}%2C{off}", False)


def test_archived_runs_are_left_out_shown_when_asked_for_and_taken_back(full_store, open_page):
    runs = full_store.runs
    press(choose(open_page("runs"), "Archive", [runs["occ"], runs["failed"]]), "Archive 2 runs")
    assert listed(open_page("runs"), runs) == set(runs) - {"occ", "failed"}
    app = open_page("runs", archived="true")
    assert listed(app, runs) == {"occ", "failed"}
    press(choose(app, "Archive", [runs["occ"]]), "Take back 1 run")
    assert listed(open_page("runs", archived="true"), runs) == {"failed"}
    app = open_page("runs")
    press(choose(app, "Archive", [runs["running"]]), "Archive 1 run")
    assert "is running and cannot be archived" in toasts(app)


def test_all_that_match_are_noted_at_once_and_one_is_renamed(full_store, open_page):
    app = open_page("runs", regime="occ")
    app.segmented_control(key="manage:action").set_value("Note").run()
    app.checkbox(key="manage:all").check().run()
    app.text_area(key="manage:note").set_value("<b>bold</b> claims").run()
    press(app, "Note for 3 runs")
    shown = html(open_page("runs"))
    assert shown.count("✎ &lt;b&gt;bold&lt;/b&gt; claims") == 3
    app = choose(open_page("runs"), "Rename", [full_store.runs["occ"]])
    app.text_input(key="manage:name").set_value("the good one").run()
    press(app, "Rename 1 run")
    assert in_store(reads.get_run, full_store.runs["occ"]).name == "the good one"


def test_a_runs_page_shows_and_edits_what_is_said_about_it(full_store, open_page):
    run = full_store.runs["failed"]
    labels.tag([run], ["old"])
    app = open_page("run", run=str(run))
    assert ">old</a>" in html(app)
    [name] = [field for field in app.text_input if field.label == "Name"]
    [tags] = [field for field in app.multiselect if field.label == "Tags"]
    [note] = [field for field in app.text_area if field.label == "Note"]
    [archived] = [field for field in app.checkbox if field.label == "Archived"]
    name.set_value("broken")
    tags.set_value(["new"])
    note.set_value("lr too high")
    archived.check()
    press(app, "Save")
    row = in_store(reads.get_run, run)
    assert (row.name, row.tags, row.note) == ("broken", ("new",), "lr too high")
    assert row.archived_at is not None
    assert "lr too high" in html(app)


@pytest.fixture
def many(empty_store):
    with store.writing() as connection:
        return [
            synthetic.add_run(connection, empty_store, "demo/ce", seed=n, status=Status.QUEUED, now=time.time())
            for n in range(60)
        ]


def test_many_runs_are_shown_page_by_page_and_the_page_stands_in_the_address(many, open_page):
    first, second = open_page("runs"), open_page("runs", page="2")
    assert html(first).count('href="run?run=') == 50
    assert html(second).count('href="run?run=') == 10
    assert "1 to 50 of 60 runs that match" in texts(first)
    assert "51 to 60 of 60 runs that match" in texts(second)
    second.text_input(key="text").set_value("seed59").run()
    assert html(second).count('href="run?run=') == 1, "other filters begin with their first page"
    assert "1 run" in texts(second)


def test_what_runs_stands_before_what_waits_and_what_has_ended(full_store, open_page):
    shown = html(open_page("runs"))
    at = {name: shown.index(f'href="run?run={run}"') for name, run in full_store.runs.items()}
    assert max(at["running"], at["lost"]) < at["queued"] < min(at["off"], at["failed"])
    assert f"here: cpu:{full_store.runs['running']}" in shown


def test_the_csv_holds_every_run_that_matches(full_store):
    labels.tag([full_store.runs["off"]], ["a", "b"])
    rows = list(
        csv.DictReader(
            io.StringIO(listing.to_csv(in_store(lambda connection: reads.list_runs(connection, experiment="controls"))))
        )
    )
    assert [(row["id"], row["tags"], row["regime"]) for row in rows] == [(str(full_store.runs["off"]), "a b", "off")]
    assert float(rows[0]["reward/mean"]) == in_store(reads.get_run, full_store.runs["off"]).latest["reward/mean"]
