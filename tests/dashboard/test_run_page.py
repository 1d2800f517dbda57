"""The page of a run through Streamlit's own test driver."""

from __future__ import annotations

import json

import pytest
from pages import charts, html, in_store, popover, texts

from backend import labels, store, words
from dashboard import run_tabs
from db import claims, reads
from db.runs import log_event
from db.statuses import Status

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
        (
            "Coefficient",
            {
                "Coefficient λ",
                "ĉ and v̂²",
                "Heads agree with the policy",
                "Drafts accepted while sampling",
                "Gain of the MTP part",
            },
        ),
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
        (
            "Speed",
            {
                "Seconds per step, by part",
                "Tokens per second",
                "Heads agree with the policy",
                "Drafts accepted while sampling",
                "Host: processor and memory",
                "Disk of the run's folder",
                "GPUs: utilization",
                "GPUs: memory",
            },
        ),
    ],
)
def test_each_tab_has_its_charts_and_its_address(tab, shows, full_store, open_page):
    drawn = {title.partition("<")[0] for title in charts(open_page("run", run=str(full_store.runs["occ"]), tab=tab))}
    assert shows <= drawn


@pytest.mark.parametrize(
    ("tab", "says"),
    [("Log", "step 12: reward"), ("Events", "submitted to experiment demo"), ("Configuration", "lambda_plus")],
)
def test_log_events_and_configuration(tab, says, full_store, open_page):
    app = open_page("run", run=str(full_store.runs["occ"]), tab=tab)
    assert says in html(app) + "".join(element.value for element in app.code)


def test_events_leave_checkpoints_out_until_they_are_asked_for_and_say_so(full_store, open_page):
    run = full_store.runs["occ"]
    with store.writing() as connection:
        log_event(connection, run, 1, 10, "checkpoint", "saved checkpoints/step-000010", "info", now=1.0)
        log_event(connection, run, 1, 10, "alarm", "entropy_collapse: 0.1", "warning", now=2.0)
    app = open_page("run", run=str(run), tab="Events")
    shown, counted = html(app), texts(app)
    assert "submitted to experiment demo" in shown
    assert "Entropy collapse. 0.1" in shown
    assert "saved checkpoints" not in shown
    assert "not shown: 1 checkpoint" in counted
    app.pills(key="events").set_value(["checkpoints"]).run()
    assert "saved checkpoints" in html(app)
    assert "submitted to experiment demo" not in html(app)
    app.pills(key="events").set_value([]).run()
    assert not app.exception
    assert "0 events" in texts(app)


def test_an_end_comes_with_the_next_step_and_several_attempts_with_a_table(full_store, open_page):
    run = full_store.runs["lost"]
    with store.writing() as connection:
        claims.requeue(connection, run, 2.0, "the trainer and its supervisor are gone", attempt=1)
        connection.exec_driver_sql(f"UPDATE runs SET priority = 9 WHERE id = {run}")
        taken = claims.claim_next(connection, host="there", devices=["cpu:9"], now=3.0)
        assert taken.run_id == run
        reason = "the trainer was killed by signal 9 (SIGKILL); the machine may have run out of memory"
        claims.finish(connection, run_id=run, attempt=2, status=Status.FAILED, reason=reason, exit_code=-9, now=4.0)
    app = open_page("run", run=str(run), tab="Events")
    [error] = app.error
    assert "**Next:** Nearly always the system ended it" in error.value
    assert 'aria-label="Attempts"' in html(app)
    assert "Next: Nearly always" in html(app)
    assert ">there<" in html(app)


def test_the_log_is_searched_and_says_how_much_of_it(full_store, open_page):
    app = open_page("run", run=str(full_store.runs["occ"]), tab="Log", search="STEP 1")
    assert "4 lines with this text in all of the log" in texts(app)  # 1, 10, 11, 12
    assert html(app).count("<mark>step 1</mark>") == 4
    app.text_input(key="search").set_value("<nowhere>").run()
    assert "0 lines" in texts(app)
    assert "Nothing found" in texts(app)
    app.text_input(key="search").set_value("").run()
    assert "step 12: reward" in html(app)


def test_a_run_that_has_not_started_has_no_log_yet(full_store, open_page):
    assert "has not started yet" in texts(open_page("run", run=str(full_store.runs["queued"]), tab="Log"))


def test_an_unknown_run_is_said_in_words(full_store, open_page):
    assert "does not exist" in texts(open_page("run", run="999"))
    assert "is no run's number" in texts(open_page("run", run="x"))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"id": "3"}, "ends in `?run=NUMBER`, not in `?id=`"),
        ({"run": "3abc"}, "'3abc' is no run's number"),
        ({"run": "#3"}, "is no run's number"),
        ({"run": "deep"}, "'deep' is no run's number"),
        ({"run": "9" * 30}, "is no run's number"),
        ({"run": "x<b>"}, "is no run's number"),
    ],
)
def test_an_address_that_names_no_run_leads_to_the_one_that_was_meant(asked, said, full_store, open_page):
    labels.rename(3, "deep")
    app = open_page("run", **asked)
    assert not app.exception
    assert said in texts(app)
    meant = "3" in "".join(asked.values()) or "deep" in asked.values()
    assert ('href="run?run=3"' in html(app), "run 3, deep" in html(app)) == (meant, meant)


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
