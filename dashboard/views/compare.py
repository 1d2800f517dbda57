"""Compare: runs and groups of runs on one axis, at `/compare?runs=1,2,3`; the address holds the whole view."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import streamlit as st

from backend import audits as auditing
from backend import charts, words
from backend.audits import Audits
from backend.comparison import axes, groups, lines, paper, table
from backend.comparison.groups import Group
from backend.comparison.lines import Chart, Values
from dashboard import compare_charts, compare_choices, front_end, markup, navigation, store
from dashboard.compare_choices import Choices
from db import reads
from db.reads import RunDetail
from db.statuses import ENDED

_TICK = 3.0
_MOST_METRICS = 12
_MOST_AUDITS = 200  # of a run
_MOST_BESIDE = 4  # columns of settings that fit on a narrow screen
_FIRST_METRICS = ("reward/accuracy", "mtp/coefficient")
_METRICS, _PAPER, _SETTINGS = "Metrics", "Paper's figures", "Settings"


def main() -> None:
    """Draw the page."""
    st.title("Compare", anchor=False)
    front_end.start_charts()
    chosen = compare_choices.runs()
    if chosen is None:
        st.info("There are no runs to compare yet.", icon=":material/stacked_line_chart:")
        st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        return
    if not chosen:
        st.info(
            "Choose two or more runs above. The address of this page then holds them, to share.",
            icon=":material/stacked_line_chart:",
        )
        return
    choices = compare_choices.how(chosen)
    view = st.segmented_control(
        "View", [_METRICS, _PAPER, _SETTINGS], default=_METRICS, key="view", bind="query-params", required=True
    )
    metrics = _chosen_metrics(chosen) if view == _METRICS else []
    every = None if all(run.status in ENDED for run in chosen) else _TICK
    st.fragment(_drawn, run_every=every)(view, choices, metrics)


def _drawn(view: str, choices: Choices, metrics: Sequence[str]) -> None:
    of = choices.groups()
    _legend(of)
    if view == _SETTINGS:
        _differences(of)
    elif view == _PAPER:
        _figures(of, choices)
    else:
        _metrics(of, choices, metrics)


def _chosen_metrics(chosen: Sequence[RunDetail]) -> list[str]:
    available = _available(chosen)
    first = [name for name in available if name in _FIRST_METRICS or name.startswith("eval/")]
    return st.multiselect(
        "Metrics",
        available,
        default=(first or available[:1])[:_MOST_METRICS],
        key="metrics",
        bind="query-params",
        max_selections=_MOST_METRICS,
        placeholder="Choose metrics",
    )


def _available(chosen: Sequence[RunDetail]) -> list[str]:
    with store.reading() as connection:
        return sorted({name for run in chosen for name in reads.metric_list(connection, run.id)})


def _metrics(of: Sequence[Group], choices: Choices, metrics: Sequence[str]) -> None:
    values, drawn = _read(of, choices, metrics)
    found = [chart for chart in drawn if chart.raw or chart.averaged]
    if not found:
        st.info(
            "Choose a metric above." if not metrics else "None of these runs has measured these metrics yet.",
            icon=":material/hourglass_empty:",
        )
        return
    _how_to_read(of, choices, values)
    _draw(found, choices, values)
    _download(found, choices)


def _figures(of: Sequence[Group], choices: Choices) -> None:
    runs = [run for group in of for run in group.runs]
    wanted = paper.figures(_available(runs))
    values, drawn = _read(of, choices, [metric for figure in wanted for metric in figure.metrics])
    by_metric = {chart.metric: chart for chart in drawn}
    _how_to_read(of, choices, values)
    for figure in wanted:
        found = [chart for metric in figure.metrics if (chart := by_metric[metric]).raw or chart.averaged]
        st.header(figure.title)
        st.caption(f"As the paper's figure {figure.number}. {figure.says}")
        if found:
            _draw(found, choices, values)
        else:
            st.info(figure.missing, icon=":material/visibility_off:")
    _agreement(runs)
    _download([chart for chart in drawn if chart.raw], choices)


def _read(of: Sequence[Group], choices: Choices, metrics: Sequence[str]) -> tuple[Values, list[Chart]]:
    averaging = choices.smoothing.kind != "none" or any(len(group.runs) > 1 for group in of)
    with store.reading() as connection:
        values = lines.read(connection, of, metrics, axis=choices.axis, means=averaging)
    return values, [lines.chart(values, of, metric, choices.smoothing) for metric in metrics]


def _how_to_read(of: Sequence[Group], choices: Choices, values: Values) -> None:
    several = any(len(group.runs) > 1 for group in of)
    smoothed = choices.smoothing.says(values.stretches.width)
    said = [
        "Line: mean over the runs of the group at equal steps. Band: its 95 % interval at each point by itself (Student's t over runs)."
        if several
        else "",
        smoothed,
        "Each run is smoothed by itself before it is averaged: the band is one of smoothed values."
        if smoothed and several
        else "",
        "Faint: the measured values of each run." if smoothed or several else "",
        "A mean stands at the mean position of its runs." if several and choices.axis != axes.STEPS else "",
        "Tokens: all that were sampled until the step; steps that were made again after a resume count once."
        if choices.axis == axes.TOKENS
        else "",
        "Hours: time on its devices until the step, over all attempts; pauses between them are left out, steps that were lost are not."
        if choices.axis == axes.HOURS
        else "",
    ]
    st.caption(" ".join(sentence for sentence in said if sentence) or "The measured values of each run.")
    if values.unplaced:
        which = words.listed_briefly(sorted(values.unplaced))
        why = (
            "how many tokens they sampled is not known of every step"
            if choices.axis == axes.TOKENS
            else "no step's time is known"
        )
        st.warning(f"Not drawn on this axis, because {why}: runs {which}.", icon=":material/warning:")


def _draw(found: Sequence[Chart], choices: Choices, values: Values) -> None:
    figures = [compare_charts.figure(chart, axis=choices.axis) for chart in found]
    charts.share_steps(figures)
    for index, (chart, figure) in enumerate(zip(found, figures, strict=True)):
        if index % 2 == 0:
            columns = st.columns(2 if len(found) > 1 else 1, gap="small")
        with columns[index % 2].container(border=True, height="stretch"):
            alt = f"{chart.metric} by {axes.TITLES[choices.axis]}"
            st.plotly_chart(figure, key=f"compare:{chart.metric}", config={"displaylogo": False}, alt=alt)
            notes = compare_charts.notes(chart, most_raw=values.most_raw, width=values.stretches.width)
            if notes:
                st.caption(words.literal(" ".join(notes)))


def _agreement(runs: Sequence[RunDetail]) -> None:
    figure = paper.AGREEMENT
    st.header(figure.title)
    st.caption(f"As the paper's figure {figure.number}. {figure.says}")
    audits: dict[int, tuple[RunDetail, Audits]] = {}
    thinned = []
    with store.reading() as connection:
        for run in runs:
            aligned = reads.aligned(connection, run.id, figure.metrics, anchor=auditing.ANCHOR, max_places=_MOST_AUDITS)
            if aligned.steps:
                audits[run.id] = (run, auditing.of_depth(aligned, 1))
            if aligned.total > len(aligned.steps):
                thinned.append(run.id)
    if not audits:
        st.info(figure.missing, icon=":material/visibility_off:")
        return
    drawn = [scatter for proxy in ("proxy_main", "proxy_own") if (scatter := compare_charts.agreement(audits, proxy))]
    for column, scatter in zip(st.columns(max(len(drawn), 1), gap="small"), drawn, strict=False):
        with column.container(border=True):
            alt = "Coefficient from log-probs over the exact one, a dot per audit"
            st.plotly_chart(
                scatter, key=f"agreement:{scatter.layout.title.text}", config={"displaylogo": False}, alt=alt
            )
    columns = (
        markup.Column("Run"),
        markup.Column("Audits", number=True),
        markup.Column("ρ, reference main", number=True),
        markup.Column("ρ, reference own", number=True),
    )
    rows = [[escape(cell) for cell in row] for row in compare_charts.correlations(audits)]
    st.html(markup.table(columns, rows, label="Rank correlation of proxy and exact coefficient"))
    without = [run.id for run in runs if run.id not in audits]
    said = [
        "ρ with its 95 % interval; colours are those of the regimes.",
        f"No audits: runs {words.listed_briefly(sorted(without))}." if without else "",
        f"Of runs {words.listed_briefly(sorted(thinned))} every so many-th audit is taken, {_MOST_AUDITS} at most."
        if thinned
        else "",
    ]
    st.caption(" ".join(sentence for sentence in said if sentence))


def _download(found: Sequence[Chart], choices: Choices) -> None:
    smoothed = choices.smoothing.kind != "none"
    st.download_button(
        "What is drawn, as CSV",
        lambda: table.to_csv(found, axis=choices.axis.lower(), smoothed=smoothed),
        file_name="compare.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _differences(of: Sequence[Group]) -> None:
    differing, equal = groups.difference(of)
    if differing:
        columns = (markup.Column("Setting"), *(markup.Column(group.name) for group in of))
        rows = [[f"<code>{escape(name)}</code>", *map(escape, cells)] for name, *cells in differing]
        st.html(markup.table(columns, rows, label="Settings that differ", scrolls=True))
        if len(of) > _MOST_BESIDE:
            st.caption("The table scrolls sideways where it is wider than the page.")
    else:
        st.info("These runs differ in no setting.", icon=":material/check:")
    if equal:
        with st.expander(f"{words.plural(len(equal), 'setting')} the same in all"):
            rows = [[f"<code>{escape(name)}</code>", escape(value)] for name, value in equal]
            st.html(
                markup.table(
                    (markup.Column("Setting"), markup.Column("Value")), rows, label="Settings that are the same"
                )
            )


def _legend(of: Sequence[Group]) -> None:
    """Which line is which, once for all charts."""
    several = any(len(group.runs) > 1 for group in of)
    runs = sum(len(group.runs) for group in of)
    title = f"{words.plural(len(of), 'group')} of {words.plural(runs, 'run')}" if several else words.plural(runs, "run")
    with st.expander(f"{title}: which line is which", expanded=len(of) <= 8):
        st.html(_groups_table(of) if several else _runs_table([(group, group.runs[0]) for group in of]))
        caution = compare_charts.caution(of)
        if caution:
            st.caption(words.literal(caution))


def _groups_table(of: Sequence[Group]) -> str:
    columns = (
        markup.Column("Line"),
        markup.Column("Group"),
        markup.Column("n", number=True),
        markup.Column("Averaged"),
        markup.Column("Not averaged", wide=True),
    )
    rows = [
        [
            markup.line(group.colour, group.dash),
            markup.mark(group.colour, group.name),
            f"{len(group.averaged)}",
            _links(group.ids),
            _links(group.left_out) or "–",
        ]
        for group in of
    ]
    return markup.table(columns, rows, label="Groups that are compared") + markup.left_out(columns)


def _links(ids: Sequence[int]) -> str:
    return " ".join(f'<a href="run?run={run_id}" target="_self">{run_id}</a>' for run_id in sorted(ids))


def _runs_table(rows: Sequence[tuple[Group, RunDetail]]) -> str:
    columns = (
        markup.Column("Line"),
        markup.Column("Run"),
        markup.Column("Regime"),
        markup.Column("Status", wide=True),
        markup.Column("Step", number=True),
        markup.Column("Reward", number=True),
        markup.Column("Accuracy", number=True),
        markup.Column("Coefficient", number=True),
    )
    cells = [
        [
            markup.line(group.colour, group.dash),
            markup.link(f"{run.id} · {run.name}", f"run?run={run.id}", sub=run.experiment),
            markup.regime(run.regime),
            markup.status(run.status),
            f"{run.step:,}",
            words.number(run.latest.get("reward/mean")),
            words.percent(run.latest.get("reward/accuracy")),
            words.number(run.coefficient),
        ]
        for group, run in rows
    ]
    return markup.table(columns, cells, label="Runs that are compared") + markup.left_out(columns)


main()
