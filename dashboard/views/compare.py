"""Compare: several runs on one axis, at `/compare?runs=1,2,3`."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from backend import charts, palette, words
from dashboard import markup, navigation, store
from dashboard.run_charts import PERCENT
from db import reads
from db.reads import RunRow, Series
from db.statuses import ENDED, Kind

_TICK = 3.0
_LISTED = 500
_MOST = 20
_MAX_POINTS = 1000
_FEW = 15
_FIRST_METRICS = ("reward/accuracy", "mtp/coefficient")
_RUNS = "compared"


def main() -> None:
    """Draw the page."""
    st.title("Compare")
    with store.reading() as connection:
        known = {row.id: row for row in reads.list_runs(connection, kind=Kind.TRAINING, limit=_LISTED)}
    if not known:
        st.info("There are no runs to compare yet.", icon=":material/stacked_line_chart:")
        st.page_link(navigation.new_run(), label="Configure a run", icon=":material/add_circle:")
        return
    chosen = _chosen_runs(known)
    if not chosen:
        st.info(
            "Choose two or more runs above. The address of this page then holds them, to share.",
            icon=":material/stacked_line_chart:",
        )
        return
    metrics, window = _choices(chosen)
    still = all(row.status in ENDED for row in chosen)
    st.fragment(_charts, run_every=None if still else _TICK)([row.id for row in chosen], metrics, window)


def _chosen_runs(known: dict[int, RunRow]) -> list[RunRow]:
    """The runs that the reader chose, or else those of the address; the address follows the choice."""
    asked = [int(part) for part in st.query_params.get("runs", "").split(",") if part.isascii() and part.isdigit()]
    if _RUNS not in st.session_state:
        st.session_state[_RUNS] = [run_id for run_id in dict.fromkeys(asked) if run_id in known][:_MOST]
        missing = [run_id for run_id in asked if run_id not in known]
        if missing:
            st.warning(
                f"Left out, because there is no such run among the newest {_LISTED}: {', '.join(map(str, missing))}.",
                icon=":material/warning:",
            )
    ids = st.multiselect(
        "Runs",
        list(known),
        key=_RUNS,
        max_selections=_MOST,
        format_func=lambda run_id: (
            f"{run_id} · {known[run_id].name} ({known[run_id].experiment})" if run_id in known else str(run_id)
        ),
        placeholder="Choose runs",
    )
    if ids != asked:
        st.query_params["runs"] = ",".join(map(str, ids))
    return [known[run_id] for run_id in ids]


def _choices(chosen: Sequence[RunRow]) -> tuple[list[str], int]:
    with store.reading() as connection:
        available = sorted({name for row in chosen for name in reads.metric_list(connection, row.id)})
    first = [name for name in available if name in _FIRST_METRICS or name.startswith("eval/")]
    left, right = st.columns([3, 1])
    metrics = left.multiselect(
        "Metrics",
        available,
        default=first or available[:1],
        key="metrics",
        bind="query-params",
        placeholder="Choose metrics",
    )
    window = right.slider(
        "Smoothing, in steps",
        min_value=0,
        max_value=50,
        key="smoothing",
        bind="query-params",
        help="0: off. n: each point of the bold line is the mean of the run's values over the last n steps; the measured values stay, faint.",
    )
    return list(metrics), int(window)


def _charts(run_ids: list[int], metrics: list[str], window: int) -> None:
    with store.reading() as connection:
        rows = {
            row.id: row for row in reads.list_runs(connection, kind=Kind.TRAINING, limit=_LISTED) if row.id in run_ids
        }
        series = reads.series(connection, run_ids, metrics, max_points=_MAX_POINTS)
        # What is measured of a single mini-batch, such as an audit, has no value of the whole step.
        rest = [metric for metric in metrics if not any((run_id, metric) in series for run_id in run_ids)]
        series |= reads.series(connection, run_ids, rest, max_points=_MAX_POINTS, level="mini_batch")
    ordered = [rows[run_id] for run_id in run_ids if run_id in rows]
    styles = palette.dashes([row.regime for row in ordered])
    _legend(ordered, styles)
    drawn = [metric for metric in metrics if any((row.id, metric) in series for row in ordered)]
    if not drawn:
        st.info(
            "Choose a metric above." if not metrics else "None of these runs has measured these metrics yet.",
            icon=":material/hourglass_empty:",
        )
        return
    if window:
        st.caption(f"Bold: mean over the last {words.plural(window, 'step')}. Faint: the measured values.")
    figures = {}
    for metric in drawn:
        lines = [
            line
            for row, dash in zip(ordered, styles, strict=True)
            if (row.id, metric) in series
            for line in _lines(row, dash, series[row.id, metric], window)
        ]
        share = metric.startswith("eval/") or metric.endswith(("accuracy", "fraction")) or "acceptance" in metric
        figure = charts.lines(metric.replace("_at_", "@"), lines, y_format=PERCENT if share else "", height=340)
        figure.update_layout(showlegend=False, margin_t=38)
        figures[metric] = figure
    charts.share_steps(list(figures.values()))
    for index, (metric, figure) in enumerate(figures.items()):
        if index % 2 == 0:
            columns = st.columns(2 if len(drawn) > 1 else 1, gap="small")
        with columns[index % 2].container(border=True):
            st.plotly_chart(figure, key=f"compare:{metric}", config={"displaylogo": False}, alt=f"{metric} by step")


def _lines(row: RunRow, dash: str, values: Series, window: int) -> list[charts.Line]:
    name, colour = f"{row.id} · {row.name}", palette.regime_colour(row.regime)
    raw = charts.Line(
        name,
        values.steps,
        values.values,
        colour,
        dash=dash,
        mode="lines+markers" if len(values.steps) < _FEW else "lines",
    )
    if not window:
        return [raw]
    smooth = charts.trailing_mean(values.steps, values.values, window)
    faint = charts.Line(name, values.steps, values.values, colour, opacity=0.28, width=1, in_legend=False)
    return [faint, charts.Line(name, values.steps, smooth, colour, dash=dash, width=2.4)]


def _legend(rows: Sequence[RunRow], styles: Sequence[str]) -> None:
    """Which line is which run, once for all charts."""
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
            markup.line(palette.regime_colour(row.regime), dash),
            markup.link(f"{row.id} · {row.name}", f"run?run={row.id}"),
            markup.regime(row.regime),
            markup.status(row.status),
            f"{row.step:,}",
            words.number(row.latest.get("reward/mean")),
            words.percent(row.latest.get("reward/accuracy")),
            words.number(row.coefficient),
        ]
        for row, dash in zip(rows, styles, strict=True)
    ]
    with st.expander(words.plural(len(rows), "run"), expanded=True):
        st.html(markup.table(columns, cells, label="Runs that are compared"))


main()
