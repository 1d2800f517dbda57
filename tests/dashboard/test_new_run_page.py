"""The page of a new run: grids, checks before the launch, registered names, the difference to a parent."""

from __future__ import annotations

import json
import shlex

import pytest
import synthetic
from pages import html, in_store, texts
from sqlalchemy import insert

from backend import registry, runs
from backend.store import writing
from db import reads
from db.tables import experiments
from trainer.errors import ConfigError
from trainer.presets import regimes
from trainer.rollout.vllm.installed import installed_version


@pytest.fixture
def grid_page(empty_store, open_page):
    """The form with a grid of detach and occ over two algorithms."""
    synthetic.make_base(empty_store)
    app = open_page("new_run")
    app.segmented_control(key="form:mode").set_value("Grid of methods").run()
    app.multiselect(key="form:grid:regimes").set_value(["detach", "occ"]).run()
    return app.multiselect(key="form:grid:algorithms").set_value(["dapo", "gspo"]).run()


def launched():
    return sorted((row.regime, row.algorithm, row.seed) for row in in_store(reads.list_runs))


def test_a_grid_is_launched_in_one_click_and_said_as_a_command(grid_page):
    app = grid_page
    app.text_input(key="form:seeds").set_value("0,3").run()
    command = app.code[0].value
    assert command.startswith(
        "mtprl submit demo/occ-calibrated --regimes detach,occ --algorithms dapo,gspo --seeds 0,3"
    )
    assert "2 methods" not in html(app)
    assert "4 methods × 2 seeds" in html(app)
    app.button[0].click().run()
    assert not app.exception
    assert "8 runs submitted" in texts(app)
    assert html(app).count('aria-label="Watch run ') == 8
    assert launched() == sorted(
        (regime, algorithm, seed) for regime in ("detach", "occ") for algorithm in ("dapo", "gspo") for seed in (0, 3)
    )
    links = [element.proto.label for element in app.get("page_link")]
    assert [label for label in links if "Watch" in label] == ["Watch the 8 runs"]


def test_a_refused_combination_is_named_and_keeps_the_button_shut_until_it_is_left_out(grid_page):
    app = grid_page
    app.text_input(key="form:update.mini_batches").set_value("1").run()
    assert html(app).count("✗ refused") == 2
    assert "leaves nothing for occ to measure" in html(app)
    assert app.button[0].disabled
    app.checkbox(key="form:grid:skip").check().run()
    assert "--skip-refused" in app.code[0].value
    app.button[0].click().run()
    assert launched() == [("detach", "dapo", 0), ("detach", "gspo", 0)]


def test_what_refuses_every_cell_stands_beside_its_field(grid_page):
    app = grid_page
    app.text_input(key="form:steps").set_value("0").run()
    assert "0 is too small" in texts(app).replace("\\", "")
    assert app.button[0].disabled


@pytest.mark.skipif(installed_version() is not None, reason="vllm is installed here")
def test_a_sampler_that_is_not_installed_keeps_the_button_shut_and_says_why(grid_page):
    app = grid_page
    assert not app.button[0].disabled
    app.selectbox(key="form:rollout.engine").set_value("vllm").run()
    assert app.button[0].disabled
    assert "vllm is not installed beside this program" in html(app)


def test_without_detach_a_hint_and_with_it_its_learning_rate_controls(grid_page):
    app = grid_page
    app.multiselect(key="form:grid:regimes").set_value(["ce"]).run()
    assert "Detach is not in the grid" in texts(app)
    app.multiselect(key="form:grid:regimes").set_value(["detach", "ce"]).run()
    assert "Detach is not in the grid" not in texts(app)
    app.checkbox(key="form:grid:controls").check().run()
    assert "detach-lr1.5x" in html(app)
    assert "lr 0.0004" in html(app)
    assert "--lr-controls 1.5,2" in app.code[0].value


def test_an_empty_grid_is_refused_in_words_and_what_was_chosen_survives_another_page(grid_page):
    app = grid_page
    app.switch_page("views/runs.py").run()
    app.switch_page("views/new_run.py").run()
    assert app.multiselect(key="form:grid:regimes").value == ["detach", "occ"]
    app.multiselect(key="form:grid:regimes").set_value([]).run()
    assert "give each once, and at least one" in texts(app)
    assert app.button[0].disabled


def test_every_regime_can_be_chosen(grid_page):
    app = grid_page
    app.multiselect(key="form:grid:regimes").set_value([*regimes(), "own"]).run()
    assert not app.exception
    assert "24 methods × 1 seed" in html(app)


def test_the_checks_say_how_long_from_runs_that_were_alike(full_store, open_page):
    run = full_store.runs["occ"]
    app = open_page("new_run", clone_of=str(run))
    assert f"per step as in run {run} like it" in html(app)
    app.text_input(key="form:update.epochs").set_value("2").run()
    assert "no run like it yet" in html(app)


def test_a_clone_shows_in_what_it_will_differ(full_store, open_page):
    run = full_store.runs["occ"]
    app = open_page("new_run", clone_of=str(run))
    assert "In nothing yet" in texts(app)
    app.text_input(key="form:steps").set_value("9").run()
    assert f"In what it differs from run {run}" in texts(app)
    assert "In nothing yet" not in texts(app)
    assert '<td class="">steps</td><td class="">12</td><td class="">9</td>' in html(app)


