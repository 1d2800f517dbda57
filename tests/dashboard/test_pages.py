"""Every page through Streamlit's own test driver: without a store, empty, and full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic
from pages import html, in_store, texts

from dashboard import forms
from db import reads
from db.statuses import Status
from trainer.presets import presets

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = ("runs", "new_run", "run", "compare", "leaderboard", "machines", "alerts", "models", "data")


# --- no store, and an empty one --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_without_a_store_every_page_says_what_to_run_and_makes_nothing(page, no_store, open_page):
    app = open_page(page, **({"run": "1"} if page == "run" else {}))
    assert not app.exception
    if page == "new_run":
        assert app.button[0].disabled
    assert "mtprl up" in texts(app) + html(app)
    assert list(no_store.iterdir()) == []


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("runs", "A run appears here"),
        ("compare", "no runs to compare"),
        ("leaderboard", "Nothing has been evaluated"),
        ("run", "No run is chosen"),
    ],
)
def test_an_empty_store_says_what_to_do_next(page, says, empty_store, open_page):
    app = open_page(page)
    assert not app.exception
    assert says in texts(app)


def test_every_page_starts_without_torch(full_store):
    program = f"""
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file({str(APP)!r}, default_timeout=20).run()
app.query_params["run"] = "1"
for page in {PAGES!r}:
    assert not app.switch_page(f"views/{{page}}.py").run().exception, page
