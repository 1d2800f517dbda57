"""Presets are complete configurations that the schema accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

import trainer.presets
from trainer.config import Occ, RunConfig, parse, resolve
from trainer.presets import presets

REGIMES = ["off", "detach", "ce", "policy-0.1", "policy-0.2", "policy-0.5", "policy"]
REGIMES += ["occ", "occ-official", "occ-calibrated", "oracle"]
NAMES = [f"demo/{regime}" for regime in REGIMES]


def configuration(name: str) -> RunConfig:
    return parse(resolve(presets()[name].values, variables={"MTPRL_HOME": "/home/mtprl"}))


def test_presets_come_in_the_order_of_the_form():
    assert list(presets()) == NAMES
    assert [preset.name for preset in presets().values()] == NAMES


def test_every_file_is_a_preset():
    folder = Path(trainer.presets.__file__).parent
    files = {
        (recipe.stem, regime.stem)
        for recipe in (folder / "recipes").iterdir()
        for regime in (folder / "regimes").iterdir()
    }
    assert {f"{recipe}/{regime}" for recipe, regime in files} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_accepted_by_the_schema_and_says_what_it_is(name):
    preset = presets()[name]
    assert configuration(name).model.path == "/home/mtprl/models/addition"
    assert 0 < len(preset.title) <= 60
    assert preset.description.endswith(".")
    assert "\n" not in preset.title + preset.description


def test_regimes_of_a_recipe_differ_in_nothing_but_how_the_heads_are_trained():
    def rest(name: str) -> dict[str, object]:
        return configuration(name).model_dump(exclude={"regime", "mtp"})

    assert all(rest(name) == rest("demo/detach") for name in NAMES)


def test_the_papers_form_is_the_schemas_default():
    assert configuration("demo/occ").regime == Occ()
    assert configuration("demo/occ").mtp.head_loss == "regime"


def test_the_authors_form_and_the_calibrated_one_are_what_they_are_called():
    assert configuration("demo/occ-official").regime == Occ(estimator="token_mean", window="micro_batch")
    calibrated = configuration("demo/occ-calibrated")
    assert calibrated.regime == Occ(reference="own", clip=(0.0, 1.0))
    assert calibrated.mtp.head_loss == "ce"


def test_changing_a_presets_values_changes_no_other():
    presets()["demo/occ"].values["rollout"]["prompts_per_step"] = 1
    assert all(preset.values["rollout"]["prompts_per_step"] == 64 for preset in presets().values())
