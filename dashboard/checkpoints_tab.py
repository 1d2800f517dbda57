"""The tab of the run page that shows what is kept of the policy: each checkpoint, whether it is whole, and what can be done with it."""

from __future__ import annotations

import shlex
from pathlib import Path

import streamlit as st

from backend import checkpoints, serving, words
from backend.checkpoints import Listed
from dashboard import markup, run_actions
from db.reads import RunDetail

LARGEST_DOWNLOAD = 64 * 2**20
"""Bytes that the browser is offered; a download passes through this program's memory."""
_SERVED = "served"
"""The folder that it is written to, in the lines."""
_WRITTEN = "Written in the layout and dtypes that the model came in, and served with vLLM, this program installed beside it (docs/engines.md)"
_DRAFTS = f"{_WRITTEN}; the MTP heads draft."
_NO_DRAFTS = f"{_WRITTEN}; vLLM has no class for heads that were attached here, and leaves them out."
_LOAD = "Loads with `transformers`, which serves the policy alone; that needs `pip install 'transformers[serving]'`."
_LOAD_OURS = "`transformers` has no class for this model: it loads the policy where this program is installed, and `transformers serve` does not."


def draw(run: RunDetail) -> None:
    """Every checkpoint in the run's folder, the newest first."""
    found = checkpoints.listed(Path(run.folder), run.config)
    if not found:
        every = run.config.get("checkpoint", {}).get("every", "?")
        st.info(
            f"No checkpoint lies in `{run.folder}` on this machine. A run saves one every {every} steps and after the last one.",
            icon=":material/hourglass_empty:",
        )
        return
    keep = run.config.get("checkpoint", {}).get("keep", "?")
    st.caption(
        f"The {keep} newest are kept, and the best by held-out accuracy. Whole or broken is told by names and sizes; the trainer itself reads every "
        "byte before it goes on from one."
    )
    for one in found:
        with st.container(border=True):
            _card(run, one)


def _card(run: RunDetail, one: Listed) -> None:
    marks = [name for name, is_so in (("newest", one.newest), ("best", one.best)) if is_so]
    facts = [
        f"accuracy {words.percent(one.accuracy)}" if one.accuracy is not None else "not evaluated at this step",
        f"{words.size(one.size)}, of it model and heads {words.size(one.model_size)}",
    ]
    said = "whole" if one.flaw is None else f"broken: {one.flaw}"
    st.html(
        f'<div class="m-head"><b>Step {one.step:,}</b>'
        + (f"<span>{markup.text(' and '.join(marks))}</span>" if marks else "")
        + f"<span>{markup.event(said, 'info' if one.flaw is None else 'error')}</span>"
        + f'<span class="m-sub">{markup.text(" · ".join(facts))}</span></div>'
    )
    if one.flaw is not None:
        st.caption(
            words.literal(
                "It is never loaded, and stays for inspection; saving its step again replaces it. Remove the folder once you have looked at it:"
            )
        )
        st.code(str(one.path), language=None)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        _buttons(run, one)
    path = shlex.quote(str(one.model))
    st.caption("A new run, or an evaluation, that begins with it")
    st.code(f"--set model.path={path}", language="bash", wrap_lines=True)
    depths = serving.drafting_depths(one.model)
    with st.expander("Serve or load it elsewhere"):
        st.caption(_DRAFTS if depths else _NO_DRAFTS)
        lines = [serving.export_line(one.model, _SERVED), serving.serve_line(_SERVED, depths)]
        st.code("\n".join(lines), language="bash", wrap_lines=True)
        if serving.module_to_load(one.model) is None:
            st.caption(_LOAD)
            st.code(f"transformers serve {path}", language="bash", wrap_lines=True)
        else:
            st.caption(_LOAD_OURS)
        st.code(serving.loading_lines(one.model), language="python", wrap_lines=True)


def _buttons(run: RunDetail, one: Listed) -> None:
    opened = st.button(
        "Evaluate",
        icon=":material/quiz:",
        key=f"checkpoint:{one.step}:evaluate",
        on_click=run_actions.open_evaluate,
        args=(one.step,),
        help="Opens Evaluate above, with this step chosen.",
    )
    if opened:
        st.rerun()  # the popover stands outside of this part of the page
    if one.model_size <= LARGEST_DOWNLOAD:
        st.download_button(
            f"Download, {words.size(one.model_size)}",
            lambda: checkpoints.zipped(one.model),
            file_name=f"run-{run.id}-step-{one.step}.zip",
            mime="application/zip",
            icon=":material/download:",
            key=f"checkpoint:{one.step}:download",
            on_click="ignore",
            help="model/ with policy, heads and tokenizer",
        )
    else:
        st.caption(f"Too large to download here ({words.size(one.model_size)}): copy the folder.")
