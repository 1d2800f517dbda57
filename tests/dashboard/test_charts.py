"""Charts as pure functions: what stands where, and what is never hidden."""

import math
import re
from pathlib import Path

import pytest

from backend import charts
from backend.charts import Line
from dashboard import run_charts
from db.reads import Aligned, EvaluationRow, Series

NAN = math.nan
METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_mini_batches_stand_between_steps_and_the_last_one_at_its_step():
    assert charts.positions([1, 1, 2, 2], [0, 1, 0, 1], 2) == [0.5, 1.0, 1.5, 2.0]
    assert charts.positions([3], [-1], 4) == [3]


def test_a_logarithmic_axis_is_offered_only_where_nothing_is_negative():
    assert charts.can_be_log([Line("a", [1, 2], [0.0, 3.0], "#000000")])
    assert not charts.can_be_log([Line("a", [1, 2], [-1.0, 3.0], "#000000")])
    assert not charts.can_be_log([Line("a", [1], [0.0], "#000000")])
    assert not charts.can_be_log([Line("a", [1], [NAN], "#000000")])
    [trace] = charts.lines("t", [Line("a", [1, 2], [0.0, 3.0], "#000000")], log=True).data
    assert trace.y == (None, 3.0)


@pytest.mark.parametrize(("highest", "in_sight"), [(0.5, True), (0.01, False)])
def test_the_clip_is_in_sight_unless_it_would_press_the_values_flat(highest, in_sight):
    figure = charts.lines("t", [Line("a", [1, 2], [0.0, highest], "#000000")], clip=(0.0, 1.0))
    assert [shape.y0 for shape in figure.layout.shapes] == [0.0, 1.0]
    assert (figure.layout.yaxis.range is not None) == in_sight


def test_figures_take_their_background_from_the_page_and_use_no_webgl():
    figure = charts.lines(
        "t", [Line("a", [1], [1.0], "#000000", low=[0.0], high=[2.0]), Line("b", [1], [1.0], "#FFFFFF")]
    )
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert figure.layout.uirevision


def test_an_interval_plot_keeps_order_bounds_and_sign():
    rows = [charts.Row("best", 0.1, 0.05, 0.2, "#000000"), charts.Row("next", -0.1, -0.2, 0.0, "#000000")]
    figure = charts.intervals("t", rows, difference=True)
    assert figure.layout.yaxis.categoryarray == ("next", "best")
    assert figure.data[0].error_x.array[0] == pytest.approx(10)
    assert figure.data[0].error_x.arrayminus[0] == pytest.approx(5)
    assert "points, interval +5.0 … +20.0" in figure.data[0].hovertemplate


def test_parts_of_a_step_that_were_not_logged_took_no_time():
    parts = {"time/step_seconds": (0.4, 1.5), "time/rollout_seconds": (0.2, 0.3), "time/evaluating_seconds": (NAN, 1.0)}
    figure = run_charts.time_figure(Aligned((1, 2), (-1, -1), parts, 2))
    assert [(trace.name, trace.y) for trace in figure.data] == [("rollout", (0.2, 0.3)), ("evaluating", (0.0, 1.0))]
    assert run_charts.time_figure(Aligned((), (), {}, 0)) is None


def test_the_time_of_one_step_does_not_slope_into_its_neighbours():
    parts = {"time/rollout_seconds": (0.2, 0.3), "time/evaluating_seconds": (NAN, 1.0)}
    figure = run_charts.time_figure(Aligned((1, 2), (-1, -1), parts, 2))
    assert {trace.line.shape for trace in figure.data} == {"hvh"}


def test_a_long_legend_has_room_below_the_title():
    def top(entries):
        data = [Line(f"part {index}", [1, 2], [1.0, 2.0], "#000000") for index in range(entries)]
        return charts.stacked("t", data, y_title="s").layout.margin.t

    assert [top(entries) for entries in (1, 2, 3, 7)] == [38, 58, 58, 118]


