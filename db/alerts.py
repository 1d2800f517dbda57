"""Alerts: rules of users on any metric, looked at where events are stored.

A rule begins to speak of a metric of a run when its condition has held for `steps` values of whole steps in a row, and ends when it has
not held for as many: the same as the trainer's own alarms, and told in the same place, as lines of the run's history whose name is
`rule/NAME/METRIC`. Values are looked at in the transaction that stores them, so each counts exactly once, whatever dies and starts again;
a rule looks at what is stored from when it is made. A resume takes back what was said of steps that are trained again.

Nothing here speaks to a trainer: a rule neither delays nor stops one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, or_, select, update

from db import upsert
from db.batches import Place, Value
from db.reads.alarms import RULE, alarms_raised
from db.reads.metrics import decode
from db.rules import SILENT, Rule, check, matches
from db.statuses import ENDED
from db.tables import alert_rules, alert_states, experiments, metric_names, metrics, run_events, run_tags, runs
from trainer.errors import StoreError
from trainer.events import STEP_LEVEL

MOST_RULES = 200


@dataclass(frozen=True, slots=True)
class State:
    """What a rule has seen of one metric of one run; there is one as soon as its condition has held once."""

    began: int
    """The step in which it first held."""
    on: bool = False
    said_at: int | None = None
    """The step that said last that it begins or is over."""
    against: int = 0
    """Values in a row that speak against it being on or off as it is."""

    def taken(self, rule: Rule, step: int, value: float) -> tuple[State, bool]:
        """After one more value, and whether the rule begins or ends with it."""
        against = self.against + 1 if rule.holds(value) != self.on else 0
        if against < rule.steps:
            return replace(self, against=against), False
        return replace(self, on=not self.on, said_at=step, against=0), True


# --- what users do ---------------------------------------------------------------------------------------


def add(connection: Connection, rule: Rule, now: float) -> int:
    """Store a rule and return its id; it looks at what is stored from now on.

    Raises:
        StoreError: it is refused, in words.
    """
    check(rule)
    known = list(connection.execute(select(alert_rules.c.name)).scalars())
    if rule.name in known:
        raise StoreError(f"name: there is an alert {rule.name!r} already; give another name, or remove that one first")
    if len(known) >= MOST_RULES:
        raise StoreError(f"there are {len(known)} alerts already, and at most {MOST_RULES}; remove one first")
    names = ("name", "metric", "comparison", "threshold", "steps", "experiment", "tag")
    values = {name: getattr(rule, name) for name in names}
    statement = insert(alert_rules).values(**values, active=True, created_at=now).returning(alert_rules.c.id)
    return connection.execute(statement).scalar_one()


def switch(connection: Connection, name: str, active: bool, now: float) -> None:
    """Let a rule look at nothing, which ends what it has said, or at what is stored from now on.

    Raises:
        StoreError: there is no such rule.
    """
    rule_id = _find(connection, name)
    if not active:
        _end(connection, rule_id, name, "the alert was switched off", now)
    connection.execute(update(alert_rules).where(alert_rules.c.id == rule_id).values(active=active))


def remove(connection: Connection, name: str, now: float) -> None:
    """Remove a rule; what it has said is over, and stays in the history of the runs.

    Raises:
        StoreError: there is no such rule.
    """
    rule_id = _find(connection, name)
    _end(connection, rule_id, name, "the alert was removed", now)
    connection.execute(delete(alert_rules).where(alert_rules.c.id == rule_id))


def _find(connection: Connection, name: str) -> int:
    found = connection.execute(select(alert_rules.c.id).where(alert_rules.c.name == name)).scalar_one_or_none()
    if found is None:
        raise StoreError(f"there is no alert {name!r}; `mtprl alerts` lists those that there are")
    return found


def _end(connection: Connection, rule_id: int, name: str, why: str, now: float) -> None:
    """Say of every run where the rule is on that it is over, and forget what it has seen."""
    state = alert_states.c
    statement = (
        select(state.run_id, runs.c.attempt, state.said_at, metric_names.c.name)
        .join_from(alert_states, metric_names)
        .join(runs, runs.c.id == state.run_id)
        .where(state.rule_id == rule_id, state.on)
    )
    # At the step that began it: a resume that makes the beginning void makes the end void, too.
    lines = [
        line(run_id, attempt, said_at, now, "info", name, metric, f"over: {why}")
        for run_id, attempt, said_at, metric in connection.execute(statement)
    ]
    if lines:
        connection.execute(insert(run_events), lines)
    connection.execute(delete(alert_states).where(state.rule_id == rule_id))


# --- what storing does -----------------------------------------------------------------------------------

_OF_RUN = (
    select(alert_rules)
    .join_from(alert_rules, runs, runs.c.id == bindparam("run"))
    .join(experiments, experiments.c.id == runs.c.experiment_id)
    .where(
        alert_rules.c.active,
        or_(alert_rules.c.experiment.is_(None), alert_rules.c.experiment == experiments.c.name),
        or_(
            alert_rules.c.tag.is_(None),
            select(run_tags.c.tag).where(run_tags.c.run_id == runs.c.id, run_tags.c.tag == alert_rules.c.tag).exists(),
        ),
    )
    .order_by(alert_rules.c.id)
)
_STATES = select(alert_states).where(alert_states.c.run_id == bindparam("run"))

Key = tuple[int, int]
"""(rule, metric)"""


@dataclass(slots=True)
class _Seen:
    """What the rules make of a stretch of values."""

    states: dict[Key, State]
    changed: set[Key] = field(default_factory=set)
    lines: list[dict[str, Any]] = field(default_factory=list)


def observe(
    connection: Connection, run_id: int, series: Mapping[str, Mapping[Place, Value]], ids: Mapping[str, int]
) -> None:
    """Look at values that are being stored, in the same transaction.

    Args:
        series: values by metric and place.
        ids: of these metrics.
    """
    rules = [rule for rule in rules_of(connection, run_id) if rule.comparison != SILENT]
    looked_at = [(rule, name) for rule in rules for name in series if matches(rule.metric, name)]
    if not looked_at:
        return
    seen = _Seen(states_of(connection, run_id))
    for rule, name in looked_at:
        _follow(seen, run_id, rule, name, ids[name], series[name])
    if seen.changed:
        rows = [state_row(run_id, key, seen.states[key]) for key in sorted(seen.changed)]
        connection.execute(upsert.replace(connection, alert_states), rows)
    if seen.lines:
        connection.execute(insert(run_events), sorted(seen.lines, key=lambda line: line["step"]))


def rules_of(connection: Connection, run_id: int) -> list[Rule]:
    """The rules that look at a run."""
    return [_rule(row) for row in connection.execute(_OF_RUN, {"run": run_id}).mappings()]


def rewind(connection: Connection, run_id: int, last_step: int) -> None:
    """Take back what was seen of steps after `last_step`, before their values are removed."""
    states = states_of(connection, run_id)
    connection.execute(delete(alert_states).where(alert_states.c.run_id == run_id, alert_states.c.began > last_step))
    kept = {key: state for key, state in states.items() if state.began <= last_step}
    if not kept:
        return
    rules = {row["id"]: _rule(row) for row in connection.execute(select(alert_rules)).mappings()}
    names = dict(connection.execute(select(metric_names.c.id, metric_names.c.name)).tuples().all())
    said = defaultdict(list)
    for alarm in alarms_raised(connection, [run_id], most=None).get(run_id, ()):
        if alarm.step <= last_step:
            said[alarm.name].append(alarm)
    rows = []
    for (rule_id, metric_id), state in kept.items():
        rule = rules[rule_id]
        if state.said_at is not None and state.said_at > last_step:
            last = said[alarm_name(rule.name, names[metric_id])][-1:]
            on, said_at = (last[0].severity == "warning", last[0].step) if last else (False, None)
            state = replace(state, on=on, said_at=said_at)
        against = _against(connection, run_id, metric_id, rule, state, last_step)
        rows.append(state_row(run_id, (rule_id, metric_id), replace(state, against=against)))
    connection.execute(upsert.replace(connection, alert_states), rows)


def alarm_name(rule: str, metric: str) -> str:
    """What a line of the run's history calls it."""
    return f"{RULE}/{rule}/{metric}"


