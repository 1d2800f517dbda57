"""Presets: complete configurations to start from, each a recipe (model, data, budget) with a regime.

A recipe is a file of `recipes/`, a regime a file of `regimes/`; both are YAML with `title`, `description` and `values`.
Paths in the values hold `${MTPRL_HOME}`: `trainer.config.resolve` fills it in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_FOLDER = Path(__file__).parent
_RECIPES = ("demo", "small-gpu", "paper-mimo-7b", "paper-mimo-7b-gspo", "paper-glm-4.5-air")
_REGIMES = (
    "off",
    "detach",
    "ce",
    "policy-0.1",
    "policy-0.2",
    "policy-0.5",
    "policy",
    "occ",
    "occ-official",
    "occ-calibrated",
    "oracle",
)  # the order in which a form lists them


@dataclass(frozen=True, slots=True)
class Preset:
    """A named configuration: `values` is what `trainer.config.resolve` and then `parse` take."""

    name: str
    title: str
    description: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RegimePreset:
    """The method of a preset by itself: `values` holds the sections `regime` and, where it is not the usual one, `mtp`."""

    name: str
    title: str
    description: str
    values: dict[str, Any]


def regimes() -> dict[str, RegimePreset]:
    """The methods of the presets by name, in a stable order. Each call gives fresh values, to change at will."""
    return {name: RegimePreset(name, **_read("regimes", name)) for name in _REGIMES}


def presets() -> dict[str, Preset]:
    """All presets by name, `<recipe>/<regime>`, in a stable order. Each call gives fresh values, to change at will."""
    return {preset.name: preset for recipe in _RECIPES for preset in _of_recipe(recipe)}


def _of_recipe(name: str) -> Iterator[Preset]:
    for regime in regimes().values():
        recipe = _read("recipes", name)
        yield Preset(
            name=f"{name}/{regime.name}",
            title=f"{recipe['title']} · {regime.title}",
            description=f"{regime.description} {recipe['description']}",
            values={**recipe["values"], **regime.values},
        )


def _read(kind: str, name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((_FOLDER / kind / f"{name}.yaml").read_text(encoding="utf-8"))
    return values
