"""What audits say: which values belong to which depth, what is correlated with what, and what is never hidden."""

import math

import pytest

from backend import audits, palette
from backend.audits import Audits
from dashboard import audit_charts
from db.reads import Aligned

NAN = math.nan


def aligned(**values):
    """Audits at steps 10, 20, ...; `c` stands for audit/c, `depth_2__c` for audit/depth_2/c, `used` for mtp/coefficient."""
    named = {
        "mtp/coefficient" if name == "used" else f"audit/{name.replace('__', '/')}": tuple(map(float, series))
        for name, series in values.items()
    }
    count = max(map(len, named.values()))
    return Aligned(tuple(range(10, 10 * count + 1, 10)), (3,) * count, named, count)


def one_depth(**values):
    return audits.of_depth(aligned(**values), 1)


def test_the_depths_are_those_that_the_audits_tell_of():
    assert audits.depths(["audit/c", "mtp/depth_3/coefficient", "audit/g_rl_squared"]) == [1]
    assert audits.depths(["audit/c", "audit/depth_10/c", "audit/depth_2/c"]) == [1, 2, 10]


def test_only_what_the_charts_need_is_read():
    names = [
        "audit/c",
        "audit/depth_2/c",
        "mtp/coefficient",
        "mtp/depth_2/coefficient",
        "mtp/coefficient_own",
        "mtp/c_hat",
    ]
    assert audits.metrics_of(names) == names[:4]


def test_each_depth_has_its_own_values_and_those_without_a_depth():
    whole = aligned(c=[1], depth_2__c=[2], g_rl_squared=[3], predicted_change=[4], used=[5])
    first, second = audits.of_depth(whole, 1), audits.of_depth(whole, 2)
    assert first.values == {"c": (1,), "g_rl_squared": (3,), "predicted_change": (4,), "used": (5,)}
    assert second.values == {"c": (2,), "g_rl_squared": (3,), "predicted_change": (4,)}


def test_a_correlation_is_over_the_audits_where_both_are_finite():
    given = one_depth(coefficient=[1, 2, 3, 4, 5, NAN], proxy_own=[1, 2, 4, 3, 5, 9], proxy_main=[NAN] * 6)
    assert given.correlation("coefficient", "proxy_own")[::3] == (pytest.approx(0.9), 5)
    assert given.correlation("coefficient", "proxy_main").n == 0
    assert given.correlation("coefficient", "absent").n == 0
    assert audit_charts.proxy_figure(given, "proxy_main") is None


def test_each_proxy_has_a_dot_per_audit_its_axes_and_a_look_of_its_own():
    given = one_depth(coefficient=[1, NAN, 3], proxy_own=[0.1, 0.2, 0.3], proxy_main=[3, 2, 1])
    own, main = (audit_charts.proxy_figure(given, proxy) for proxy in ("proxy_own", "proxy_main"))
    assert (own.data[0].x, own.data[0].y, own.data[0].customdata) == ((1, 3), (0.1, 0.3), (10, 30))
    assert main.data[0].y == (3, 1)
    assert own.layout.xaxis.title.text == main.layout.xaxis.title.text == "exact λ"
    assert own.layout.yaxis.title.text == "proxy, reference own"
    assert own.data[0].marker.color != main.data[0].marker.color
    assert own.data[0].marker.symbol != main.data[0].marker.symbol


def test_the_changes_are_set_against_each_other_with_the_diagonal_and_their_signs_counted():
    # At the last two the MTP part had weight 0: that is no disagreement.
    given = one_depth(predicted_change=[1, -2, 3, 0, NAN, 0, 0], measured_change=[2, -1, -3, 1, 5, 0, 0])
    figure = audit_charts.change_figure(given)
    assert figure.data[0].x == (1, -2, 3, 0, 0, 0)
    assert [shape.line.dash for shape in figure.layout.shapes].count("dash") == 1
    effects = given.effects()
    assert (effects.equal_signs, effects.of, effects.without, effects.correlation.n) == (2, 4, 2, 4)
    assert audit_charts.change_figure(one_depth(c=[1])) is None


