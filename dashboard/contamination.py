"""The check for problems of the benchmarks among the training data, beside the button that launches."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

import streamlit as st

from backend import settings, words
from backend.contamination import Report, report
from dashboard import markup
from trainer.config import RunConfig, parse, resolve
from trainer.errors import MtprlError
from trainer.tasks.contamination import Match, Overlap

_FOUND = "form:contamination"
_HEIGHT = 420
"""Pixels of a list of pairs."""
_MOST_PAIRS = 50
"""Pairs of one benchmark that are drawn."""


@dataclass(frozen=True)
class _Found:
    """What the last check found, and of which data."""

    of: str
    report: Report | None
    error: str = ""


def draw(config: RunConfig) -> None:
    """The button, and below it what the check of this data found, until the data is another."""
    st.button(
        "Check contamination",
        icon=":material/compare:",
        width="stretch",
        on_click=_check,
        args=(config,),
        help="Compares the training data with the run's benchmarks and, where their files are at hand, with the six: word for word, and by "
        "runs of five words.",
    )
    found = st.session_state.get(_FOUND)
    if found is None or found.of != _data(config):
        return
    if found.report is None:
        st.error(words.literal(found.error), icon=":material/error:")
        return
    for warning in found.report.warnings:
        st.warning(words.literal(warning), icon=":material/warning:")
    draw_report(found.report)


def _check(config: RunConfig) -> None:
    try:
        filled = parse(resolve(config.model_dump(mode="json"), variables=settings.variables()))
        st.session_state[_FOUND] = _Found(_data(config), report(filled))
    except MtprlError as error:
        st.session_state[_FOUND] = _Found(_data(config), None, str(error))


def _data(config: RunConfig) -> str:
    """What the check depends on."""
    return json.dumps([config.data.model_dump(), [item.model_dump() for item in config.evaluation.benchmarks]])


def draw_report(found: Report) -> None:
    """What was compared, how much is the same or near, and the pairs."""
    compared = f"{words.plural(found.problems, 'training problem')} compared"
    if not found.overlaps:
        st.info(
            f"{compared} with nothing: the run has no benchmarks, and the six are not at hand (MTPRL_BENCHMARKS_DIR)."
        )
        return
    if found.line:
        st.warning(words.literal(f"{compared}: {found.line}."), icon=":material/warning:")
    else:
        st.success(f"{compared}: none of them is a problem to evaluate on.", icon=":material/check_circle:")
    columns = [markup.Column("Benchmark"), *(markup.Column(name, number=True) for name in ("Problems", "Same", "Near"))]
    rows = [
        [markup.text(part.benchmark), f"{part.problems:,}", f"{part.exact:,}", f"{part.near:,}"]
        for part in found.overlaps
    ]
    st.html(markup.table(columns, rows, label="Problems of the benchmarks in the training data"))
    for overlap in found.overlaps:
        if overlap.matches:
            _draw_pairs(overlap)


def _draw_pairs(overlap: Overlap) -> None:
    matches = sorted(overlap.matches, key=lambda match: -match.score)
    # Of its own height, because the panel stays in sight while the form is scrolled.
    with (
        st.expander(f"{overlap.benchmark}: {words.plural(len(matches), 'problem')}"),
        st.container(height=_HEIGHT, border=False),
    ):
        for match in matches[:_MOST_PAIRS]:
            st.html(_pair(match))
        if len(matches) > _MOST_PAIRS:
            st.caption(f"and {len(matches) - _MOST_PAIRS} more: `mtprl contamination` with `--json` names them all")


def _pair(match: Match) -> str:
    place = f", {match.training.place}" if match.training.place else ""
    training = f"training problem {match.training.id}{place}"
    problem = f'<div class="m-box">{markup.verbatim(match.problem.problem)}</div>'
    if match.exact:
        return markup.text(match.problem.id, sub=f"the same as {training}") + problem
    other = (
        f'<div class="m-sub">{escape(training)}</div><div class="m-box">{markup.verbatim(match.training.problem)}</div>'
    )
    return markup.text(match.problem.id, sub=f"near, {match.score:.2f}") + problem + other
