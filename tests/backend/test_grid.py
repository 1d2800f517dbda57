"""Grids of runs: what is made, what is refused, and that all is queued or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from backend_harness import look
from test_submitting import everything

from backend import grid
from trainer.config import parse
from trainer.errors import ConfigError
from trainer.presets import regimes


@pytest.fixture
def budget(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "name": "", "optimizer": {"lr": 2e-4}}


def test_a_grid_has_a_run_per_regime_algorithm_and_seed_on_one_budget(home: Path, budget: dict[str, Any]) -> None:
    asked = grid.plan(budget, ["detach", "occ-calibrated", "policy-0.1"], ["dapo", "gspo"], [3, 1])
    ids = grid.submit(asked, experiment="all", preset="demo/ce")
    runs = [look(run_id) for run_id in ids]
    assert [run.name for run in runs] == [
        f"{regime}-{algorithm}-seed{seed}"
        for algorithm in ("dapo", "gspo")
        for regime in ("detach", "occ-calibrated", "policy-0.1")
        for seed in (3, 1)
    ]
    assert {run.preset for run in runs} == {"demo/detach", "demo/occ-calibrated", "demo/policy-0.1"}
    method = ("seed", "name", "regime", "mtp", "algorithm")
    shared = [{key: value for key, value in run.config.items() if key not in method} for run in runs]
    assert all(config == shared[0] for config in shared)
    for run in runs:
        values = regimes()[run.preset.rpartition("/")[2]].values
        expected = parse({**budget, **values, "algorithm": {"kind": run.algorithm}})
        assert (run.config["regime"], run.config["mtp"]) == (
            expected.regime.model_dump(mode="json"),
            expected.mtp.model_dump(mode="json"),
        )


def test_the_budgets_method_gives_nothing_to_the_cells_but_to_own(budget: dict[str, Any]) -> None:
    values = {**budget, "regime": {"kind": "occ", "lambda_plus": 0.5}, "mtp": {"head_loss": "ce"}}
    asked = grid.plan(values, ["occ", "off", "own"])
    assert [cell.problems for cell in asked.cells] == [(), (), ()]
    assert [cell.config.mtp.head_loss for cell in asked.good if cell.config] == ["regime", "regime", "ce"]
    assert [cell.config.regime.model_dump().get("lambda_plus") for cell in asked.good if cell.config] == [
        1.0,
        None,
        0.5,
    ]


def test_settings_of_the_configurations_algorithm_count_for_that_algorithm_alone(budget: dict[str, Any]) -> None:
    values = {**budget, "algorithm": {"kind": "dapo", "clip_ratio_high": 0.4}}
    highs = {
        cell.algorithm: cell.config.algorithm.clip_ratio_high
        for cell in grid.plan(values, ["ce"], ["dapo", "grpo"]).good
        if cell.config
    }
    assert highs == {"dapo": 0.4, "grpo": 0.2}


def test_a_refused_combination_is_named_and_refuses_all_unless_it_is_to_be_skipped(
    home: Path, budget: dict[str, Any]
) -> None:
    asked = grid.plan({**budget, "update": {"mini_batches": 1}}, ["detach", "occ"], seeds=[0, 1])
    assert [cell.title for cell in asked.refused] == ["occ x dapo"]
    assert grid.common_problems(asked) == []
    with pytest.raises(ConfigError, match=r"update\.mini_batches: .*\(in occ x dapo\)"):
        grid.submit(asked)
    assert everything(home) == (0, [])
    ids = grid.submit(asked, skip_refused=True)
    assert [look(run_id).regime for run_id in ids] == ["detach", "detach"]


def test_what_refuses_every_cell_lies_in_the_budget(budget: dict[str, Any]) -> None:
    asked = grid.plan({**budget, "steps": 0}, ["detach", "occ"])
    assert [problem.field for problem in grid.common_problems(asked)] == ["steps"]
    with pytest.raises(ConfigError, match="steps"):
        grid.submit(asked, skip_refused=True)


def test_learning_rate_controls_are_detach_at_other_rates_with_names_of_their_own(
    home: Path, budget: dict[str, Any]
) -> None:
    asked = grid.plan({**budget, "name": "x" * 80}, ["detach", "ce"], lr_controls=grid.LR_CONTROLS)
    found = [(run.name[-27:], run.regime, run.config["optimizer"]["lr"]) for run in map(look, grid.submit(asked))]
    assert [row[1:] for row in found] == [("detach", 2e-4), ("ce", 2e-4), ("detach", 3e-4), ("detach", 4e-4)]
    assert found[2][0].endswith("x-detach-lr1.5x-dapo-seed0")


def test_a_grid_without_detach_says_what_is_missing(budget: dict[str, Any]) -> None:
    assert "detach is not in the grid" in grid.plan(budget, ["ce"], lr_controls=[2.0]).hint
    assert grid.plan(budget, ["ce", "detach"]).hint == ""


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"regime_names": ["nothing"]}, "regimes: 'nothing' is unknown; choose among own, off, detach"),
        ({"regime_names": ["ce", "ce"]}, "regimes: ce, ce: give each once"),
        ({"regime_names": []}, "regimes: none"),
        ({"regime_names": ["ce"], "algorithm_names": ["ppo"]}, "algorithms: 'ppo' is unknown"),
        ({"regime_names": ["ce"], "seeds": [1, 1]}, "seeds: 1, 1"),
        ({"regime_names": ["ce"], "seeds": range(501)}, "501 runs; a grid has at most 500"),
        ({"regime_names": ["ce"], "lr_controls": [1.0]}, "lr_controls: 1: give each factor once"),
        ({"regime_names": ["ce"], "lr_controls": [float("inf")]}, "lr_controls: inf"),
    ],
)
def test_a_grid_that_means_nothing_is_refused_in_words(
    budget: dict[str, Any], asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        grid.plan(budget, **asked)
    assert says in str(refused.value)
