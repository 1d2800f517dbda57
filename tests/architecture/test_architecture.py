"""The rooms keep to their walls: who may import whom, and what starts without torch."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH_FREE = [
    "trainer.config",
    "trainer.errors",
    "trainer.events",
    "trainer.evaluation.rank_correlation",
    "trainer.evaluation.statistics",
    "trainer.preflight",
    "trainer.presets",
    "trainer.rollout.vllm.installed",
    "trainer.tasks",
    "trainer.tasks.gym",
]


def test_the_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_has_its_contract():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract for contract in contracts if contract["type"] == "layers")
    assert layers["layers"] == ["dashboard", "backend", "db", "trainer"]


@pytest.mark.parametrize("name", ["trainer", "db", "backend", "dashboard"])
def test_a_package_is_this_repositorys_and_not_one_of_the_same_name(name):
    # Distributions called trainer and db exist, and would be imported in silence if they came first on the path.
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / name / "__init__.py"


def test_what_a_form_or_a_command_line_imports_loads_no_torch():
    code = (
        "import importlib, sys\n"
        "heavy = {'torch', 'transformers', 'accelerate', 'math_verify'}\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    assert not sys.modules.keys() & heavy, f'{name} loads {sys.modules.keys() & heavy}'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *TORCH_FREE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_two_modules_of_the_tests_have_one_name():
    # pytest puts every folder of tests on the path: of two modules with one name only the first could be imported.
    names = [path.stem for path in (ROOT / "tests").rglob("*.py") if path.name not in ("conftest.py", "__init__.py")]
    assert sorted(names) == sorted(set(names))
