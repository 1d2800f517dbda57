"""Regime colours: readable on both backgrounds, and apart for every kind of colour vision."""

import itertools
import math
import tomllib
from pathlib import Path

import pytest

from backend import palette

CONFIG = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())

# Linear-RGB matrices of Machado, Oliveira and Fernandes (2009), severity 1.
VISIONS = {
    "full": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour):
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]


def luminance(colour):
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def lab(colour, vision):
    red, green, blue = (
        min(max(sum(row[i] * value for i, value in enumerate(linear(colour))), 0), 1) for row in VISIONS[vision]
    )
    xyz = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883,
    )
    x, y, z = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("regime", palette.REGIMES)
def test_every_regime_is_readable_on_both_backgrounds(theme, regime):
    assert contrast(palette.regime_colour(regime), CONFIG["theme"][theme]["backgroundColor"]) >= 3


@pytest.mark.parametrize("vision", VISIONS)
def test_two_regimes_never_look_alike(vision):
    for one, other in itertools.combinations(palette.REGIMES, 2):
        assert math.dist(lab(palette.REGIMES[one], vision), lab(palette.REGIMES[other], vision)) > 20, (one, other)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_white_labels_are_readable_on_the_primary_colour(theme):
    assert contrast("#FFFFFF", CONFIG["theme"][theme]["primaryColor"]) >= 4.5


def test_a_few_lines_have_a_dash_each():
    assert palette.dashes(["occ", "ce", "occ", "occ"]) == ["solid", "dash", "dot", "dashdot"]


def test_of_many_lines_a_repeated_regime_gets_another_dash_and_a_new_one_a_solid_line():
    regimes = ["occ", "ce", "occ", "occ", "detach", "ce", "policy"]
    assert palette.dashes(regimes) == ["solid", "solid", "dash", "dot", "solid", "dash", "solid"]
