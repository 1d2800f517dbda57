"""A configuration is read back as it was written, with overrides and variables filled in, and refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from configs import LEAST, refusals

from trainer.config import ReasoningGymData, dump, load, parse, read_yaml, resolve
from trainer.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_dumped_is_read_back_the_same(tmp_path):
    values = {
        **LEAST,
        "name": "1e-6",  # text that YAML could take for a number
        "regime": {"kind": "off"},
        "optimizer": {"lr": 3e-7, "betas": [0.9, 0.95]},
        "data": {"kind": "reasoning_gym", "task": "gcd", "settings": {"on": "yes", "when": "2026-01-31", "rate": 1e-5}},
        "evaluation": {
            "benchmarks": [
                {
                    "name": "held.out",
                    "data": {"kind": "jsonl", "path": "é ü.jsonl", "template": "{problem}\n\nAnswer: "},
                }
            ]
        },
    }
    config = parse(values)
    text = dump(config)
    assert load(write(tmp_path, text)) == config
    # Whoever reads the run folder with plain PyYAML sees the same words.
    plain = yaml.safe_load(text)
    assert (plain["regime"]["kind"], plain["name"], plain["data"]["settings"]["on"]) == ("off", "1e-6", "yes")


def test_yaml_means_what_it_says(tmp_path):
    path = write(
        tmp_path,
        "name: 2026-01-31\nregime: {kind: off}\nmodel: {path: no}\ndata: {kind: reasoning_gym, task: on, settings: {a: true, b: -.5, c: 7}}\noptimizer: {lr: 1e-6}\n",
    )
    config = load(path)
    assert (config.name, config.regime.kind, config.model.path) == ("2026-01-31", "off", "no")
    assert read_yaml(path)["optimizer"]["lr"] == 1e-6
    assert isinstance(config.data, ReasoningGymData)
    assert (config.data.task, config.data.settings) == ("on", {"a": True, "b": -0.5, "c": 7})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seed: 1\nsteps: 5\nseed: 2\n", "is not valid YAML: line 1: 'seed' is given twice"),
        ("optimizer:\n  lr: 1\n  lr: 2\n", "is not valid YAML: line 2: 'lr' is given twice"),
        ("a: [1,\n", "is not valid YAML: line 2: "),
        ("- 1\n", "must hold a mapping such as `regime: {kind: occ}`, not list"),
        ("", "must hold a mapping such as `regime: {kind: occ}`, not NoneType"),
        (
            "a: &a [*a]\n",
            "is not valid YAML: line 1: what begins here holds itself through an alias (*); write the values out",
        ),
        ("a: &a\n  b: {c: *a}\n", "is not valid YAML: line 1: what begins here holds itself through an alias (*)"),
        ("[" * 5000, "is not valid YAML: is nested too deeply"),
        ("a: !!python/object/apply:os.getcwd []\n", "is not valid YAML: line 1: "),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_path(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: {says}")


@pytest.mark.parametrize(
    ("written", "value"), [("010", 10), ("-7", -7), ("+08", 8), ("0", 0), ("9" * 30, int("9" * 30))]
)
def test_whole_numbers_are_decimal(tmp_path, written, value):
    number = read_yaml(write(tmp_path, f"seed: {written}\n"))["seed"]
    assert (number, type(number)) == (value, int)


@pytest.mark.parametrize("written", ["1:30", "0b11", "0x1F", "1_0", "1_0.5", "0o17"])
def test_what_is_a_number_only_to_older_yaml_is_text_that_a_number_field_refuses(tmp_path, written):
    values = read_yaml(write(tmp_path, f"seed: {written}\n"))
    assert values == {"seed": written}
    (said,) = refusals(**values)
    assert said.startswith(f"seed: {written!r} is no ")
    assert parse({**LEAST, "model": {"path": written}}).model.path == written


def test_an_absent_or_binary_file_is_refused_with_its_path(tmp_path):
    with pytest.raises(
        ConfigError, match=r"none\.yaml: cannot be read \(No such file or directory\); give the path of a YAML file"
    ):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="the path of the configuration is empty; give"):
        load("")
    (tmp_path / "run.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load(tmp_path / "run.yaml")


def test_overrides_reach_new_keys_nested_keys_and_places_in_lists():
    values = {**LEAST, "evaluation": {"benchmarks": [{"name": "a"}, {"name": "b"}]}}
    overrides = [
        "optimizer.lr=1e-6",
        "regime={kind: off}",
        "name=x = y",
        "evaluation.benchmarks.1.limit=5",
        "evaluation.benchmarks.0={name: c}",
    ]
    result = resolve(values, overrides)
    assert result["optimizer"]["lr"] == 1e-6
    assert result["regime"] == {"kind": "off"}
    assert result["name"] == "x = y"
    assert result["evaluation"]["benchmarks"] == [{"name": "c"}, {"name": "b", "limit": 5}]


def test_resolving_leaves_its_input_alone():
    values = {"regime": {"kind": "occ", "clip": [0, 1]}}
    resolve(values, ["regime.clip=[0, 2]", "regime.ema=0.5"])
    assert values == {"regime": {"kind": "occ", "clip": [0, 1]}}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("steps", "--set: 'steps' is not of the form a.b=c, such as optimizer.lr=1e-6"),
        (".=1", "--set: '.=1': the name of the setting is empty, or a part of it; write it as in optimizer.lr=1e-6"),
        ("optimizer..lr=1", "--set: 'optimizer..lr=1': the name of the setting is empty, or a part of it; "),
        ("a=&a [*a]", "--set: 'a=&a [*a]': the value is not valid YAML: line 1: what begins here holds itself"),
        ("=5", "--set: '=5' is not of the form a.b=c, such as optimizer.lr=1e-6"),
        ("clip=[0,", "--set: 'clip=[0,': the value is not valid YAML: "),
        ("seed.x=5", "seed.x: cannot be set, because seed holds 3"),
        ("list.2=5", "list.2: cannot be set, because list holds a list with places 0 to 1"),
        ("list.x.y=5", "list.x.y: cannot be set, because list holds a list with places 0 to 1"),
        ("none.0=5", "none.0: cannot be set, because none holds []"),
    ],
)
def test_a_malformed_override_is_refused_in_words(override, says):
    with pytest.raises(ConfigError) as refused:
        resolve({"seed": 3, "list": [1, 2], "none": []}, [override])
    assert str(refused.value).startswith(says)


def test_variables_are_filled_in_everywhere_and_given_ones_win(monkeypatch):
    monkeypatch.setenv("MTPRL_HOME", "/environment")
    values = {"model": {"path": "${MTPRL_HOME}/m"}, "list": ["${MTPRL_HOME}", 5]}
    assert resolve(values)["model"]["path"] == "/environment/m"
    assert resolve(values, variables={"MTPRL_HOME": "/given"}) == {"model": {"path": "/given/m"}, "list": ["/given", 5]}


def test_an_unset_variable_names_the_field_and_itself(monkeypatch):
    monkeypatch.delenv("MTPRL_NOWHERE", raising=False)
    with pytest.raises(ConfigError) as refused:
        resolve({"a": {"b": ["x", "${MTPRL_NOWHERE}/m"]}})
    assert (
        str(refused.value)
        == "a.b.1: '${MTPRL_NOWHERE}/m' names the variable MTPRL_NOWHERE, which is not set; set it in the environment"
    )
