"""The boards of now, made anew only when a run has finished since."""

from __future__ import annotations

import streamlit as st

from backend.leaderboard import Board, leaderboard
from backend.settings import settings
from dashboard import store
from db import reads


def live_boards(experiment: str | None, archived: bool = False) -> list[Board]:
    """Those of one experiment, or of all; with archived runs or without."""
    with store.reading() as connection:
        mark = reads.finished_mark(connection)
    return _made(settings().database_url, experiment, archived, mark)


@st.cache_data(show_spinner=False, max_entries=8)
def _made(address: str, experiment: str | None, archived: bool, mark: tuple[float, ...]) -> list[Board]:
    """The address of the store and the mark of what has finished are what tells one answer from another."""
    with store.reading() as connection:
        return leaderboard(connection, experiment, archived=archived)
