"""What a reader chooses on Compare, all of it in the address: which runs, which lines, which axis, which smoothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from backend import words
from backend.comparison import axes, groups
from backend.comparison.groups import Group
from backend.comparison.smoothing import Kind, Smoothing
from dashboard import store
from db import reads
from db.reads import RunDetail, RunFilters
from db.statuses import Kind as RunKind
from db.statuses import Status

MOST = 50
"""Runs that are compared."""
LISTED = 500
_ALL, _ANY_TAG = "All experiments", "Any tag"
_RUNS = "compared"
_SMOOTHINGS: dict[str, Kind] = {"None": "none", "Centred mean": "mean", "Moving average": "ema"}


@dataclass(frozen=True)
class Choices:
    """How the chosen runs are drawn."""

    run_ids: Sequence[int]
    by: str
    setting: str
    axis: str
    smoothing: Smoothing

    def groups(self) -> list[Group]:
        """The lines, of the runs as they are now."""
        with store.reading() as connection:
            runs = [reads.get_run(connection, run_id) for run_id in self.run_ids]
        return groups.grouped(runs, self.by, self.setting)


def runs() -> list[RunDetail] | None:
    """The runs that the reader chose, or else those of the address, which follows the choice; None where there is no run at all."""
    asked = [
        int(part)
        for part in ",".join(st.query_params.get_all("runs")).split(",")
        if part.isascii() and part.isdigit() and len(part) < 10
    ]
    with store.reading() as connection:
        experiments = [row.name for row in reads.experiments(connection)]
        tags = list(reads.tags(connection))
        anything = reads.matching_runs(connection, limit=1, kind=RunKind.TRAINING)
    if not anything:
        return None
    first, second, button = st.columns([3, 3, 2], vertical_alignment="bottom")
    experiment = first.selectbox("Offer runs of", [_ALL, *experiments], key="of_experiment", bind="query-params")
    tag = second.selectbox("Tagged", [_ANY_TAG, *tags], key="with_tag", bind="query-params", disabled=not tags)
    filters: RunFilters = {"kind": RunKind.TRAINING}
    if experiment != _ALL:
        filters["experiment"] = experiment
    if tag != _ANY_TAG:
        filters["tags"] = [tag]
    filters["archived"] = None if _archived(filters) else False
    kept = list(dict.fromkeys([*asked, *st.session_state.get(_RUNS, [])]))
    with store.reading() as connection:
        offered = {
            run_id: (name, status) for run_id, name, status in reads.matching_runs(connection, limit=LISTED, **filters)
        }
        more = reads.matching_runs(connection, limit=LISTED, kind=RunKind.TRAINING, ids=kept) if kept else []
    names = offered | {run_id: (name, status) for run_id, name, status in more}
    if _RUNS not in st.session_state:
        _take_from_address(asked, names)
    if button.button(
        f"Choose all {len(offered)}" if len(offered) <= MOST else f"Choose the newest {MOST}",
        icon=":material/done_all:",
        width="stretch",
        disabled=not offered,
        help="The runs of this experiment and tag, in the place of those that are chosen now.",
    ):
        st.session_state[_RUNS] = list(offered)[:MOST]
    ids = st.multiselect(
        "Runs",
        list(names),
        key=_RUNS,
        max_selections=MOST,
        format_func=lambda run_id: (
            f"{run_id} · {names[run_id][0]} ({names[run_id][1]})" if run_id in names else str(run_id)
        ),
        placeholder="Choose runs: type a number or a part of a name",
    )
    if ids != asked:
        st.query_params["runs"] = ",".join(map(str, ids))
    with store.reading() as connection:
        return [reads.get_run(connection, run_id) for run_id in ids]


def _archived(filters: RunFilters) -> bool:
    """Whether archived runs are offered; where there are none, nothing is asked."""
    with store.reading() as connection:
        put_away = reads.count_runs(connection, **RunFilters({**filters, "archived": True}))
    if not put_away:
        return False
    said, switch = st.columns([5, 2], vertical_alignment="center")
    offered = switch.toggle("Offer archived runs", key="with_archived", bind="query-params")
    said.caption(
        f"{words.plural(put_away, 'archived run')} among those offered."
        if offered
        else f"{words.archived_left_out(put_away)} of what is offered."
    )
    return offered


def how(chosen: Sequence[RunDetail]) -> Choices:
    """Lines, axis and smoothing."""
    lines, axis_place, smooth_place = st.columns([3, 2.4, 3.4])
    by = lines.selectbox(
        "Lines",
        groups.GROUPINGS,
        key="lines",
        bind="query-params",
        help="Each run: a line per run. Seeds together: runs that differ in their seed alone are one line, their mean, with its 95 % interval. "
        "The others put runs together that may differ in more.",
    )
    setting = ""
    if by == groups.SETTING:
        differing = groups.settings_that_differ(chosen)
        if differing:
            setting = lines.selectbox("Setting", differing, key="setting", bind="query-params")
        else:
            lines.caption("These runs differ in no setting but their seed: all are one line.")
            by = groups.SEEDS
    axis = axis_place.segmented_control(
        "Horizontal axis", axes.AXES, default=axes.STEPS, key="axis", bind="query-params", required=True
    )
    named = smooth_place.segmented_control(
        "Smoothing", list(_SMOOTHINGS), default="None", key="smoothing", bind="query-params", required=True
    )
    kind = _SMOOTHINGS[named]
    smoothing = Smoothing(kind)
    if kind == "mean":
        window = smooth_place.slider("Over so many steps", 3, 501, 9, 2, key="window", bind="query-params")
        smoothing = Smoothing(kind, window=int(window))
    elif kind == "ema":
        weight = smooth_place.slider(
            "Weight of what came before", 0.0, 0.99, 0.9, 0.01, key="weight", bind="query-params"
        )
        smoothing = Smoothing(kind, weight=float(weight))
    return Choices([run.id for run in chosen], by, setting, axis, smoothing)


def _take_from_address(asked: Sequence[int], names: dict[int, tuple[str, Status]]) -> None:
    found = [run_id for run_id in dict.fromkeys(asked) if run_id in names]
    st.session_state[_RUNS] = found[:MOST]
    missing = [run_id for run_id in asked if run_id not in names]
    if missing:
        st.warning(f"Left out, because there is no such training: {_some(missing)}.", icon=":material/warning:")
    if len(found) > MOST:
        st.warning(
            f"Left out, because at most {MOST} runs are compared: {_some(found[MOST:])}.", icon=":material/warning:"
        )


def _some(ids: Sequence[int]) -> str:
    rest = len(ids) - MOST
    return ", ".join(map(str, ids[:MOST])) + (f" and {rest:,} more" if rest > 0 else "")