def test_registered_names_fill_in_the_form_and_are_accepted_as_a_path(empty_store, open_page):
    synthetic.make_base(empty_store)
    model, data = empty_store / "models" / "addition", empty_store / "data" / "addition" / "test.jsonl"
    registry.add_model("small", str(model))
    registry.add_data("held-out", {"kind": "jsonl", "path": str(data), "template": "Q {problem}"})
    app = open_page("new_run", data="held-out")
    assert app.text_input(key="form:data.jsonl.path").value == str(data)
    assert app.text_area(key="form:data.jsonl.template").value == "Q {problem}"
    app.text_input(key="form:model.path").set_value("small").run()
    assert f"path: {model}" in app.code[1].value
    app.button[0].click().run()
    assert not app.exception
    [row] = in_store(reads.list_runs)
    config = in_store(reads.get_run, row.id).config
    assert (config["model"]["path"], config["data"]["path"]) == (str(model), str(data))
    app.selectbox(key="form:registered:model").select("small").run()
    assert app.text_input(key="form:model.path").value == str(model)
    assert "no model registered as 'nothing'" in texts(open_page("new_run", model="nothing"))


def test_a_model_to_train_with_brings_no_benchmark_that_cannot_be_read_here(empty_store, open_page):
    synthetic.make_base(empty_store)
    registry.add_model("small", str(empty_store / "models" / "addition"))
    app = open_page("new_run", model="small")
    assert "name: addition" in app.text_area(key="form:evaluation.benchmarks").value
    assert "Nothing is evaluated on" not in texts(app)
    (empty_store / "data" / "addition" / "test.jsonl").unlink()
    app = open_page("new_run", model="small")
    assert not app.exception
    assert app.text_area(key="form:evaluation.benchmarks").value == ""
    assert "Nothing is evaluated on addition, with which the preset begins" in texts(app)
    assert "evaluation.benchmarks=[]" in " ".join(code.value for code in app.code)


def test_a_refused_name_is_said_once_as_it_was_typed(grid_page):
    app = grid_page
    app.text_input(key="form:name").set_value("<b>bold</b>").run()
    assert "1 value refused: `name`" in texts(app)
    assert "is no name; use up to 80 letters" in texts(app)


@pytest.mark.parametrize("name", ["<b>k</b>/../../x", "a\tb", "x" * 121])
def test_an_experiment_is_named_in_words_or_refused_on_the_page_and_in_the_shell(grid_page, name):
    app = grid_page
    app.text_input(key="form:experiment").set_value(name).run()
    assert "is no name of an experiment; use 1 to 120 letters" in texts(app)
    assert app.button[0].disabled
    with writing() as connection, pytest.raises(ConfigError, match="is no name of an experiment"):
        runs.check_experiment(connection, name)
    with writing() as connection:
        connection.execute(insert(experiments).values(name=name[:120], created_at=1.0))
        runs.check_experiment(connection, name[:120])  # what is stored takes more runs
        runs.check_experiment(connection, "sweeps/lr 2")


def test_the_name_of_a_registered_data_set_is_no_file(grid_page, tmp_path):
    data = tmp_path / "own.jsonl"
    data.write_text('{"problem": "1+1?", "answer": "2"}\n')
    registry.add_data("mine", {"kind": "jsonl", "path": str(data)})
    app = grid_page
    app.segmented_control(key="form:data.kind").set_value("jsonl").run()
    app.text_input(key="form:data.jsonl.path").set_value("mine").run()
    assert "to use the registered data set mine choose it under Registered data" in texts(app)
    app.text_input(key="form:data.jsonl.path").set_value(str(data)).run()
    assert "to use the registered data set" not in texts(app)


def test_heads_of_a_registered_model_are_warmed_from_a_link(empty_store, open_page):
    synthetic.make_base(empty_store)
    model, data = empty_store / "models" / "addition", empty_store / "data" / "addition" / "train.jsonl"
    registry.add_model("small", str(model))
    registry.add_data("sums", {"kind": "jsonl", "path": str(data)})
    app = open_page("new_run", warm="small")
    assert not app.exception
    assert "The MTP heads of small alone" in texts(app)
    assert app.button[0].disabled, "it has no data yet"
    app.selectbox(key="form:registered:data").set_value("sums").run()
    app.text_input(key="form:rollout.prompts_per_step").set_value("16").run()
    *begin, section, option, batch, _, seeds, _, experiment = shlex.split(app.code[0].value)
    assert begin == ["mtprl", "warm-heads", "small", "--set"]
    assert json.loads(section.removeprefix("data="))["path"] == str(data)
    assert (option, batch, seeds, experiment) == ("--set", "rollout.prompts_per_step=16", "0", "warm-heads")
    app.button[0].click().run()
    [row] = in_store(reads.list_runs)
    assert (row.regime, row.experiment, row.name) == ("warm", "warm-heads", "warm-addition")
    assert "'nobody'" in texts(open_page("new_run", warm="nobody")).replace("\\", "")
