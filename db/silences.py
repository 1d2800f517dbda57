"""Alerts on values that do not come: a rule `silent` speaks when nothing that its metric matches was stored for so many minutes.

It is looked at by the clock, where a run's owner says that it is alive, so that runs which have ended are not looked at. Minutes are
counted from the newest value that matches, or from when the attempt began. What was said is void with the step in which it was said, as
that of other rules is.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select

from db import upsert
from db.alerts import State, line, rules_of, state_row, states_of
from db.ingest import metric_ids
from db.rules import SILENT, Rule, matches
from db.tables import alert_states, attempts, latest_metrics, metric_names, run_events, runs

EVERY = 15.0
"""Seconds between two looks."""


def look(connection: Connection, run_id: int, attempt: int, now: float) -> None:
    """Begin and end what the rules on silence say of a run, in the caller's writing transaction."""
    rules = [rule for rule in rules_of(connection, run_id) if rule.comparison == SILENT]
    if not rules:
        return
    step = connection.execute(select(runs.c.step).where(runs.c.id == run_id)).scalar_one()
    of_attempt = (attempts.c.run_id == run_id, attempts.c.number == attempt)
    began = connection.execute(select(attempts.c.started_at).where(*of_attempt)).scalar_one()
    times = select(metric_names.c.name, latest_metrics.c.time).join_from(latest_metrics, metric_names)
    stored = connection.execute(times.where(latest_metrics.c.run_id == run_id)).tuples().all()
    ids, states = metric_ids(connection, {rule.metric for rule in rules}), states_of(connection, run_id)
    for rule in rules:
        newest = max([began, *(time for name, time in stored if matches(rule.metric, name))])
        silent = now - newest > 60 * (rule.threshold or 0)
        key = rule.id, ids[rule.metric]
        state = states.get(key, State(began=step))
        if silent == state.on:
            continue
        row = state_row(run_id, key, replace(state, on=silent, said_at=step))
        connection.execute(upsert.replace(connection, alert_states), [row])
        severity, words = (
            ("warning", _words(rule, newest, newest == began)) if silent else ("info", "over: a value has come")
        )
        said = line(run_id, attempt, step, now, severity, rule.name, rule.metric, words)
        connection.execute(insert(run_events), [said])


def _words(rule: Rule, newest: float, none_yet: bool) -> str:
    minutes = "a minute" if rule.threshold == 1 else f"{rule.threshold:g} minutes"
    clock = f"{datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M:%S} UTC"
    since = f"the attempt began at {clock}" if none_yet else f"the newest one came at {clock}"
    return f"no value for more than {minutes}: {since}"
