"""Alerts: rules on any metric, where they are on, and making another one."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from backend import alerts as service
from backend import words
from dashboard import markup, store
from db import alerts, reads
from db.alerts import Spoken
from db.rules import LONGEST_NAME, MOST_STEPS, NOT_FINITE, SILENT, Rule
from trainer.errors import MtprlError, StoreError

_TICK = 2.0
_NAMED = 4
_ALL, _ANY = "All experiments", "Any or none"
_COLUMNS = (
    markup.Column("Alert"),
    markup.Column("Of"),
    markup.Column("On in"),
    markup.Column("Made", number=True, wide=True),
)
_WORDS = {"above": "is above", "at-least": "is at least", "below": "is below", "at-most": "is at most"} | {
    NOT_FINITE: "is not finite",
    SILENT: "has no new value for minutes:",
}
_CHOSEN = "alerts:chosen"
_MADE = "alerts:made"
"""How many were made here, and what was said of the last one."""


def main() -> None:
    """Draw the page."""
    st.title("Alerts", anchor=False)
    st.caption(
        "An alert is shown on the page of a run and in the list of runs, as the trainer's own alarms are. It looks at the values of whole "
        "steps from when it is made, changes nothing of the training, and ends by itself, or with the run: its events keep it."
    )
    _table()
    with store.reading() as connection:
        rules = alerts.listed(connection)
        metrics = list(alerts.known_metrics(connection))
        experiments = [one.name for one in reads.experiments(connection)]
        tags = list(reads.tags(connection))
    if rules:
        _change(rules)
    _new(metrics, experiments, tags)


@st.fragment(run_every=_TICK)
def _table() -> None:
    now = time.time()
    with store.reading() as connection:
        rules, (counts, spoken) = alerts.listed(connection), alerts.spoken(connection, _NAMED)
    if not rules:
        st.info(
            "No alert yet. Make one below, such as policy/entropy below 0.05 for 3 steps.",
            icon=":material/notifications_none:",
        )
        return
    rows = [_cells(rule, counts.get(rule.id, 0), spoken.get(rule.id, []), now) for rule in rules]
    st.html(markup.table(_COLUMNS, rows, label="Alerts") + markup.left_out(_COLUMNS))


def _cells(rule: Rule, count: int, spoken: list[Spoken], now: float) -> list[str]:
    runs = "".join(
        markup.link(
            f"{one.run_id} · {one.run}", f"run?run={one.run_id}", sub=f"{one.metric}, since step {one.said_at:,}"
        )
        for one in spoken
    )
    more = f'<div class="m-sub">{words.plural(count, "run")} in all</div>' if count > len(spoken) else ""
    return [
        markup.text(rule.name, sub=rule.condition),
        markup.text(rule.scope),
        runs + more if count else markup.text("no run" if rule.active else "switched off"),
        words.age(rule.created_at, now),
    ]


def _change(rules: list[Rule]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by_name = {rule.name: rule for rule in rules}
        name = st.selectbox("Change an alert", list(by_name), key=_CHOSEN, width=320)
        active = by_name[name].active
        st.button(
            "Switch off" if active else "Switch on",
            icon=":material/notifications_off:" if active else ":material/notifications_active:",
            on_click=_do,
            args=(lambda: service.switch(name, not active),),
            help="It is over where it is on, and looks at nothing."
            if active
            else "It looks at what comes from now on.",
        )
        st.button(
            "Remove",
            icon=":material/delete:",
            on_click=_do,
            args=(lambda: service.remove(name),),
            help="What it has said stays in the events of the runs.",
        )


def _new(metrics: list[str], experiments: list[str], tags: list[str]) -> None:
    st.header("A new alert", anchor=False)
    # A made one leaves an empty form with fields and a button of other keys, so that a click that comes late makes nothing twice.
    made, said = st.session_state.get(_MADE, (0, ""))
    with st.form(f"alert:{made}", border=True):
        first, second, third, fourth = st.columns([3, 2, 1.5, 1.5], vertical_alignment="bottom")
        metric = first.selectbox(
            "Metric",
            metrics,
            index=None,
            key=f"alert:{made}:metric",  # runs add metrics meanwhile; with a key, what is typed stays
            accept_new_options=True,
            placeholder="Choose or type a name",
            help="Or a pattern: mtp/* is every metric that begins with mtp/. Each metric is looked at by itself. Of what is measured per mini-batch its mean over the step is looked at. With minutes, any value that matches counts: * is any value at all.",
        )
        comparison = second.selectbox("Comparison", list(_WORDS), format_func=_WORDS.__getitem__)
        threshold = third.text_input(
            "Threshold", placeholder="0.1", help="A number, or minutes; none where it is about not being finite."
        )
        steps = fourth.number_input(
            "Steps in a row", min_value=1, max_value=MOST_STEPS, value=1, help="It ends after as many, too."
        )
        first, second, third, last = st.columns([3, 2, 1.5, 1.5], vertical_alignment="bottom")
        name = first.text_input("Name", max_chars=LONGEST_NAME, placeholder="KL high")
        experiment = second.selectbox("Of", [_ALL, *experiments], key=f"alert:{made}:of")
        tag = third.selectbox("Tagged", [_ANY, *tags], key=f"alert:{made}:tag")
        asked = last.form_submit_button("Make the alert", type="primary", width="stretch")
        if asked and (name or metric or threshold or not said):
            st.session_state[_MADE], said = (made, ""), ""
            try:
                rule = Rule(
                    name=name.strip(),
                    metric=(metric or "").strip(),
                    comparison=comparison,
                    threshold=_number(threshold),
                    steps=int(steps),
                    experiment=None if experiment == _ALL else experiment,
                    tag=None if tag == _ANY else tag,
                )
                st.session_state[_MADE] = (made + 1, service.add(rule))
            except MtprlError as error:
                st.error(str(error), icon=":material/error:")
            else:
                st.rerun()
    if said:
        st.success(words.literal(said), icon=":material/check:")


def _number(text: str) -> float | None:
    if not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise StoreError(f"threshold: {text!r} is no number; give one such as 0.1") from None


def _do(action: Callable[[], str]) -> None:
    """Do it and say what happens now, in the place of what was said of the last one made."""
    st.session_state[_MADE] = (st.session_state.get(_MADE, (0, ""))[0], "")
    try:
        st.toast(action(), icon=":material/check:")
    except MtprlError as error:
        st.toast(str(error), icon=":material/error:")


main()
