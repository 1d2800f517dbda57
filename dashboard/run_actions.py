"""What the page of a run offers to do: stop it, let it go on, make another one from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from backend import again, evaluations, words
from backend import runs as service
from dashboard import navigation
from db.reads import RunDetail
from db.statuses import ENDED, Kind, Status
from trainer.config.evaluating import PAPER_SAMPLES
from trainer.errors import MtprlError
from trainer.evaluation import suites
from trainer.folder import checkpoints
from trainer.tasks.named import KNOWN

_STOP, _RESUME, _STEPS, _EVALUATE = "stop", "resume", "resume:steps", "evaluate"
_EVALUATED_STEP = "evaluate:step"


def draw(run: RunDetail) -> None:
    """The buttons and links that fit the run's status."""
    if run.kind == Kind.TRAINING and (steps := checkpoints(Path(run.folder))):
        _evaluate(run, sorted(steps, reverse=True))
    if run.status not in ENDED:
        _stop(run)
    elif run.kind == Kind.TRAINING:
        _resume(run)
    elif run.status != Status.FINISHED:
        _resume_evaluation(run)
    if run.kind == Kind.TRAINING:
        _make_another(run)


def _make_another(run: RunDetail) -> None:
    """Links to the form of a new run. A run that still trains can be cloned as well as one that has ended."""
    st.page_link(
        navigation.new_run(),
        label="Clone",
        query_params={navigation.CLONE_OF: str(run.id)},
        icon=":material/content_copy:",
        help="The form of a new run, filled in as this one was.",
    )
    if run.status in ENDED and run.regime == "occ" and run.coefficient is not None:
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
        elif run.kind == Kind.EVALUATION:
            st.markdown(
                "It ends after the problems that it is answering. What is answered is kept, and need not be answered again."
            )
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


def _resume_evaluation(run: RunDetail) -> None:
    with st.popover("Resume", icon=":material/play_circle:", key=_RESUME, on_change="rerun"):
        st.markdown(
            f"{run.step:,} of {words.plural(run.total_steps, 'problem')} are answered; it goes on with the others."
        )
        st.button(
            f"Resume run {run.id}",
            type="primary",
            on_click=_do,
            args=(_RESUME, "play_circle", lambda: again.resume(run.id)),
        )


def _evaluate(run: RunDetail, steps: list[int]) -> None:
    with st.popover("Evaluate", icon=":material/quiz:", key=_EVALUATE, on_change="rerun"):
        st.markdown("Puts a checkpoint to a suite of problems, as a run of its own in the queue.")
        step = st.selectbox("Checkpoint of step", steps, key=_EVALUATED_STEP)
        suite = st.selectbox(
            "Suite",
            [suites.SIX, suites.DEMO, *KNOWN],
            index=int((run.preset or "").startswith("demo/")),
            accept_new_options=True,
            key=f"{_EVALUATE}:suite",
            help="six: AIME24, AIME25, AMC23, MATH-500, Minerva and OlympiadBench. demo: the demo's held-out additions. Or type the path of a JSONL file, or several names with commas.",
        )
        samples = st.number_input(
            "Samples per problem",
            min_value=1,
            max_value=10_000,
            value=PAPER_SAMPLES,
            key=f"{_EVALUATE}:samples",
            help="The k of avg@k.",
        )
        limit = st.number_input(
            "Problems of each benchmark",
            min_value=1,
            value=None,
            placeholder="all",
            key=f"{_EVALUATE}:limit",
            help="Only so many, the first: a quick look, on a board of its own.",
        )
        engine = st.selectbox(
            "Sampled by",
            list(words.ENGINES),
            index=list(words.ENGINES).index(_engine_of(run)),
            format_func=words.ENGINES.__getitem__,
            key=f"{_EVALUATE}:engine",
            help="As the run samples, unless another is chosen; vLLM has to be installed beside the workers.",
        )
        st.caption(
            "Temperature, top-p, top-k, what ends a response and how long it may be are as in this run's own evaluations; `mtprl evaluate` takes others."
        )
        st.button(
            "Queue the evaluation",
            type="primary",
            on_click=_do,
            args=(_EVALUATE, "quiz", lambda: _queue_evaluation(run, step, suite, samples, engine, limit)),
        )


def open_evaluate(step: int) -> None:
    """Open the popover of an evaluation with the checkpoint of this step chosen."""
    st.session_state[_EVALUATE] = True
    st.session_state[_EVALUATED_STEP] = step


def _engine_of(run: RunDetail) -> str:
    """What the run samples with."""
    named = run.config.get("rollout", {}).get("engine")
    return named if named in words.ENGINES else "builtin"


def _queue_evaluation(run: RunDetail, step: int, suite: str, samples: int, engine: str, limit: int | None) -> str:
    asked = {"samples": samples, "engine": engine}
    prepared = evaluations.prepare(evaluations.checkpoint(run, step), suite, asked, limit=limit)
    queued = evaluations.queue(prepared)
    said = (
        f"run {queued} is queued: {words.plural(prepared.problems, 'problem')}, {words.plural(samples, 'sample')} each"
    )
    return ". ".join([said, *prepared.warnings])


def _do(popover: str, icon: str, action: Callable[[], str]) -> None:
    """Do it, close the popover, and say what happens now."""
    st.session_state[popover] = False
    try:
        st.toast(action(), icon=f":material/{icon}:")
    except MtprlError as error:
        st.toast(str(error), icon=":material/error:")
