"""The tab of the run page that shows what audits measured: how far proxies, predictions and exact values agree."""

from __future__ import annotations

import math

import plotly.graph_objects as go
import streamlit as st

from backend import audits as numbers
from backend import charts, words
from backend.audits import ANCHOR, Audits
from dashboard import audit_charts, markup, store
from dashboard.audit_charts import PROXIES
from db import reads
from db.reads import RunDetail
from trainer.evaluation.rank_correlation import FEWEST_PAIRS, RankCorrelation

_COLUMNS = (
    markup.Column("Rank correlation of"),
    markup.Column("Spearman's ρ", number=True),
    markup.Column("95 % interval", number=True),
    markup.Column("Audits", number=True),
)
_ABOUT_PROXIES = """A proxy that measured the same as the exact gradients could hardly agree better with the exact λ than two halves of the \
same mini-batch agree with one another: that is the ceiling. Two reservations: a proxy comes from the same samples as the exact λ, shares their \
noise, and can therefore exceed the ceiling; and a half is noisier than the whole, so the ceiling is a low estimate. Intervals are Fisher's z with \
Bonett and Wright's variance for ranks. They take audits as independent; a trend that both sides share over the run counts as agreement. Only the \
order is compared. The sizes are expected to differ: reference main is small wherever the two heads' log-probs differ by more than one phase moves either."""
_ABOUT_CHANGE = """Predicted is Δ_MTP of the optimiser step by the formula; measured is the RL objective on held-out samples after the step, minus \
that after the same step without the MTP part. On the dashed line both are equal; measured above 0, the MTP part helped. The formula is that of plain \
gradient descent: under AdamW its sign and rank can be compared with what was measured, its size cannot."""
_ABOUT_SIGNAL = f"""s = G·P / |G|² from halves that share no sample: what the MTP gradient P adds along the RL gradient G. κ = Cov / Var within the \
batch: what it adds along the RL gradient's noise. Single audits (dots) are very noisy; the lines are ratios of sums over the last \
{audit_charts.RUNNING} audits, with a gap where |G|² is not above 0 there. What to look for: where Adam or clipping fixes the length of the step, the \
MTP part helps if **s > κ**; plain SGD with small steps gains about s."""


def draw(run: RunDetail) -> None:
    """Proxies against exact coefficients, predicted against measured change, and everything by step."""
    with store.reading() as connection:
        names = numbers.metrics_of(reads.metric_list(connection, run.id))
        found = reads.aligned(connection, run.id, names, anchor=ANCHOR)
    if not found.steps:
        _explain(run)
        return
    depths = numbers.depths(names)
    depth = (
        st.segmented_control("MTP depth", depths, default=depths[0], required=True, key="audit-depth")
        if len(depths) > 1
        else depths[0]
    )
    audits = numbers.of_depth(found, depth)
    shown = words.plural(found.total, "audit")
    if found.total > len(found.steps):
        shown = f"{len(found.steps):,} of {shown}, evenly spread"
    first, last = found.steps[0], found.steps[-1]
    where = f"steps {first:,} to {last:,}" if first < last else f"step {first:,}"
    st.caption(
        f"{shown}, of the last mini-batch of {where}. Exact λ = λ₊ c / v² from the gradients of policy and MTP loss over trunk, embeddings and "
        "lm_head."
    )
    _proxies(run, audits)
    by_step = audit_charts.by_step(audits)
    signals = {
        str(figure.layout.title.text): figure
        for form in ("", "ce_")
        if (figure := audit_charts.signal_figure(audits, form))
    }
    charts.share_steps([*by_step.values(), *signals.values()])
    _change(run, audits, by_step.pop(audit_charts.CHANGE_BY_STEP, None))
    if signals:
        with st.container(border=True):
            _row(run, signals)
            st.caption(_ABOUT_SIGNAL)
    with st.container(border=True):
        _row(run, by_step)
        st.caption(
            "Products of gradients of the same samples count the noise that both losses share; across two halves of the mini-batch's prompts "
            "they do not." + (" The used λ is that of the audited mini-batch." if "used" in audits.values else "")
        )


