"""Alerts are made, shown where they are on, switched off and removed."""

from __future__ import annotations

import pytest
from pages import html, in_store, texts
from test_page_actions import press

from backend import alerts as service
from backend import store
from db import alerts, ingest
from db.rules import Rule
from trainer.events import MemorySink


def feed(run: int, step: int, **values: float) -> None:
    """One more step of a run that has read one byte of its events."""
    sink = MemorySink()
    sink.emit("metrics", step=step, values={name.replace("__", "/"): value for name, value in values.items()})
    with store.writing() as connection:
        offset = ingest.read_offset(connection, run, 1)
        event = {"attempt": 1, "time": 1.0, **sink.events[0]}
        ingest.ingest(connection, run, [event], attempt=1, start=offset, offset=offset + 1, torn_lines=0)


def fill(app, **fields):
    for label, value in fields.items():
        [widget] = [
            widget
            for kind in (app.text_input, app.selectbox, app.number_input)
            for widget in kind
            if widget.label == label.replace("_", " ")
        ]
        widget.set_value(value)
    return app


def test_an_alert_is_made_on_the_page_and_shown_on_the_run_and_in_the_list(full_store, open_page):
    run = full_store.runs["running"]
    app = fill(
        open_page("alerts"), Name="too few tokens", Metric="rollout/length_mean", Comparison="below", Threshold="5"
    )
    press(app, "Make the alert")
    assert "it looks at what comes from now on" in texts(app)
    assert [field.value for field in app.text_input if field.label == "Name"] == [""]
    press(app, "Make the alert")
    assert "it looks at what comes from now on" in texts(app), "an empty form asks for nothing"
    assert [rule.name for rule in in_store(alerts.listed)] == ["too few tokens"]
    assert "rollout/length_mean below 5" in html(app)
    feed(run, 7, rollout__length_mean=4.0)
    [link] = [part for part in html(open_page("alerts")).split("<a ") if f'href="run?run={run}"' in part]
    assert "rollout/length_mean, since step 7" in link
    assert "**too few tokens\\: rollout/length\\_mean.**" in texts(open_page("run", run=str(run)))
    row = next(row for row in html(open_page("runs")).split("<tr>") if f'href="run?run={run}"' in row)
    assert "too few tokens: rollout/length_mean" in row


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"Metric": "reward/mean", "Threshold": "1"}, "name: '' is refused"),
        ({"Name": "n", "Threshold": "1"}, "metric: '' is refused"),
        ({"Name": "n", "Metric": "reward/mean", "Threshold": "x"}, "threshold: 'x' is no number"),
        ({"Name": "n", "Metric": "reward/mean"}, "threshold: none is given"),
    ],
)
def test_what_is_refused_is_said_and_what_was_typed_stays(full_store, open_page, fields, said):
    app = press(fill(open_page("alerts"), **fields), "Make the alert")
    assert said in texts(app)
    assert [field.value for field in app.text_input if field.label == "Name"] == [fields.get("Name", "")]
    assert in_store(alerts.listed) == []


def test_an_alert_is_switched_off_on_and_removed(full_store, open_page):
    service.add(Rule("short", "rollout/length_mean", "below", 5.0))
    feed(full_store.runs["running"], 7, rollout__length_mean=4.0)
    app = press(open_page("alerts"), "Switch off")
    assert "switched off" in html(app)
    assert "short: " not in html(open_page("runs"))
    press(app, "Switch on")
    assert [rule.active for rule in in_store(alerts.listed)] == [True]
    press(app, "Remove")
    assert in_store(alerts.listed) == []
    assert "No alert yet" in texts(app)


def test_a_rule_that_is_on_in_very_many_metrics_fills_neither_the_run_nor_the_list(full_store, open_page):
    run = full_store.runs["running"]
    service.add(Rule("anything", "many/*", "above", 0.0))
    feed(run, 7, **{f"many__{number}": 1.0 for number in range(300)})
    boxes = [str(box.value).replace("\\", "") for box in open_page("run", run=str(run)).warning]
    assert boxes[0].startswith("**Zero variance.**")  # the trainer's own
    assert (len(boxes), boxes[-1]) == (9, "293 more alarms on: Events has all of them.")
    row = next(row for row in html(open_page("runs")).split("<tr>") if f'href="run?run={run}"' in row)
    assert "301 alarms" in row
    assert row.count("many/") < 25