def _follow(seen: _Seen, run_id: int, rule: Rule, name: str, metric_id: int, values: Mapping[Place, Value]) -> None:
    key = (rule.id, metric_id)
    for step, mini_batch in sorted(values):
        if mini_batch != STEP_LEVEL:
            continue
        attempt, number, code, time = values[step, mini_batch]
        value = decode(number, code)
        state = seen.states.get(key)
        if state is None:
            if not rule.holds(value):
                continue
            state = State(began=step)
        after, said = state.taken(rule, step, value)
        if after != seen.states.get(key):
            seen.states[key] = after
            seen.changed.add(key)
        if said:
            severity, message = _words(rule, name, after, step, f"{value:.4g}")
            seen.lines.append(line(run_id, attempt, step, time, severity, rule.name, name, message))


def _words(rule: Rule, metric: str, state: State, step: int, value: str) -> tuple[str, str]:
    numbers = f"({value} in step {step:,})"
    lasting = f"{rule.steps:,} values in a row " if rule.steps > 1 else ""
    if state.on:
        return "warning", f"{metric} is {rule.compared} {lasting}{numbers}"
    return "info", f"over: {metric} is {lasting}not {rule.compared} any more {numbers}"


def _against(connection: Connection, run_id: int, metric_id: int, rule: Rule, state: State, last_step: int) -> int:
    """How many of the newest values up to `last_step`, speak against the state."""
    of_metric = (metrics.c.run_id == run_id, metrics.c.metric_id == metric_id, metrics.c.mini_batch == STEP_LEVEL)
    statement = (
        select(metrics.c.value, metrics.c.code)
        .where(*of_metric, metrics.c.step >= state.began, metrics.c.step <= last_step)
        .order_by(metrics.c.step.desc())
        .limit(rule.steps - 1)
    )
    count = 0
    for value, code in connection.execute(statement):
        if rule.holds(decode(value, code)) == state.on:
            break
        count += 1
    return count