def _explain(run: RunDetail) -> None:
    every = run.config.get("audit", {}).get("every", 0)
    if every:
        st.info(
            f"No audit is in yet: one is made every {words.plural(every, 'step')}, the first in step {every}.",
            icon=":material/hourglass_empty:",
        )
        return
    st.info(
        "This run has no audits. An audit measures the exact gradients that the coefficient stands for, how far the proxies from log-probs agree "
        "with them, and what the MTP part of an optimiser step changed, without touching the run; it costs about as much as several updates. "
        "To have one every 10 steps, add `audit: {every: 10}` to the configuration, or `--set audit.every=10` to the command.",
        icon=":material/fact_check:",
    )


def _proxies(run: RunDetail, audits: Audits) -> None:
    figures: dict[str, go.Figure] = {}
    rows = []
    for proxy, (reference, colour, _) in PROXIES.items():
        figure = audit_charts.proxy_figure(audits, proxy)
        if figure is not None:
            figures[f"Proxy by reference {reference} against exact coefficient"] = figure
            rows.append(
                _cells(
                    markup.mark(colour, f"proxy by reference {reference}, and exact λ"),
                    audits.correlation("coefficient", proxy),
                )
            )
    if not figures:
        return
    ceiling = audits.correlation("coefficient_half_1", "coefficient_half_2")
    rows.append(_cells(markup.text("exact λ of the two halves (ceiling)"), ceiling))
    with st.container(border=True):
        st.markdown("**Proxy against exact coefficient**")
        _row(run, figures)
        st.html(markup.table(_COLUMNS, rows, label="Rank correlations of proxies with the exact coefficient"))
        _note_on_few(ceiling.n)
        st.caption(_ABOUT_PROXIES)


def _change(run: RunDetail, audits: Audits, over_steps: go.Figure | None) -> None:
    figure = audit_charts.change_figure(audits)
    if figure is None or over_steps is None:
        return
    with st.container(border=True):
        st.markdown("**Predicted against measured change**")
        _row(run, {"Measured against predicted change": figure, audit_charts.CHANGE_BY_STEP: over_steps})
        effects = audits.effects()
        st.html(
            markup.table(
                _COLUMNS,
                [_cells("predicted and measured change", effects.correlation)],
                label="Rank correlation of the changes",
            )
        )
        _note_on_few(effects.correlation.n)
        share = f" ({words.percent(effects.equal_signs / effects.of)})" if effects.of else ""
        nothing = f" In {words.plural(effects.without, 'more audit')} λ was 0, so that the MTP part did nothing."
        st.markdown(
            f"Equal signs: **{effects.equal_signs} of {effects.of}**{share}.{nothing if effects.without else ''}"
        )
        st.caption(_ABOUT_CHANGE)


def _row(run: RunDetail, figures: dict[str, go.Figure]) -> None:
    """Figures two in a row; their names are the alternative texts."""
    for index, (name, figure) in enumerate(figures.items()):
        if index % 2 == 0:
            columns = st.columns(2, gap="small")
        columns[index % 2].plotly_chart(
            figure, key=f"audit:{run.id}:{name}", config={"displaylogo": False}, alt=f"{name}, one dot per audit"
        )


def _cells(label: str, result: RankCorrelation) -> list[str]:
    if result.n < FEWEST_PAIRS:
        return [label, "–", "–", str(result.n)]
    if math.isnan(result.value):
        return [label, "none", "one side never changes", str(result.n)]
    value, low, high = (f"{part:.2f}".replace("-", "−") for part in result[:3])
    return [label, value, f"{low} … {high}", str(result.n)]


def _note_on_few(audits: int) -> None:
    if audits < FEWEST_PAIRS:
        st.markdown(f"Only {words.plural(audits, 'audit')} so far: rank correlations are given from {FEWEST_PAIRS} on.")
