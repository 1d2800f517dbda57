"""Compare: groups with their intervals, axes, smoothing, the paper's figures, and an address that holds all of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pages import charts, html, in_store, texts

from backend import labels
from dashboard import compare_charts
from db import reads

T_95 = 12.7062  # of two


def _ids(store, *names):
    return [store.runs[name] for name in names]


def _address(ids):
    return ",".join(map(str, ids))


def _lines(app, metric="reward/mean"):
    [spec] = [
        json.loads(element.proto.spec)
        for element in app.get("plotly_chart")
        if metric in json.loads(element.proto.spec)["layout"]["title"]["text"]
    ]
    return spec["data"]


def test_seeds_together_are_one_line_with_the_interval_that_numpy_gives(full_store, open_page):
    ids = _ids(full_store, "occ", "occ again")
    app = open_page("compare", runs=_address(ids), lines="Regime and algorithm", metrics="reward/mean")
    assert not app.exception
    found = in_store(reads.series, ids, ["reward/mean"])
    values = np.array([found[run_id, "reward/mean"].values for run_id in ids])
    *_, band, mean = _lines(app)
    assert mean["y"] == pytest.approx(values.mean(axis=0))
    half = T_95 * values.std(axis=0, ddof=1) / np.sqrt(2)
    assert band["y"][: len(half)] == pytest.approx(values.mean(axis=0) + half, rel=1e-4)
    assert all("(n 2)" in note for note in mean["customdata"])
    said = texts(app).replace("\\", "")
    assert "of these runs, not of these methods: occ dapo (n 2)" in said


def test_the_address_holds_the_whole_view(full_store, open_page):
    ids = _ids(full_store, "occ", "detach")
    query = {"lines": "Seeds together", "axis": "Hours", "smoothing": "Moving average", "weight": "0.5"}
    app = open_page("compare", runs=_address(ids), metrics=["reward/mean", "time/step_seconds"], **query)
    assert not app.exception
    assert app.multiselect(key="compared").value == ids
    assert charts(app) == ["reward/mean", "time/step_seconds"]
    assert "0.5 eᵢ₋₁ + 0.5 yᵢ" in texts(app)
    assert "pauses between them are left out" in texts(app)
    raw, smooth = _lines(app)[0], _lines(app)[-1]
    assert raw["x"][-1] < 1  # an hour
    assert len(smooth["x"]) == 12


def test_the_papers_figures_are_drawn_or_say_what_is_missing(full_store, open_page):
    app = open_page("compare", runs=_address(_ids(full_store, "occ", "detach", "off")), view="Paper's figures")
    assert not app.exception
    said = texts(app).replace("\\", "")
    for number in ("1", "2 and 4", "3", "5", "6 and 7", "8"):
        assert f"As the paper's figure {number}. " in said
    assert "λ by reference own against exact λ" in charts(app)
    assert f"No audits: runs {full_store.runs['off']}" in said
    assert "Rank correlation of proxy and exact coefficient" in html(app)
    without = open_page("compare", runs=str(full_store.runs["off"]), view="Paper's figures")
    assert "No audit was made: it takes `--set audit.every=10`" in texts(without)
    assert "No run has MTP heads" not in texts(without) or "mtp/c_hat" not in charts(without)


def test_settings_that_differ_stand_in_a_table_and_equal_ones_below_it(full_store, open_page):
    app = open_page("compare", runs=_address(_ids(full_store, "occ", "detach")), view="Settings")
    table, _ = html(app).rpartition("Settings that differ")[2].split("Settings that are the same")
    assert "regime.kind" in table
    assert "rollout.temperature" not in table


def test_choosing_an_experiment_offers_its_runs_and_takes_all_of_them(full_store, open_page):
    app = open_page("compare", of_experiment="controls")
    [button] = [button for button in app.button if button.label.startswith("Choose all")]
    assert button.label == "Choose all 1"
    button.click().run()
    assert app.multiselect(key="compared").value == _ids(full_store, "off")
    assert app.query_params["runs"] in (str(full_store.runs["off"]), [str(full_store.runs["off"])])


def test_an_address_may_name_runs_one_by_one_and_says_how_many_of_very_many_are_missing(full_store, open_page):
    ids = _ids(full_store, "occ", "detach")
    app = open_page("compare", runs=[str(ids[0]), str(ids[1]), ",".join(map(str, range(10_000, 20_000)))])
    assert app.multiselect(key="compared").value == ids
    [warning] = app.warning
    assert warning.value.endswith("10049 and 9,950 more.")


def test_archived_runs_are_offered_only_when_asked_for_and_the_page_says_so(full_store, open_page):
    labels.archive([full_store.runs["off"]])
    app = open_page("compare", of_experiment="controls")
    assert "1 archived run is left out of what is offered." in texts(app)
    assert _ids(full_store, "off")[0] not in app.multiselect(key="compared").options
    [button] = [button for button in app.button if button.label.startswith("Choose all")]
    assert (button.label, button.disabled) == ("Choose all 0", True)
    app.toggle(key="with_archived").set_value(True).run()
    [button] = [button for button in app.button if button.label.startswith("Choose all")]
    assert button.label == "Choose all 1"
    shared = open_page("compare", runs=str(full_store.runs["off"]))
    assert shared.multiselect(key="compared").value == _ids(full_store, "off"), "a link goes on to show what it showed"


def test_a_chart_that_does_not_draw_every_value_says_so(full_store, open_page, monkeypatch):
    monkeypatch.setattr("backend.comparison.lines._FEWEST", 5)
    monkeypatch.setattr("backend.comparison.lines._LONGEST", 5)
    whole = "Of runs with more than 5 values the smallest and the largest of every stretch are drawn"
    app = open_page("compare", runs=str(full_store.runs["occ"]), metrics="reward/mean")
    assert whole in texts(app)
    monkeypatch.undo()


def test_metrics_that_are_shares_are_read_in_percent():
    assert compare_charts.is_share("reward/accuracy")
    assert compare_charts.is_share("eval/addition/avg_at_4")
    assert not compare_charts.is_share("reward/mean")
