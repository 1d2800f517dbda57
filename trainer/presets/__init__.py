"""Presets: complete configurations to start from, each a recipe (model, data, budget) with a regime.

A recipe is a file of `recipes/`, a regime a file of `regimes/`; both are YAML with `title`, `description` and `values`.
Paths in the values hold `${MTPRL_HOME}`: `trainer.config.resolve` fills it in.
"""

from __future__ import annotations

from copy import deepcopy
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
    """A named configuration, or its part that is a recipe or a regime: `values` is what `trainer.config.resolve` and then `parse` take."""

    name: str
    title: str
    description: str
    values: dict[str, Any]


def recipes() -> dict[str, Preset]:
    """Model, data and budget of the presets by name, in a stable order, without a regime. Each call gives fresh values, to change at will."""
    return {name: Preset(name, **_read("recipes", name)) for name in _RECIPES}


def regimes() -> dict[str, Preset]:
    """The methods of the presets by name: sections `regime` and, where it is not the usual one, `mtp`."""
    return {name: Preset(name, **_read("regimes", name)) for name in _REGIMES}


def presets() -> dict[str, Preset]:
    """All presets by name, `<recipe>/<regime>`, in a stable order."""
    both = [_together(recipe, regime) for recipe in recipes().values() for regime in regimes().values()]
    return {preset.name: preset for preset in both}


def _together(recipe: Preset, regime: Preset) -> Preset:
    return Preset(
        name=f"{recipe.name}/{regime.name}",
        title=f"{recipe.title} · {regime.title}",
        description=f"{regime.description} {recipe.description}",
        values={**deepcopy(recipe.values), **deepcopy(regime.values)},
    )


def _read(kind: str, name: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((_FOLDER / kind / f"{name}.yaml").read_text(encoding="utf-8"))
    return values
