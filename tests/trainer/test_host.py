"""What is measured of the host beside a run."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from trainer.host import HostUse, look_at

METRICS = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_looks_since_the_last_step_come_to_a_mean_and_of_memory_to_the_most():
    looks = iter([{}, {"system/cpu": 0.2, "system/memory": 0.5}, {"system/cpu": 0.6, "system/memory": 0.3}])
    done = threading.Event()

    def look() -> dict[str, float]:
        try:
            return next(looks)
        except StopIteration:
            done.set()
            return {}

    with HostUse(look, every=0.001) as host:
        assert done.wait(20)
        assert host.metrics() == pytest.approx({"system/cpu": 0.4, "system/memory": 0.5})
        assert host.metrics() == {}  # nothing was seen since


def test_looking_ends_with_the_run():
    looks = []
    with HostUse(lambda: looks.append(1) or {}, every=0.001):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "host use"]


def test_a_look_sees_shares_and_free_space_and_every_name_is_documented(tmp_path):
    look = look_at(tmp_path, gpus=1)
    look()
    values = look()
    assert {"system/cpu", "system/memory", "system/disk_free_gib"} <= values.keys()
    assert all(0 <= value <= 1 for name, value in values.items() if name != "system/disk_free_gib")
    assert values["system/disk_free_gib"] > 0
    documented = METRICS.read_text()
    for name in {*values, "system/gpu_0/utilization", "system/gpu_0/memory"}:
        assert f"`{name.replace('gpu_0', 'gpu_<i>')}`" in documented


def test_a_folder_that_is_gone_does_not_end_the_look(tmp_path):
    assert "system/cpu" in look_at(tmp_path / "gone", gpus=0)()
