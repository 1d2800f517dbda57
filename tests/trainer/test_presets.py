"""Presets are complete configurations that the schema accepts."""

from __future__ import annotations

from pathlib import Path

import pytest

import trainer.presets
from trainer.config import Dapo, Gspo, NamedData, Occ, RunConfig, parse, resolve
from trainer.presets import presets

REGIMES = ["off", "detach", "ce", "policy-0.1", "policy-0.2", "policy-0.5", "policy"]
REGIMES += ["occ", "occ-official", "occ-calibrated", "oracle"]
RECIPES = ["demo", "small-gpu", "paper-mimo-7b", "paper-mimo-7b-gspo", "paper-glm-4.5-air"]
NAMES = [f"{recipe}/{regime}" for recipe in RECIPES for regime in REGIMES]


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
    assert configuration(name).name == ""
    assert 0 < len(preset.title) <= 80
    assert preset.description.endswith(".")
    assert "\n" not in preset.title + preset.description


def test_regimes_of_a_recipe_differ_in_nothing_but_how_the_heads_are_trained():
    def rest(name: str) -> dict[str, object]:
        return configuration(name).model_dump(exclude={"regime", "mtp"})

    assert all(rest(name) == rest(f"{name.split('/')[0]}/detach") for name in NAMES)


def test_the_demo_is_that_of_its_base_model():
    assert configuration("demo/occ").model.path == "/home/mtprl/models/addition"


@pytest.mark.parametrize("recipe", ["paper-mimo-7b", "paper-mimo-7b-gspo", "paper-glm-4.5-air"])
def test_the_papers_recipes_are_those_of_the_paper(recipe):
    config = configuration(f"{recipe}/occ")
    assert config.algorithm == (Gspo() if recipe.endswith("gspo") else Dapo())
    assert (config.steps, config.update.mini_batches, config.updates_per_step) == (200, 4, 4)
    rollout, optimizer, evaluation = config.rollout, config.optimizer, config.evaluation
    assert (rollout.prompts_per_step, rollout.samples_per_prompt, rollout.temperature) == (128, 16, 1.0)
    assert (rollout.max_prompt_tokens, rollout.max_response_tokens) == (2048, 8192)
    assert (optimizer.lr, optimizer.warmup_steps, optimizer.weight_decay, optimizer.grad_clip) == (1e-6, 10, 0.1, 1.0)
    assert (config.reward.overlong_buffer, config.reward.overlong_factor) == (4096, 1.0)
    assert (config.reward.correct, config.reward.incorrect) == (1.0, -1.0)
    assert (evaluation.temperature, evaluation.top_p, evaluation.samples) == (1.0, 0.7, 32)
    assert evaluation.afterwards is not None
    assert (evaluation.afterwards.suite, evaluation.afterwards.samples) == ("six", 32)
    assert config.data.source == "dapo-math-17k (en)"
    assert [benchmark.name for benchmark in evaluation.benchmarks] == ["aime24", "aime25"]
    for benchmark in evaluation.benchmarks:
        assert benchmark.data == NamedData(name=benchmark.name, chat=True)


def test_the_two_recipes_of_one_model_differ_in_the_algorithm_alone():
    first, second = (configuration(f"{name}/occ") for name in ("paper-mimo-7b", "paper-mimo-7b-gspo"))
    assert first.model_copy(update={"algorithm": second.algorithm}) == second


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
    assert all(preset.values["rollout"]["prompts_per_step"] > 1 for preset in presets().values())
