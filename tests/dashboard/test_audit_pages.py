"""Audits and matched controls on the pages, through Streamlit's own test driver."""

from __future__ import annotations

import json

from pages import charts, html, in_store, texts

from backend import audits
from backend.controls import matched_control
from db import reads
from trainer.config import parse, resolve
from trainer.presets import presets

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
        "v², size of the MTP gradient",
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
        assert f">{low} … {high}<" in shown
    effects = found.effects()
    assert f"**{effects.equal_signs} of {effects.of}**" in texts(app)
    assert "12 audits, of the last mini-batch of steps 1 to 12." in texts(app)
    assert all(element.proto.alt for element in app.get("plotly_chart"))


def audits_of(connection, run_id):
    names = reads.metric_list(connection, run_id)
    return audits.of_depth(reads.aligned(connection, run_id, names, anchor=audits.ANCHOR), 1)


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
