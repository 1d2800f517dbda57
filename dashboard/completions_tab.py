"""The tab of the run page that shows completions: of any logged step, token by token, and the same prompt side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from backend import words
from dashboard import markup, store, token_markup
from dashboard.token_markup import Quantity
from db import reads
from db.reads import CompletionRow, RunDetail
from db.tokens import Tokens

MOST_TOKENS = 6000
"""Coloured at once: each is an element of the page."""
MOST_SHOWN = 32
_NEWEST = "newest"
_ORDERS: dict[str, Callable[[CompletionRow], float]] = {
    "as sampled": lambda row: row.sample,
    "highest reward first": lambda row: -_reward(row),
    "lowest reward first": lambda row: _reward(row),
    "longest first": lambda row: -row.tokens,
}
_SHOWN: dict[str, Callable[[CompletionRow], bool]] = {
    "all": lambda row: True,
    "right": lambda row: row.correct,
    "wrong": lambda row: not row.correct,
    "truncated": lambda row: row.truncated,
}
_ALONE, _OTHER_STEP, _OTHER_RUN = "nothing", "another step", "another run"


class _View(NamedTuple):
    """How the completions are shown."""

    order: str
    shown: str
    quantity: Quantity


class _Group(NamedTuple):
    """The completions of one prompt at one step of one run."""

    heading: str
    run_id: int
    step: int
    rows: Sequence[CompletionRow]
    tokens: dict[int, Tokens]


def draw(run: RunDetail, every: float | None) -> None:
    """What the policy wrote at a step; it stands still until another step is logged, which is looked for every so many seconds."""
    with store.reading() as connection:
        steps = reads.completion_steps(connection, run.id)
    if every is not None:
        st.fragment(_watch, run_every=every)(run.id, steps[-1] if steps else None)
    if not steps:
        st.info(
            "No completions are logged yet. They are written after the first step and every `logging.completions_every` steps.",
            icon=":material/hourglass_empty:",
        )
        return
    step = _step(steps)
    with store.reading() as connection:
        rows = reads.completions_at(connection, run.id, step)
    prompts = {row.prompt_id: row for row in rows}
    first, second, third = st.columns([2.4, 1, 1])
    prompt = first.selectbox(
        "Prompt",
        list(prompts),
        key="prompt",
        bind="query-params",
        format_func=lambda prompt_id: _option(prompts[prompt_id]) if prompt_id in prompts else str(prompt_id),
    )
    order = second.selectbox("Order", list(_ORDERS), key="order", bind="query-params")
    shown = third.selectbox("Show", list(_SHOWN), key="graded", bind="query-params")
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        quantity = st.segmented_control(
            "Colour of a token",
            list(Quantity),
            default=Quantity.LOG_PROB,
            required=True,
            key="colour",
            bind="query-params",
            help="Log-prob by the policy; by MTP depth 1; their difference; whether a greedy draft of depth 1 would be taken. All before the update of the step.",
        )
        beside = st.segmented_control(
            "Beside it",
            [_ALONE, _OTHER_STEP, _OTHER_RUN],
            default=_ALONE,
            required=True,
            key="beside",
            bind="query-params",
            help="The same prompt at another step of this run, or in another run of its experiment.",
        )
    view = _View(order, shown, Quantity(quantity))
    here = _group(run.id, step, prompts[prompt], f"Step {step:,}")
    other = {_OTHER_STEP: _at_other_step, _OTHER_RUN: _in_other_run}.get(beside, lambda *_: None)(run, here)
    _prompt(here.rows[0])
    if not here.tokens and view.quantity != Quantity.NONE:
        st.caption("This run was logged by a version that said nothing of single tokens: they have no colour.")
    st.html(token_markup.STYLE + token_markup.legend(view.quantity if here.tokens else Quantity.NONE))
    if other is None:
        _completions(st.container(), here, view, MOST_TOKENS, f"step {step:,}")
    else:
        for place, group in zip(st.columns(2, gap="medium"), (here, other), strict=True):
            place.markdown(f"**{words.literal(group.heading)}**")
            _completions(place, group, view, MOST_TOKENS // 2)
    if here.tokens:
        st.download_button(
            "Tokens as CSV",
            lambda: _csv(here.tokens),
            file_name=f"run-{run.id}-step-{step}-tokens.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            help="Of this prompt at this step: sample, place, text, log_prob, mtp_log_prob, agrees",
        )


def _watch(run_id: int, known: int | None) -> None:
    """Draw the page anew when another step is logged."""
    with store.reading() as connection:
        newest = reads.newest_completions(connection, run_id)
    if newest != known:
        st.rerun()


def _step(steps: Sequence[int]) -> int:
    chosen = st.select_slider(
        "Step",
        [*map(str, steps), _NEWEST],
        value=_NEWEST,
        key="step",
        bind="query-params",
        help="Every step that was logged; the last place follows the newest one.",
    )
    return steps[-1] if chosen == _NEWEST else int(chosen)


def _group(run_id: int, step: int, prompt: CompletionRow, heading: str) -> _Group:
    with store.reading() as connection:
        rows = [row for row in reads.completions_at(connection, run_id, step) if row.prompt_id == prompt.prompt_id]
        return _Group(heading, run_id, step, rows, reads.tokens_at(connection, run_id, step, prompt.prompt_id))


def _at_other_step(run: RunDetail, here: _Group) -> _Group | None:
    prompt = here.rows[0]
    with store.reading() as connection:
        steps = reads.steps_of_prompts(connection, run.id, [prompt.prompt_id]).get(prompt.prompt_id, [])
    others = [step for step in steps if step != here.step]
    if not others:
        st.info(
            "This prompt was logged at no other step: each step draws prompts anew. Another run with the same seed and data meets it at the same step.",
            icon=":material/info:",
        )
        return None
    step = st.selectbox("Other step", others, key="other_step", bind="query-params", index=len(others) - 1)
    return _group(run.id, step, prompt, f"Step {step:,}")


def _in_other_run(run: RunDetail, here: _Group) -> _Group | None:
    prompt = here.rows[0]
    with store.reading() as connection:
        found = {
            other.run_id: other for other in reads.runs_of_prompt(connection, run.id, prompt.prompt_id, prompt.problem)
        }
    if not found:
        st.info(
            f"No other run of {run.experiment} has logged this prompt. Runs with the same seed and data log the same prompts.",
            icon=":material/info:",
        )
        return None
    near = {number: min(other.steps, key=lambda step: abs(step - here.step)) for number, other in found.items()}
    number = st.selectbox(
        "Other run, at its nearest step",
        list(found),
        key="other_run",
        bind="query-params",
        format_func=lambda number: f"{number} · {found[number].name}" if number in found else str(number),
    )
    return _group(number, near[number], prompt, f"Run {number}, {found[number].name}, step {near[number]:,}")


def _prompt(row: CompletionRow) -> None:
    st.html(
        f'<div class="m-sub">Prompt</div><div class="m-box">{markup.verbatim(row.problem)}</div>'
        f'<div class="m-sub" style="margin-top:.6rem">Right answer: <b>{markup.text(row.answer)}</b></div>'
    )


def _completions(place: DeltaGenerator, group: _Group, view: _View, budget: int, where: str = "") -> None:
    right = sum(row.correct for row in group.rows)
    chosen = sorted(filter(_SHOWN[view.shown], group.rows), key=_ORDERS[view.order])
    said = [where] if where else []
    said.append(f"{right} of {words.plural(len(group.rows), 'completion')} right")
    if view.shown != "all":
        said.append(f"{len(chosen)} {view.shown}")
    if len(chosen) > MOST_SHOWN:
        said.append(f"the first {MOST_SHOWN} of {len(chosen)} in this order are shown")
        chosen = chosen[:MOST_SHOWN]
    each = budget // max(len(chosen), 1)
    coloured = view.quantity != Quantity.NONE and any(row.sample in group.tokens for row in chosen)
    if coloured and any(row.tokens > each for row in chosen):
        said.append(f"the first {each:,} tokens of each have a colour")
    place.caption(" · ".join(said))
    if not chosen:
        place.info(f"None of them is {view.shown}.", icon=":material/filter_alt_off:")
        return
    place.html("".join(_card(row, group.tokens.get(row.sample), view.quantity, each) for row in chosen))


def _card(row: CompletionRow, tokens: Tokens | None, quantity: Quantity, most: int) -> str:
    facts = [
        f"reward {words.number(row.reward)}",
        f"advantage {words.number(row.advantage)}",
        words.plural(row.tokens, "token") + (", truncated" if row.truncated else ""),
        f"answer read: {row.extracted}" if row.extracted is not None else "no answer read",
    ]
    text = (
        markup.verbatim(row.completion)
        if tokens is None or quantity == Quantity.NONE
        else token_markup.heat(tokens, quantity, most)
    )
    return (
        f'<div class="m-card"><div class="m-head"><b>{row.sample + 1}</b>{markup.grade(row.correct, row.reason)}'
        f'<span class="m-sub">{markup.text(" · ".join(facts))}</span></div><div class="m-box">{text}</div></div>'
    )


def _csv(tokens: dict[int, Tokens]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("sample", "place", "text", "log_prob", "mtp_log_prob", "agrees"))
    writer.writerows(token_markup.csv_rows(sorted(tokens.items())))
    return text.getvalue()


def _reward(row: CompletionRow) -> float:
    return row.reward if row.reward is not None else float("-inf")


def _option(row: CompletionRow) -> str:
    line = f"{row.prompt_id} · {' '.join(row.problem.split())}"
    return line if len(line) <= 90 else line[:89] + "…"
