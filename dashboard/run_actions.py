"""What the page of a run offers to do: stop it, let it go on, make another one from it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from backend import again
from backend import runs as service
from dashboard import navigation, words
from db.reads import RunDetail
from db.statuses import ENDED, Status
from trainer.errors import MtprlError

_STOP, _RESUME, _STEPS = "stop", "resume", "resume:steps"


def draw(run: RunDetail) -> None:
    """The buttons and links that fit the run's status."""
    if run.status not in ENDED:
        _stop(run)
        return
    _resume(run)
    st.page_link(
        navigation.new_run(),
        label="Clone",
        query_params={navigation.CLONE_OF: str(run.id)},
        icon=":material/content_copy:",
        help="The form of a new run, filled in as this one was.",
    )
    if run.regime == "occ" and run.coefficient is not None:
        st.page_link(
            navigation.new_run(),
            label="Matched control",
            query_params={navigation.CONTROL_OF: str(run.id)},
            icon=":material/balance:",
            help="A new run with regime policy at this run's mean coefficient, everything else equal: whether it matters when the coefficient is large, or only how large it is.",
        )


def _stop(run: RunDetail) -> None:
    stopping = run.status == Status.STOPPING
    with st.popover("Stop", icon=":material/stop_circle:", disabled=stopping, key=_STOP, on_change="rerun"):
        if run.status == Status.QUEUED:
            st.markdown("It leaves the queue and does not start.")
        else:
            st.markdown(
                "It writes a checkpoint after the step it is in, then ends. What it has learned and logged is kept."
            )
        st.button(
            f"Stop run {run.id}",
            type="primary",
            on_click=_do,
            args=(_STOP, "stop_circle", lambda: service.stop(run.id)),
        )


def _resume(run: RunDetail) -> None:
    finished = run.status == Status.FINISHED
    label = "Train longer" if finished else "Resume"
    with st.popover(label, icon=":material/play_circle:", key=_RESUME, on_change="rerun"):
        st.markdown(
            f"It goes on from its newest checkpoint, as attempt {run.attempt + 1} of the same run."
            if run.step
            else "It has made no step, and begins again as the same run."
        )
        least = run.step + 1 if finished else max(run.step, 1)
        steps = st.number_input(
            "To step",
            min_value=least,
            max_value=2**31 - 1,
            value=2 * run.total_steps if finished else max(run.total_steps, least),
            key=_STEPS,
            help=f"It has made {words.plural(run.step, 'step')} of {run.total_steps}.",
        )
        st.button(
            f"Resume run {run.id}",
            type="primary",
            on_click=_do,
            args=(
                _RESUME,
                "play_circle",
                lambda: again.resume(run.id, [f"steps={st.session_state.get(_STEPS, steps)}"]),
            ),
        )


def _do(popover: str, icon: str, action: Callable[[], str]) -> None:
    """Do it, close the popover, and say what happens now."""
    st.session_state[popover] = False
    try:
        st.toast(action(), icon=f":material/{icon}:")
    except MtprlError as error:
        st.toast(str(error), icon=":material/error:")
