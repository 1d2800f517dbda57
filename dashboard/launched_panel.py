"""What came of a launch: links to the new runs, and what a user should know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from backend import words
from dashboard import navigation

_MOST_LINKS = 6
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
    for run_id in ids[:_MOST_LINKS]:
        st.page_link(
            navigation.run(),
            label=f"Watch run {run_id}",
            query_params={"run": str(run_id)},
            icon=":material/show_chart:",
        )
    if len(ids) > _MOST_LINKS:
        st.page_link(
            navigation.runs(),
            label=f"and {len(ids) - _MOST_LINKS} more in the list",
            query_params={"experiment": experiment},
            icon=":material/table_rows:",
        )
    if len(ids) > 1:
        st.page_link(
            navigation.compare(),
            label="Compare them",
            query_params={"runs": ",".join(map(str, ids))},
            icon=":material/stacked_line_chart:",
        )
