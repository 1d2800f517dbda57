"""The pages and their addresses; the only place that knows both, so that a link and the menu cannot disagree.

The pages' folder must not be called `pages`: Streamlit would run a file of that name by itself, without `app.py`, for the first
visitor after a start.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_PAGES = Path(__file__).parent / "views"

CONTROL_OF = "control_of"
"""Address of the page of a new run, `/new?control_of=RUN`: begin with that run's matched control."""

CLONE_OF = "clone_of"
"""`/new?clone_of=RUN`: begin with that run's configuration."""

WARM = "warm"
"""`/new?warm=MODEL`: begin with a training of that registered model's heads alone."""


def runs() -> StreamlitPage:
    """What is running, how far and how it goes."""
    return st.Page(_PAGES / "runs.py", title="Runs", icon=":material/table_rows:", default=True)


def new_run() -> StreamlitPage:
    """Configure and launch."""
    return st.Page(_PAGES / "new_run.py", title="New run", icon=":material/add_circle:", url_path="new")


def run() -> StreamlitPage:
    """One run, at `/run?run=ID`. Not in the menu: a run is reached from a list or a shared address."""
    return st.Page(_PAGES / "run.py", title="Run", icon=":material/show_chart:", url_path="run", visibility="hidden")


def models() -> StreamlitPage:
    """Models by name, at `/models?name=NAME`."""
    return st.Page(_PAGES / "models.py", title="Models", icon=":material/network_node:", url_path="models")


def data() -> StreamlitPage:
    """Data sets by name, at `/data?name=NAME`."""
    return st.Page(_PAGES / "data.py", title="Data", icon=":material/dataset:", url_path="data")


def compare() -> StreamlitPage:
    """Several runs on one axis, at `/compare?runs=1,2`."""
    return st.Page(_PAGES / "compare.py", title="Compare", icon=":material/stacked_line_chart:", url_path="compare")


def leaderboard() -> StreamlitPage:
    """Regimes and algorithms on held-out problems."""
    return st.Page(
        _PAGES / "leaderboard.py", title="Leaderboard", icon=":material/leaderboard:", url_path="leaderboard"
    )


def changes() -> StreamlitPage:
    """What stands behind a difference of the leaderboard, where a link leads to it."""
    return st.Page(
        _PAGES / "changes.py",
        title="What changed",
        icon=":material/difference:",
        url_path="changes",
        visibility="hidden",
    )


def machines() -> StreamlitPage:
    """Workers, devices and what waits for them."""
    return st.Page(_PAGES / "machines.py", title="Machines", icon=":material/dns:", url_path="machines")


def alerts() -> StreamlitPage:
    """Rules on metrics, and where they are on."""
    return st.Page(_PAGES / "alerts.py", title="Alerts", icon=":material/notifications:", url_path="alerts")
