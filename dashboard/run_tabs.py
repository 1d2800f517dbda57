"""The tabs of the run page. Each draws itself from the store and is run again every few seconds while the run lives."""

from __future__ import annotations

import csv
import io

import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from backend import charts, palette
from dashboard import run_charts, store
from dashboard.run_charts import Chart
from db import reads
from db.reads import ExportRow, RunDetail
from trainer.config import yaml_text
from trainer.events import encode_number

_MAX_POINTS = 1000


def coefficient(run: RunDetail) -> None:
    """The coefficient and what it is made of, at mini-batch resolution."""
    depths = run.config.get("model", {}).get("mtp_depths", 1)
    depth = 1
    if depths > 1:
        depth = st.segmented_control("MTP depth", range(1, depths + 1), default=1, required=True, key="depth")
    with store.reading() as connection:
        measured = reads.metric_list(connection, run.id)
    _charts(
        run,
        (*run_charts.at_depth(run_charts.COEFFICIENT_TAB, depth), *run_charts.draft_charts(measured)),
        nothing=f"Regime {run.regime} has trained no MTP heads so far, so there is no coefficient to show.",
    )


def learning(run: RunDetail) -> None:
    """Whether the policy gets better, and whether the updates are healthy."""
    with store.reading() as connection:
        evaluations = reads.evaluations(connection, [run.id], last_only=False)
    figures = run_charts.evaluation_figures(evaluations, palette.regime_colour(run.regime))
    _charts(run, run_charts.LEARNING_TAB, first=figures)


def speed(run: RunDetail) -> None:
    """Where the time goes, and what of the host is used."""
    with store.reading() as connection:
        measured = reads.metric_list(connection, run.id)
        names = [name for name in measured if name.startswith("time/")]
        parts = reads.aligned(
            connection, run.id, names, anchor=run_charts.STEP_SECONDS, max_places=_MAX_POINTS, level="step"
        )
    stacked = run_charts.time_figure(parts)
    tab = (*run_charts.SPEED_TAB, *run_charts.draft_charts(measured), *run_charts.gpu_charts(measured))
    _charts(run, tab, first=[stacked] if stacked else [])


def _charts(run: RunDetail, tab: tuple[Chart, ...], *, first: list[go.Figure] | None = None, nothing: str = "") -> None:
    """The charts of a tab that have data, two in a row; in words when there is none yet."""
    with store.reading() as connection:
        coarse = reads.series(connection, [run.id], run_charts.names(tab, fine=False), max_points=_MAX_POINTS)
        fine = reads.series(
            connection, [run.id], run_charts.names(tab, fine=True), max_points=_MAX_POINTS, level="mini_batch"
        )
    coarse_by_name, fine_by_name = (
        {name: values for (_, name), values in coarse.items()},
        {name: values for (_, name), values in fine.items()},
    )
    per_step, colour = run_charts.updates_per_step(run.config), palette.regime_colour(run.regime)
    drawable: list[tuple[str, go.Figure | Chart]] = [(str(figure.layout.title.text), figure) for figure in first or []]
    lines = {
        chart.title: run_charts.chart_lines(chart, coarse_by_name, fine_by_name, per_step=per_step, colour=colour)
        for chart in tab
    }
    drawable += [(chart.title, chart) for chart in tab if lines[chart.title]]
    if not drawable:
        st.info(
            nothing if nothing and run.step else "Nothing is measured so far: no step has ended.",
            icon=":material/hourglass_empty:",
        )
        return
    drawn: list[tuple[DeltaGenerator, str, go.Figure]] = []
    for index, (key, item) in enumerate(drawable):
        if index % 2 == 0:
            columns = st.columns(2, gap="small")
        with columns[index % 2].container(border=True, height="stretch"):
            place = st.container()
            if isinstance(item, Chart):
                log = (
                    item.log_choice
                    and charts.can_be_log(lines[key])
                    and st.toggle("Logarithmic axis", key=f"log:{key}")
                )
                item = run_charts.figure(item, lines[key], log=log, clip=run_charts.clip_bounds(run.config))
            drawn.append((place, key, item))
    charts.share_steps([figure for _, _, figure in drawn])
    for place, key, figure in drawn:
        place.plotly_chart(figure, key=f"chart:{run.id}:{key}", config={"displaylogo": False}, alt=f"{key}, by step")


def configuration(run: RunDetail) -> None:
    """The complete configuration, to read and to take along."""
    text = yaml_text.write(run.config)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download YAML",
            text,
            file_name=f"run-{run.id}.yaml",
            mime="application/yaml",
            icon=":material/download:",
            on_click="ignore",
        )
        if run.preset:
            st.caption(f"From preset `{run.preset}`.")
    st.code(text, language="yaml")
    st.caption(f"Folder of the run: `{run.folder}`")


def export(run: RunDetail) -> None:
    """A button that downloads every value of the run as CSV, made when it is pressed."""
    st.download_button(
        "CSV",
        lambda: csv_of(run.id),
        file_name=f"run-{run.id}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        help="Every logged value: run, attempt, metric, step, mini_batch, value, time",
    )


def csv_of(run_id: int) -> str:
    """All values of a run as CSV, exactly as `mtprl export` writes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ExportRow._fields)
    with store.reading() as connection:
        writer.writerows(
            (*row[:5], encode_number(row.value), row.time) for row in reads.export_rows(connection, run_id)
        )
    return text.getvalue()