def test_by_step_there_is_a_line_per_value_that_was_measured():
    figures = audit_charts.by_step(one_depth(c=[1, 2], c_cross=[NAN, 1], coefficient=[1, 1], used=[0, 1]))
    assert list(figures) == ["Coefficient λ", "c, correlation of the gradients"]
    assert [line.name for line in figures["Coefficient λ"].data] == ["exact", "used"]
    assert [line.x for line in figures["c, correlation of the gradients"].data] == [(10, 20)] * 2


def test_colours_of_one_chart_are_the_palettes_and_differ():
    used = [colour for metrics in audit_charts._BY_STEP.values() for *_, colour in metrics]
    assert set(used) <= set(palette.SERIES)
    for metrics in audit_charts._BY_STEP.values():
        assert len({colour for *_, colour in metrics}) == len(metrics)


def test_a_running_ratio_is_of_sums_over_the_last_audits():
    ones = [1.0] * 20
    rising = [float(value) for value in range(20)]
    result = audit_charts.running_ratio(rising, ones)
    assert all(map(math.isnan, result[:4]))
    assert result[4] == 2  # mean of 0 to 4
    assert result[19] == 14.5  # mean of 10 to 19
    one_near_zero = audit_charts.running_ratio(ones[:6], [2.0, 2.0, 1e-9, 2.0, 2.0, 2.0])
    assert one_near_zero[5] == pytest.approx(0.6)
    assert all(map(math.isnan, audit_charts.running_ratio(ones, [-1.0] * 20)))
    assert math.isnan(audit_charts.running_ratio([1.0, 1.0, NAN, 1.0, 1.0], ones[:5])[4])


def test_signal_and_noise_run_over_the_products_that_they_are_ratios_of():
    count = 6
    figure = audit_charts.signal_figure(
        one_depth(
            signal=[0.5] * count,
            noise=[9.0] * count,
            c=[3.0] * count,
            c_cross=[1.0] * count,
            g_rl_squared=[6.0] * count,
            g_rl_squared_cross=[2.0] * count,
        )
    )
    by_name = {trace.name: trace for trace in figure.data}
    assert by_name["signal s"].y[-1] == 0.5
    assert by_name["noise κ"].y[-1] == 0.5
    assert by_name["noise κ, one audit"].y == (9.0,) * count
    assert "policy form" in figure.layout.title.text


def test_the_cross_entropy_form_has_its_own_products():
    values = {"ce_signal": [1.0] * 5, "ce_noise": [1.0] * 5, "ce_c": [5.0] * 5, "ce_c_cross": [-4.0] * 5}
    figure = audit_charts.signal_figure(
        one_depth(**values, g_rl_squared=[3.0] * 5, g_rl_squared_cross=[2.0] * 5), "ce_"
    )
    assert {trace.name: trace.y[-1] for trace in figure.data if trace.mode == "lines"} == {
        "signal s": -2.0,
        "noise κ": 9.0,
    }
    assert "cross-entropy form" in figure.layout.title.text
    assert audit_charts.signal_figure(one_depth(c=[1.0])) is None


def test_a_stray_audit_does_not_press_the_rest_flat_and_is_counted():
    signal = [0.1 * index for index in range(10)] + [1e6, -1e6]
    figure = audit_charts.signal_figure(one_depth(signal=signal, c_cross=[1.0] * 12, g_rl_squared_cross=[2.0] * 12))
    low, high = figure.layout.yaxis.range
    assert low <= 0
    assert 0.9 <= high < 10
    assert "2 outside" in figure.layout.title.text
    assert [trace.y for trace in figure.data if trace.mode == "markers"] == [tuple(signal)]


def test_a_single_audit_makes_every_figure():
    given = Audits(
        [10], {"signal": [NAN], "noise": [1.0], "c": [1.0], "predicted_change": [0.0], "measured_change": [0.0]}
    )
    assert audit_charts.signal_figure(given)
    assert audit_charts.change_figure(given)
    assert audit_charts.by_step(given)