def test_charts_over_steps_share_their_axis_whatever_each_has_on_it():
    short, long = (charts.lines("t", [Line("a", [0, last], [1.0, 2.0], "#000000")]) for last in (60, 100))
    charts.share_steps([short, long, charts.lines("empty", [])])
    assert short.layout.xaxis.range == long.layout.xaxis.range
    low, high = long.layout.xaxis.range
    assert -5 < low < 0
    assert 100 < high < 105
    charts.share_steps([charts.lines("empty", [])])


def test_a_scatter_shows_every_dot_and_the_diagonal_widens_nothing():
    dots = charts.Dots([1.0, 2.0], [100.0, 300.0], [5, 10], "#000000")
    figure = charts.scatter("t", [dots], x_title="a", y_title="b", diagonal=True)
    [trace] = figure.data
    assert (trace.type, trace.mode, trace.x, trace.y, trace.customdata) == (
        "scatter",
        "markers",
        (1, 2),
        (100, 300),
        (5, 10),
    )
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("a", "b")
    for axis, low, high in ((figure.layout.xaxis, 1, 2), (figure.layout.yaxis, 100, 300)):
        assert low - 0.1 * (high - low) < axis.range[0] < low
        assert high < axis.range[1] < high + 0.1 * (high - low)
    [diagonal] = [shape for shape in figure.layout.shapes if shape.line.dash == "dash"]
    assert (diagonal.x0, diagonal.x1) == (diagonal.y0, diagonal.y1)
    assert len(charts.scatter("t", [dots], x_title="a", y_title="b").layout.shapes) == 2
    single = charts.scatter("t", [charts.Dots([0.0], [0.0], [1], "#000000")], x_title="a", y_title="b")
    assert single.layout.xaxis.range == (-1, 1)


def test_an_evaluation_is_drawn_with_its_interval():
    values = dict.fromkeys(EvaluationRow.__dataclass_fields__)
    values |= {"benchmark": "addition", "samples": 2, "items": {"a": "11", "b": "10", "c": "00"}}
    rows = [EvaluationRow(**{**values, "step": step}) for step in (20, 0)]
    [figure] = run_charts.evaluation_figures(rows, "#000000")
    band, line = figure.data
    assert "avg@2" in figure.layout.title.text
    assert line.x == (0, 20)
    assert line.y == (0.5, 0.5)
    assert min(band.y) < 0.5 < max(band.y)


def test_a_value_per_mini_batch_is_a_dot_and_the_mean_of_the_step_a_line():
    fine, coarse = Series((1, 1), (0, 1), (0.0, 1.0)), Series((1,), (-1,), (0.5,))
    lines = run_charts.chart_lines(
        run_charts.COEFFICIENT_TAB[0],
        {"mtp/coefficient": coarse},
        {"mtp/coefficient": fine},
        per_step=2,
        colour="#000000",
    )
    assert [(line.mode, list(line.x), list(line.y)) for line in lines] == [
        ("markers", [0.5, 1.0], [0.0, 1.0]),
        ("lines", [1], [0.5]),
    ]


def test_what_the_sampler_took_of_drafts_is_a_chart_of_its_own_by_length_and_not_the_heads_agreement():
    assert run_charts.draft_charts(["mtp/acceptance_greedy", "rollout/drafts", "rollout/tokens_per_draft"]) == ()
    [chart] = run_charts.draft_charts([f"rollout/draft_acceptance_{place}" for place in (10, 2, 1)])
    assert chart.title == "Drafts accepted while sampling"
    assert chart.metrics == (
        ("rollout/draft_acceptance_1", "first token"),
        ("rollout/draft_acceptance_2", "first 2 tokens"),
        ("rollout/draft_acceptance_10", "first 10 tokens"),
    )


def test_the_charts_of_another_depth_show_that_depths_metrics_and_no_other():
    known = set(re.findall(r"`(mtp/[\w/]+)`", METRICS.read_text()))
    of_first, of_third = (
        run_charts.names(run_charts.at_depth(run_charts.COEFFICIENT_TAB, depth), fine=False) for depth in (1, 3)
    )
    assert set(of_first) <= known
    assert [name.replace("mtp/depth_3/", "mtp/") for name in of_third] == of_first
    assert all(name.startswith("mtp/depth_3/") for name in of_third)
