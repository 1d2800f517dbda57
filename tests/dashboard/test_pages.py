"""Every page through Streamlit's own test driver: without a store, empty, and full."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic

from backend import store
from backend.controls import matched_control
from dashboard import audit_charts, forms, run_tabs, words
from db import claims, reads
from db.runs import log_event
from db.statuses import Status
from trainer.config import parse, resolve
from trainer.presets import presets

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
PAGES = ("runs", "new_run", "run", "compare", "leaderboard")


def html(app):
    return "\n".join(element.proto.body for element in app.get("html"))


def texts(app):
    return "\n".join(
        str(element.value)
        for kind in ("markdown", "caption", "info", "warning", "error", "success")
        for element in app.get(kind)
    )


def popover(app):
    [block] = [block for block in app.get("popover") if block.proto.popover.label == "Stop"]
    return block.proto.popover


def in_store(look, *arguments):
    with store.reading() as connection:
        return look(connection, *arguments)


def charts(app):
    return [json.loads(element.proto.spec)["layout"]["title"]["text"] for element in app.get("plotly_chart")]


# --- no store, and an empty one --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_without_a_store_every_page_says_what_to_run_and_makes_nothing(page, no_store, open_page):
    app = open_page(page, **({"run": "1"} if page == "run" else {}))
    assert not app.exception
    if page == "new_run":
        app.button[0].click().run()
        assert not app.exception
    assert "mtprl up" in texts(app)
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
    assert links == [f"run={rows[1].id}", f"run={rows[0].id}", f"runs={rows[1].id}%2C{rows[0].id}"]


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
    app = open_page("new_run")
    app.text_input(key="form:regime.occ.lambda_plus").set_value("-1").run()
    app.text_input(key="form:optimizer.lr").set_value("1e-5").run()
    assert "-1 is too small" in texts(app).replace("\\", "")
    assert app.button[0].disabled
    assert app.text_input(key="form:optimizer.lr").value == "1e-5"
    app.text_input(key="form:regime.occ.lambda_plus").set_value("0.5").run()
    assert not app.button[0].disabled


def test_a_missing_model_is_reported_beside_its_field_after_launching(empty_store, open_page):
    app = open_page("new_run")
    app.button[0].click().run()
    assert "mtprl make-base" in texts(app).replace("\\", "")
    assert in_store(reads.list_runs) == []
    app.text_input(key="form:model.path").set_value("elsewhere/model").run()
    assert "mtprl make-base" not in texts(app).replace("\\", "")


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


# --- run -------------------------------------------------------------------------------------------------


def test_the_coefficient_is_drawn_at_mini_batch_resolution_with_its_clip(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["occ"]))
    [spec, *_] = [json.loads(element.proto.spec) for element in app.get("plotly_chart")]
    assert "Coefficient" in spec["layout"]["title"]["text"]
    dots, mean = spec["data"]
    assert len(dots["x"]) == 12 * 4
    assert dots["x"][:4] == [0.25, 0.5, 0.75, 1.0]
    assert len(mean["x"]) == 12
    assert [annotation["text"] for annotation in spec["layout"]["annotations"]] == ["clip 0", "clip 1"]


@pytest.mark.parametrize(
    ("tab", "shows"),
    [
        ("Coefficient", {"Coefficient λ", "ĉ and v̂²", "Draft acceptance", "Gain of the MTP part"}),
        (
            "Learning",
            {
                "Reward",
                "Losses",
                "Entropy",
                "Response length",
                "Gradient norms",
                "addition, held out: avg@4 with 95 % interval",
            },
        ),
        ("Speed", {"Seconds per step, by part", "Sampling speed"}),
    ],
)
def test_each_tab_has_its_charts_and_its_address(tab, shows, full_store, open_page):
    drawn = {title.partition("<")[0] for title in charts(open_page("run", run=str(full_store.runs["occ"]), tab=tab))}
    assert shows <= drawn


def test_completions_of_a_step_are_shown_as_written_with_grade_and_reason(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["occ"]), tab="Completions")
    assert app.selectbox(key="step").options == ["newest (10)", "10"]
    shown = html(app)
    assert "&lt;b&gt;sum&lt;/b&gt;" in shown
    assert "equal to the right answer" in shown or "is not" in shown
    app.selectbox(key="prompt").select_index(2).run()
    assert html(app) != shown


@pytest.mark.parametrize(
    ("tab", "says"), [("Log", "step 12: reward"), ("Events", "saved checkpoints"), ("Configuration", "lambda_plus")]
)
def test_log_events_and_configuration(tab, says, full_store, open_page):
    if tab == "Events":
        says = "submitted to experiment demo"
    app = open_page("run", run=str(full_store.runs["occ"]), tab=tab)
    assert says in html(app) + "".join(element.value for element in app.code)


def test_an_unknown_run_is_said_in_words(full_store, open_page):
    assert "does not exist" in texts(open_page("run", run="999"))
    assert "is no run's number" in texts(open_page("run", run="x"))


def test_stop_asks_first_and_then_says_what_happens(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["running"]))
    app.session_state["stop"] = True
    app.run()
    assert popover(app).open
    [button] = [button for button in app.button if button.label.startswith("Stop run")]
    assert in_store(reads.get_run, full_store.runs["running"]).status == Status.RUNNING
    button.click().run()
    assert not app.exception
    assert in_store(reads.get_run, full_store.runs["running"]).status == Status.STOPPING
    assert not popover(app).open
    assert "is stopping" in "".join(toast.value for toast in app.toast)


def test_an_alarm_that_is_on_stands_at_the_top_of_the_run_in_words_and_marks_it_in_the_list(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["running"]))
    [warning] = [str(box.value).replace("\\", "") for box in app.warning]
    assert warning.startswith("**Zero variance.** reward/zero_variance_fraction above 0.1 % since step 1 (")
    assert "rollout.dynamic_sampling_rounds" in warning
    assert not open_page("run", run=str(full_store.runs["occ"])).warning
    rows = html(open_page("runs")).split("<tr>")
    assert [f'run={full_store.runs["running"]}"' in row for row in rows if "Zero variance" in row] == [True]


def test_the_error_that_ended_a_run_is_told_once_and_is_gone_after_a_resume(full_store, open_page):
    run = full_store.runs["lost"]

    def tell(attempt, type, message="", severity="info", step=5):
        with store.writing() as connection:
            log_event(connection, run, attempt, step, type, message, severity, now=1.0)

    said = "policy loss became NaN in step 5"
    tell(1, "alarm", f"not_finite: {said}", "error")
    [error] = open_page("run", run=str(run)).error
    assert "Not finite" in error.value
    with store.writing() as connection:
        claims.finish(connection, run_id=run, attempt=1, status=Status.FAILED, reason=said, exit_code=1, now=2.0)
    [error] = open_page("run", run=str(run)).error
    assert error.value == said
    tell(2, "attempt_started", "resumed after step 4", step=4)
    assert "Not finite" not in texts(open_page("run", run=str(run)))


def test_an_ended_run_offers_no_stop_and_says_why_it_failed(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["failed"]))
    assert not [button for button in app.button if "Stop" in button.label]
    assert "the loss at step 4 is NaN" in texts(app)


def test_the_queue_position_is_shown(full_store, open_page):
    assert "place 1 in the queue" in html(open_page("run", run=str(full_store.runs["queued"])))


def test_the_csv_holds_every_value_under_the_columns_that_the_shell_writes(full_store):
    header, *lines = run_tabs.csv_of(full_store.runs["occ"]).splitlines()
    assert header == "run,attempt,metric,step,mini_batch,value,time"
    assert sum(line.split(",")[2] == "mtp/coefficient" for line in lines) == 12 * (4 + 1)


def test_the_list_shows_the_mean_coefficient_of_the_last_steps(full_store, open_page):
    row = in_store(reads.get_run, full_store.runs["occ"])
    assert row.coefficient is not None
    [cells] = [line for line in html(open_page("runs")).split("<tr>") if f'href="run?run={row.id}"' in line]
    assert f">{words.number(row.coefficient)}<" in cells
    assert f">{words.number(row.coefficient)}<" in html(open_page("run", run=str(row.id)))


# --- audits ----------------------------------------------------------------------------------------------


def test_audits_are_drawn_with_their_rank_correlations_and_the_ceiling(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["occ"]), tab="Audit")
    assert not app.exception
    assert [title.partition("<")[0] for title in charts(app)] == [
        "λ by reference main against exact λ",
        "λ by reference own against exact λ",
        "Change by the MTP part",
        "Change by the MTP part, by step",
        "Signal and noise, policy form",
        "Signal and noise, cross-entropy form",
        "Coefficient λ",
        "c, correlation of the gradients",
        "v2, size of the MTP gradient",
        "Cosine of the two gradients",
    ]
    specs = [json.loads(element.proto.spec) for element in app.get("plotly_chart")]
    assert len(specs[0]["data"][0]["x"]) == 12
    assert len({tuple(spec["layout"]["xaxis"]["range"]) for spec in specs[3:]}) == 1
    shown = html(app)
    found = in_store(audits_of, full_store.runs["occ"])
    for x, y in (("coefficient", "proxy_own"), ("coefficient_half_1", "coefficient_half_2")):
        result = found.correlation(x, y)
        value, low, high = (f"{part:.2f}".replace("-", "−") for part in result[:3])
        assert f">{value}<" in shown
        assert f">{low} to {high}<" in shown
    equal, of = found.equal_signs("predicted_change", "measured_change")
    assert f"**{equal} of {of}**" in texts(app)
    assert "12 audits, of the last mini-batch of steps 1 to 12." in texts(app)
    assert all(element.proto.alt for element in app.get("plotly_chart"))


def audits_of(connection, run_id):
    names = reads.metric_list(connection, run_id)
    return audit_charts.of_depth(reads.aligned(connection, run_id, names, anchor=audit_charts.ANCHOR), 1)


def test_few_audits_give_no_correlation_and_detach_has_no_change_to_predict(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["detach"]), tab="Audit")
    assert "Only 3 audits so far: rank correlations are given from 5 on" in texts(app)
    assert "–" in html(app)
    assert "Change by the MTP part" not in charts(app)


def test_each_depth_has_its_audit(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["deep"]), tab="Audit")
    first = app.get("plotly_chart")[0].proto.spec
    app.segmented_control(key="audit-depth").set_value(2).run()
    assert not app.exception
    assert app.get("plotly_chart")[0].proto.spec != first
    assert len(charts(app)) == 10


def test_a_run_without_audits_says_what_one_is_and_how_to_have_it(full_store, open_page):
    says = texts(open_page("run", run=str(full_store.runs["off"]), tab="Audit"))
    assert "An audit measures the exact gradients" in says
    assert "`audit: {every: 10}`" in says
    assert "`--set audit.every=10`" in says
    for line in ("audit={every: 10}", "audit.every=10"):
        assert parse(resolve(presets()["demo/off"].values, [line], {"MTPRL_HOME": "/"})).audit.every == 10


def test_compare_draws_what_only_single_mini_batches_have(full_store, open_page):
    app = open_page("compare", runs=str(full_store.runs["occ"]), metrics="audit/proxy_own")
    [element] = app.get("plotly_chart")
    assert json.loads(element.proto.spec)["data"][0]["x"] == list(range(1, 13))


# --- matched control -------------------------------------------------------------------------------------


def test_an_ended_occ_run_offers_its_matched_control_and_others_do_not(full_store, open_page):
    def offers(name):
        links = open_page("run", run=str(full_store.runs[name])).get("page_link")
        return [link.proto.query_string for link in links if link.proto.label == "Matched control"]

    assert offers("occ") == [f"control_of={full_store.runs['occ']}"]
    assert offers("detach") == offers("running") == offers("queued") == []


def test_the_matched_control_fills_in_the_form_and_launches(full_store, open_page):
    run = full_store.runs["occ"]
    control = in_store(matched_control, run)
    app = open_page("new_run", control_of=str(run))
    assert not app.exception
    assert f"Matched control of run {run}" in texts(app)
    assert app.segmented_control(key="form:regime.kind").value == "policy"
    assert app.text_input(key="form:regime.policy.coefficient").value == str(control.config.regime.coefficient)
    assert app.text_input(key="form:name").value == f"control-of-run-{run}"
    assert (app.text_input(key="form:seeds").value, app.text_input(key="form:experiment").value) == ("0", "demo")
    command = app.code[0].value
    assert command == f"mtprl submit --control-of {run} --seeds 0 --experiment demo"
    app.text_input(key="form:steps").set_value("9").run()
    assert app.code[0].value.startswith(f"mtprl submit --control-of {run} --set steps=9 --seeds 0")
    app.button[0].click().run()
    assert "1 run submitted" in texts(app)
    launched = in_store(reads.get_run, max(row.id for row in in_store(reads.list_runs)))
    assert (launched.name, launched.regime, launched.total_steps) == (f"control-of-run-{run}", "policy", 9)
    assert launched.preset is None


def test_a_preset_takes_the_place_of_a_control_and_a_control_that_of_a_preset(full_store, open_page):
    app = open_page("new_run", control_of=str(full_store.runs["occ"]))
    app.selectbox(key="form:preset").select("demo/ce").run()
    assert app.code[0].value.startswith("mtprl submit demo/ce --seeds")
    assert "control_of" not in app.query_params
    app.query_params["control_of"] = str(full_store.runs["deep"])
    app.run()
    assert app.code[0].value.startswith(f"mtprl submit --control-of {full_store.runs['deep']} ")


def test_a_control_that_cannot_be_had_is_said_in_words(full_store, open_page):
    assert "a matched control needs the mean coefficient of a run with regime occ" in texts(
        open_page("new_run", control_of=str(full_store.runs["detach"]))
    )
    assert "does not exist" in texts(open_page("new_run", control_of="999"))


# --- compare ---------------------------------------------------------------------------------------------


def test_compare_draws_the_runs_of_the_address_with_a_dash_for_a_repeated_regime(full_store, open_page):
    ids = [full_store.runs[name] for name in ("occ", "occ again", "detach")]
    app = open_page("compare", runs=",".join(map(str, ids)))
    assert app.multiselect(key="compared").value == ids
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert [line["line"]["dash"] for line in spec["data"]] == ["solid", "dash", "solid"]
    assert spec["data"][0]["line"]["color"] == spec["data"][1]["line"]["color"] != spec["data"][2]["line"]["color"]


def test_smoothing_keeps_the_measured_values_and_says_what_it_does(full_store, open_page):
    app = open_page("compare", runs=str(full_store.runs["occ"]), smoothing="5", metrics="reward/mean")
    [element] = app.get("plotly_chart")
    faint, bold = json.loads(element.proto.spec)["data"]
    assert faint["opacity"] < 1
    assert bold["y"] != faint["y"]
    assert "mean over the last 5 steps" in texts(app)


def test_the_address_follows_the_choice_of_runs(full_store, open_page):
    app = open_page("compare", runs=f"{full_store.runs['occ']},777")
    assert "777" in texts(app)
    app.multiselect(key="compared").select(full_store.runs["detach"]).run()
    assert app.query_params["runs"] == f"{full_store.runs['occ']},{full_store.runs['detach']}"


# --- leaderboard -----------------------------------------------------------------------------------------


def test_the_leaderboard_says_that_few_seeds_rank_nothing(full_store, open_page):
    app = open_page("leaderboard")
    assert not app.exception
    assert "nothing: the intervals" in texts(app)
    assert "these checkpoints, not these methods" in html(app)
    assert "avg@4" in html(app)
    assert "95 % interval" in html(app)
    assert len(charts(app)) == 2
