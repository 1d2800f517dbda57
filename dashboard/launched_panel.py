"""What came of a launch: links to the new runs, and what a user should know of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from backend import words
from dashboard import navigation

_MOST_LINKS = 24
"""Runs that are linked one by one."""


def draw(outcome: Mapping[str, Any], experiment: str) -> None:
    """Links to the runs that were made, if any were, and what is to be said of them."""
    ids = outcome.get("ids", ())
    if not ids:
        return
    if outcome["notice"]:
        st.warning(outcome["notice"], icon=":material/power_off:")
    for sentence in outcome["advice"]:
        st.warning(words.literal(sentence), icon=":material/warning:")
    st.success(f"{words.plural(len(ids), 'run')} submitted.", icon=":material/check_circle:")
    if len(ids) == 1:
        st.page_link(
            navigation.run(),
            label=f"Watch run {ids[0]}",
            query_params={"run": str(ids[0])},
            icon=":material/show_chart:",
        )
    else:
        st.page_link(
            navigation.runs(),
            label=f"Watch the {len(ids)} runs",
            query_params={"experiment": experiment},
            icon=":material/table_rows:",
        )
        st.html(f"<div>{_links(ids)}</div>")
        st.page_link(
            navigation.compare(),
            label="Compare them",
            query_params={"runs": ",".join(map(str, ids))},
            icon=":material/stacked_line_chart:",
        )


def _links(ids: Sequence[int]) -> str:
    """The runs in a line; of very many the first, because the list has all."""
    shown = [
        f'<a href="run?run={run_id}" target="_self" aria-label="Watch run {run_id}">{run_id}</a>'
        for run_id in ids[:_MOST_LINKS]
    ]
    return ", ".join(shown) + (" and others" if len(ids) > _MOST_LINKS else "")
