"""The form against the configuration that the trainer validates: every preset, both ways, and refusals beside their field."""

import shlex

import pytest

from dashboard import forms
from trainer.config import dump, parse, resolve
from trainer.errors import ConfigError, Problem
from trainer.presets import presets

PRESETS = presets()
PAIRED = [name for name in PRESETS if name.startswith("demo/") or name.endswith("/occ")]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_comes_out_of_the_form_as_it_went_in(name):
    values = PRESETS[name].values
    assert parse(forms.values_of(forms.texts_of(values))) == parse(values)
    assert forms.overrides(values, forms.texts_of(values)) == []


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("other", PAIRED)
def test_the_command_makes_the_configuration_that_the_form_shows(name, other):
    texts = forms.texts_of(PRESETS[other].values) | {
        "optimizer.lr": "1e-5",
        "name": "on its own",
        "rollout.temperature": "0.7",
        "data.jsonl.template": "Q: {problem}\nA: yes #1",
        "optimizer.betas": "[0.8, 0.95]",
    }
    command = shlex.split(
        forms.command(forms.Start(("submit", name), PRESETS[name].values, ""), texts, seeds=[0, 2], experiment="a b")
    )
    assert command[:3] == ["mtprl", "submit", name]
    assert command[-4:] == ["--seeds", "0,2", "--experiment", "a b"]
    given = [command[index + 1] for index, part in enumerate(command) if part == "--set"]
    variables = {"MTPRL_HOME": "/home"}
    assert parse(resolve(PRESETS[name].values, given, variables)) == parse(
        resolve(forms.values_of(texts), (), variables)
    )


def test_every_setting_of_the_schema_has_a_field_with_help_but_the_seed():
    texts = forms.texts_of(PRESETS["demo/occ"].values)
    config = parse(PRESETS["demo/occ"].values).model_dump()
    expected = {
        f"{section}.{name}" for section, values in config.items() if isinstance(values, dict) for name in values
    }
    expected |= {name for name, value in config.items() if not isinstance(value, dict)} - {"seed"}
    assert {field.path for field in forms.shown_fields(texts)} == expected
    assert [field.key for field in forms.every_field() if not field.help and not field.variants] == []


def test_only_the_chosen_regimes_settings_count_and_the_others_are_kept():
    texts = forms.texts_of(PRESETS["demo/occ"].values) | {
        "regime.occ.lambda_plus": "0.5",
        "regime.kind": "ce",
        "regime.ce.coefficient": "0.2",
    }
    assert forms.values_of(texts)["regime"] == {"kind": "ce", "coefficient": 0.2}
    assert forms.values_of(texts | {"regime.kind": "occ"})["regime"]["lambda_plus"] == 0.5


@pytest.mark.parametrize(
    ("change", "key", "says"),
    [
        ({"regime.occ.lambda_plus": "-1"}, "regime.occ.lambda_plus", "-1"),
        ({"regime.occ.lambda_plus": "much"}, "regime.occ.lambda_plus", "'much'"),
        ({"regime.occ.clip": "[1, 0]"}, "regime.occ.clip", "low < high"),
        ({"regime.occ.clip": "[1, "}, "regime.occ.clip", "[1, "),
        ({"update.mini_batches": "5"}, "update.mini_batches", "does not divide"),
        ({"update.mini_batches": "1"}, "update.mini_batches", "leaves nothing for occ to measure"),
        ({"steps": ""}, "steps", "''"),
        ({"data.jsonl.path": ""}, "data.jsonl.path", "at least 1 character"),
        ({"data.jsonl.template": "no"}, "data.jsonl.template", "add it"),
        (
            {"evaluation.benchmarks": "- {name: a, data: {kind: jsonl, path: x}, limit: 0}"},
            "evaluation.benchmarks",
            "evaluation.benchmarks.0.limit",
        ),
        ({"regime.kind": "off", "mtp.head_loss": "ce"}, "mtp.head_loss", "use regime detach"),
    ],
)
def test_a_refused_value_is_reported_beside_its_field(change, key, says):
    texts = forms.texts_of(PRESETS["demo/occ"].values) | change
    with pytest.raises(ConfigError) as refused:
        parse(forms.values_of(texts))
    problems = forms.beside_fields(refused.value.problems, texts)
    assert says in " ".join(problems[key])


def test_a_problem_of_a_field_that_is_not_shown_is_still_reported():
    texts = forms.texts_of(PRESETS["demo/detach"].values)
    assert forms.beside_fields([Problem("regime.coefficient", "x")], texts) == {"": ["regime.coefficient: x"]}


def test_an_empty_field_means_none_where_the_setting_is_optional():
    texts = forms.texts_of(PRESETS["demo/occ-calibrated"].values) | {"regime.occ.clip": "", "evaluation.benchmarks": ""}
    config = parse(forms.values_of(texts))
    assert config.regime.clip is None
    assert config.evaluation.benchmarks == ()
    assert "clip: null" in dump(config)


def test_seeds_are_one_number_or_several():
    assert forms.parse_seeds("0") == [0]
    assert forms.parse_seeds(" 0, 1,2 ") == [0, 1, 2]


@pytest.mark.parametrize("text", ["", "a", "-1", "0.5", "1,1", "0 1"])
def test_seeds_that_mean_nothing_are_refused_with_the_text_that_was_given(text):
    with pytest.raises(ConfigError) as refused:
        forms.parse_seeds(text)
    assert refused.value.problems[0].field == "seeds"
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "jsonl", "path": "x.jsonl", "columns": {"problem": "question", "answer": "final_answer.0"}},
        {"kind": "parquet", "path": "data/train-*.parquet", "columns": {"id": "extra_info.index"}},
        {"kind": "hub", "id": "own/maths", "config": "en", "split": "test", "revision": "main"},
        {"kind": "named", "name": "dapo-math-17k", "language": "zh", "chat": True, "system": "Be brief."},
        {"kind": "reasoning_gym", "task": "gcd", "settings": {"max_num": 9}},
    ],
)
def test_every_kind_of_data_goes_through_the_form_and_the_command_unchanged(data):
    values = {**presets()["demo/occ"].values, "data": data}
    config = parse(forms.values_of(forms.texts_of(values)))
    assert config.data == parse(values).data
    changes = forms.overrides(presets()["demo/occ"].values, forms.texts_of(values))
    assert parse(resolve(presets()["demo/occ"].values, changes, {"MTPRL_HOME": "home"})).data == config.data