print(sorted({{"torch", "transformers", "accelerate"}} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=APP.parents[1], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_streamlit_does_not_take_the_pages_for_programs_of_their_own():
    assert not (APP.parent / "pages").exists()


# --- runs ------------------------------------------------------------------------------------------------


def test_the_list_shows_every_run_with_status_progress_and_newest_values(full_store, open_page):
    shown = html(open_page("runs"))
    for run_id in full_store.runs.values():
        assert f'href="run?run={run_id}"' in shown
    assert "6 / 12" in shown
    assert "the loss at step 4 is NaN" in shown


def test_a_run_without_heartbeat_is_not_shown_as_running(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["lost"]))
    assert "no sign of life for" in html(app)
    assert ">running<" not in html(app)
    assert "mtprl up" in texts(app)
    assert ">running<" in html(open_page("run", run=str(full_store.runs["running"])))


def test_filters_stand_in_the_address(full_store, open_page):
    app = open_page("runs", experiment="controls")
    assert f'href="run?run={full_store.runs["off"]}"' in html(app)
    assert f'href="run?run={full_store.runs["occ"]}"' not in html(app)
    app.selectbox(key="experiment").select("demo").run()
    assert f'href="run?run={full_store.runs["occ"]}"' in html(app)
    assert "No run matches" in texts(open_page("runs", experiment="controls", status="failed"))


# --- new run ---------------------------------------------------------------------------------------------


def test_launching_makes_one_run_per_seed_and_links_to_them(empty_store, open_page):
    synthetic.make_base(empty_store)
    app = open_page("new_run")
    app.text_input(key="form:seeds").set_value("0, 5").run()
    app.text_input(key="form:steps").set_value("7").run()
    app.button[0].click().run()
    assert "2 runs submitted" in texts(app)
    assert "slip of the finger" not in texts(app)  # the explanation of a constant is no part of the page
    rows = in_store(reads.list_runs)
    assert [(row.seed, row.total_steps, row.status, row.preset) for row in rows] == [
        (5, 7, Status.QUEUED, "demo/occ-calibrated"),
        (0, 7, Status.QUEUED, "demo/occ-calibrated"),
    ]
    links = [element.proto.query_string for element in app.get("page_link")]
    assert links == ["experiment=default", f"runs={rows[1].id}%2C{rows[0].id}"]
    drawn = "".join(element.proto.body for element in app.get("html"))
    assert all(f'href="run?run={row.id}"' in drawn for row in rows)


def test_a_double_click_launches_once_and_a_later_click_again(empty_store, open_page):
    synthetic.make_base(empty_store)
    app = open_page("new_run")
    app.button[0].click().run()
    app.button[0].click().run()
    assert len(in_store(reads.list_runs)) == 1
    assert "1 run submitted" in texts(app)
    asked, when = app.session_state["form:asked"]
    app.session_state["form:asked"] = (asked, when - 60)
    app.button[0].click().run()
    assert len(in_store(reads.list_runs)) == 2


def test_a_refused_value_keeps_the_others_and_launches_nothing(empty_store, open_page):
    synthetic.make_base(empty_store)
    app = open_page("new_run")
    app.text_input(key="form:regime.occ.lambda_plus").set_value("-1").run()
    app.text_input(key="form:optimizer.lr").set_value("1e-5").run()
    assert "-1 is too small" in texts(app).replace("\\", "")
    assert app.button[0].disabled
    assert app.text_input(key="form:optimizer.lr").value == "1e-5"
    app.text_input(key="form:regime.occ.lambda_plus").set_value("0.5").run()
    assert not app.button[0].disabled


def test_a_missing_model_is_said_before_launching_and_keeps_the_button_shut(empty_store, open_page):
    app = open_page("new_run")
    assert "mtprl make-base" in html(app)
    assert app.button[0].disabled
    synthetic.make_base(empty_store)
    assert not app.run().button[0].disabled
    assert "64 problems read, each step takes 64" in html(app)
    app.text_input(key="form:model.path").set_value("elsewhere/model/here").run()
    assert "elsewhere/model/here does not exist" in html(app)
    assert app.button[0].disabled


def test_values_survive_another_regime_and_another_page(empty_store, open_page):
    app = open_page("new_run")
    app.text_input(key="form:regime.occ.lambda_plus").set_value("0.25").run()
    app.text_input(key="form:seeds").set_value("3").run()
    app.segmented_control(key="form:regime.kind").set_value("ce").run()
    assert not [field for field in app.text_input if field.key == "form:regime.occ.lambda_plus"]
    app.switch_page("views/runs.py").run()
    app.switch_page("views/new_run.py").run()
    app.segmented_control(key="form:regime.kind").set_value("occ").run()
    assert app.text_input(key="form:regime.occ.lambda_plus").value == "0.25"
    assert app.text_input(key="form:seeds").value == "3"


def test_every_setting_that_counts_has_a_widget(empty_store, open_page):
    app = open_page("new_run")
    drawn = {
        element.key
        for kind in ("text_input", "text_area", "selectbox", "segmented_control")
        for element in app.get(kind)
    }
    texts = forms.texts_of(presets()["demo/occ-calibrated"].values)
    assert {f"form:{field.key}" for field in forms.shown_fields(texts)} <= drawn


def test_a_preset_sets_the_fields_and_the_page_shows_yaml_and_command(empty_store, open_page):
    app = open_page("new_run")
    app.selectbox(key="form:preset").select("demo/ce").run()
    app.text_input(key="form:regime.ce.coefficient").set_value("0.2").run()
    command, yaml_text = [element.value for element in app.code]
    assert command == "mtprl submit demo/ce --set regime.coefficient=0.2 --seeds 0 --experiment default"
    assert "coefficient: 0.2" in yaml_text


# --- compare ---------------------------------------------------------------------------------------------


def test_compare_draws_the_runs_of_the_address_with_a_dash_for_each(full_store, open_page):
    ids = [full_store.runs[name] for name in ("occ", "occ again", "detach")]
    app = open_page("compare", runs=",".join(map(str, ids)))
    assert app.multiselect(key="compared").value == ids
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert [line["line"]["dash"] for line in spec["data"]] == ["solid", "dash", "dot"]
    assert spec["data"][0]["line"]["color"] == spec["data"][1]["line"]["color"] != spec["data"][2]["line"]["color"]


def test_smoothing_keeps_the_measured_values_and_says_what_it_does(full_store, open_page):
    app = open_page(
        "compare", runs=str(full_store.runs["occ"]), smoothing="Centred mean", window="5", metrics="reward/mean"
    )
    [element] = app.get("plotly_chart")
    faint, bold = json.loads(element.proto.spec)["data"]
    assert faint["opacity"] < 1
    assert bold["y"] != faint["y"]
    assert "centred mean over 5 steps" in texts(app)


def test_the_address_follows_the_choice_of_runs(full_store, open_page):
    app = open_page("compare", runs=f"{full_store.runs['occ']},777")
    assert "777" in texts(app)
    app.multiselect(key="compared").select(full_store.runs["detach"]).run()
    assert app.query_params["runs"] == f"{full_store.runs['occ']},{full_store.runs['detach']}"
