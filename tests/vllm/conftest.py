"""Tests with a real vLLM, on small random models that fit a processor. They run where vLLM is installed: `make test-vllm`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from engines import END, WIDTH, config_of
from tiny_checkpoints import write_tiny

from trainer.models.joint import JointModel
from trainer.models.storage import load_joint

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is slow, needs vLLM, and suffers its warnings."""
    for item in items:
        if _HERE in item.path.parents:
            for mark in (pytest.mark.slow, pytest.mark.vllm, pytest.mark.filterwarnings("ignore")):
                item.add_marker(mark)
            if find_spec("vllm") is None:
                item.add_marker(pytest.mark.skip("vLLM is not installed here: make test-vllm"))


@pytest.fixture(scope="session", autouse=True)
def vllms_own_expand() -> Any:
    """vLLM's function that spreads temperatures, before the first engine, or the plugin, mends it."""
    if find_spec("vllm") is None:
        return None
    from vllm.v1.sample import rejection_sampler

    return rejection_sampler.expand_batch_to_tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def start(folder: Path) -> Iterator[Callable[..., tuple[Any, JointModel]]]:
    """Start an engine on a tiny model; one at a time, since all of a process share their counters."""
    engines = []

    def make(layout: str, **vllm: Any) -> tuple[Any, JointModel]:
        from trainer.rollout.vllm.engine import VllmEngine

        path = write_tiny(layout, folder / layout, width=WIDTH)
        joint = load_joint(str(path), 1).eval()
        engines.append(VllmEngine(config_of(path, **vllm), joint, END, 16, joint.trunk.device, 256))
        return engines[-1], joint

    yield make
    for engine in engines:
        engine.close()