def states_of(connection: Connection, run_id: int) -> dict[Key, State]:
    """What the rules have seen of a run."""
    rows = connection.execute(_STATES, {"run": run_id}).mappings()
    return {
        (row["rule_id"], row["metric_id"]): State(row["began"], row["on"], row["said_at"], row["against"])
        for row in rows
    }


def state_row(run_id: int, key: Key, state: State) -> dict[str, Any]:
    """A row of alert_states."""
    values = {"began": state.began, "on": state.on, "said_at": state.said_at, "against": state.against}
    return {"rule_id": key[0], "run_id": run_id, "metric_id": key[1], **values}


def line(
    run_id: int, attempt: int, step: int, time: float, severity: str, rule: str, metric: str, message: str
) -> dict[str, Any]:
    """A row of run_events."""
    words = f"{alarm_name(rule, metric)}: {message}"
    where = {"run_id": run_id, "attempt": attempt, "step": step, "time": time}
    return {**where, "type": "alarm", "severity": severity, "message": words}


def _rule(row: RowMapping) -> Rule:
    return Rule(**{name: row[name] for name in Rule.__dataclass_fields__})


# --- what pages read -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spoken:
    """A run that a rule is on in."""

    run_id: int
    run: str
    metric: str
    said_at: int


def listed(connection: Connection) -> list[Rule]:
    """All rules, the newest first."""
    statement = select(alert_rules).order_by(alert_rules.c.id.desc())
    return [_rule(row) for row in connection.execute(statement).mappings()]


def spoken(connection: Connection, most: int) -> tuple[dict[int, int], dict[int, list[Spoken]]]:
    """By rule: in how many runs that have not ended it is on now; and the newest of them, at most `most` runs and metrics."""
    state = alert_states.c
    counts = (
        select(state.rule_id, func.count(state.run_id.distinct()))
        .join(runs, runs.c.id == state.run_id)
        .where(state.on, runs.c.status.not_in(ENDED))
        .group_by(state.rule_id)
    )
    place = func.row_number().over(partition_by=state.rule_id, order_by=(state.run_id.desc(), state.metric_id))
    numbered = (
        select(*state, place.label("place"))
        .join(runs, runs.c.id == state.run_id)
        .where(state.on, runs.c.status.not_in(ENDED))
        .subquery()
        .c
    )
    statement = (
        select(numbered.rule_id, numbered.run_id, runs.c.name, metric_names.c.name, numbered.said_at)
        .join(runs, runs.c.id == numbered.run_id)
        .join(metric_names, metric_names.c.id == numbered.metric_id)
        .where(numbered.place <= most)
        .order_by(numbered.rule_id, numbered.place)
    )
    found: dict[int, list[Spoken]] = defaultdict(list)
    for rule_id, *one in connection.execute(statement):
        found[rule_id].append(Spoken(*one))
    return dict(connection.execute(counts).tuples().all()), dict(found)


def known_metrics(connection: Connection, most: int = 1000) -> Sequence[str]:
    """Names of metrics that some run has logged; what a rule on silence calls a pattern by is none."""
    name = metric_names.c.name
    names = select(name).where(name.not_like("%*%"), name.not_like("%?%"))
    return connection.execute(names.order_by(metric_names.c.name).limit(most)).scalars().all()
