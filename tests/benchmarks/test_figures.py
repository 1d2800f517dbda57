"""Charts: what is larger stands further right, or higher, and what lies beyond the edge is not drawn as if it did not."""

import re

import pytest

from benchmarks.figures import Line, Panel, intervals, lines
from benchmarks.intervals import Mean

LIMITS = (-4.0, 2.0)


def chart(value: float, half: float = 0.5, parts: tuple[float, ...] = ()) -> str:
    return intervals([("occ", "#123456", Mean(value, half, 0.5, 5), parts)], LIMITS, "points", "title")


def dots(svg: str, radius: str) -> list[float]:
    return [float(x) for x in re.findall(rf'<circle cx="([\d.]+)" cy="[\d.]+" r="{radius}"', svg)]


def zero(svg: str) -> float:
    (label,) = re.findall(r'<text x="([\d.]+)"[^>]*>0</text>', svg)
    return float(label)


def test_above_0_stands_right_of_it_and_below_0_left():
    up, down = chart(1.0), chart(-1.0)
    right, left = dots(up, "4.5")[0] - zero(up), zero(down) - dots(down, "4.5")[0]
    assert right == pytest.approx(left, abs=0.2)
    assert right > 50


def test_interval_reaches_from_its_low_to_its_high_end():
    svg = chart(1.0, half=0.5)
    (ends,) = re.findall(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)" y2="[\d.]+" stroke="#123456"', svg)
    points = (dots(svg, "4.5")[0] - zero(svg)) / 1.0
    assert [round((float(x) - zero(svg)) / points, 2) for x in ends] == [0.5, 1.5]


def test_blocks_beyond_the_edge_are_triangles_and_not_rings_at_the_edge():
    inside, outside = chart(-1.0, parts=(-3.0, 1.0)), chart(-1.0, parts=(-7.0, 1.0))
    assert (len(dots(inside, "3")), inside.count("<path")) == (2, 0)
    assert (len(dots(outside, "3")), outside.count("<path")) == (1, 1)
    assert chart(1.0, half=3.0).count("<path") == 1


def test_a_mean_beyond_the_edge_is_written_out():
    svg = chart(-32.5, 1.2)
    assert "-32.5 ± 1.2" in svg
    assert dots(svg, "4.5") == []


def test_higher_values_stand_higher_and_points_stand_where_they_belong():
    svg = lines([Panel("accuracy", (0.0, 40.0), [Line("occ", "#123456", [1.0, 3.0, 2.0])])], "step", "title")
    (path,) = re.findall(r'<polyline points="([^"]+)"', svg)
    (x1, y1), (x2, y2), (x3, y3) = ([float(number) for number in point.split(",")] for point in path.split())
    assert y2 < y3 < y1
    assert x2 - x1 == x3 - x2 > 0
    assert f'<text x="{x3}"' in svg  # the label of step 40


def test_three_panels_are_no_wider_than_a_page():
    panels = [Panel("λ", (0.0, 40.0), [Line("occ", "#123456", [0.0, 1.0])])] * 3
    widths = [int(lines(panels[:count], "step", "title").split('width="')[1].split('"')[0]) for count in (1, 2, 3)]
    assert widths[0] < widths[1] < widths[2] <= 838
