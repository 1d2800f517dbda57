"""The checks before a launch, one line each: a word, a sign and a colour."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st
from sqlalchemy.exc import SQLAlchemyError

from backend import palette, settings, store
from backend.planning.check import Check
from backend.planning.checks import checks
from dashboard import markup
from trainer.config import RunConfig, parse, resolve
from trainer.errors import MtprlError

MOST_COMPARED = 2**20
"""Bytes of training data that the page compares with the benchmarks by itself: half a second's worth."""
_SIGNS = {"good": ("✓", "running", "good"), "note": ("!", "stopping", "look"), "bad": ("✗", "failed", "no")}
"""By level: the sign, the status whose colour it has, and the word."""


def found(configs: Sequence[RunConfig], seeds: int) -> list[Check]:
    """What the checks say now; nothing where a value names a variable that is not set, which launching says."""
    try:
        filled = [parse(resolve(one.model_dump(mode="json"), variables=settings.variables())) for one in configs]
        try:
            if store.is_ready():
                with store.reading() as connection:
                    return checks(filled, seeds, connection, MOST_COMPARED)
        except SQLAlchemyError:
            pass
        return checks(filled, seeds, None, MOST_COMPARED)
    except MtprlError as error:
        return [Check("Settings", "bad", str(error))]


def draw(lines: Sequence[Check]) -> None:
    """The lines, with how many need a look."""
    st.markdown("**Before the launch**")
    st.html(f'<div role="list" aria-label="Checks before the launch">{"".join(map(_line, lines))}</div>')


def _line(check: Check) -> str:
    sign, status, word = _SIGNS[check.level]
    colour = palette.status_colour(status)
    return (
        f'<div role="listitem" style="display:grid;grid-template-columns:8.4rem 1fr;gap:0 0.7rem;padding:0.28rem 0">'
        f'<div><b style="color:{colour}" aria-label="{word}">{sign}</b> <b>{escape(check.name)}</b></div>'
        f'<div style="overflow-wrap:anywhere">{markup.with_code(check.words)}</div></div>'
    )
