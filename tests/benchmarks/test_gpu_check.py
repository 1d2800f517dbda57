"""The check of a GPU: parts that go on where they ended, and their tables; on the processor, with made-up measurements."""

import json
import time
from dataclasses import replace

import pytest
import torch

from benchmarks.gpu import learning, parity, parts
from benchmarks.gpu.__main__ import PARTS, report
from benchmarks.gpu.parts import Cell, Part, Setting


@pytest.fixture
def setting(tmp_path):
    return Setting(torch.device("cpu"), True, tmp_path / "out", tmp_path / "work", time.monotonic() + 60)


def part_of(**measures) -> Part:
    return Part(
        "some", "Some", lambda _: iter(Cell(name, make) for name, make in measures.items()), lambda found: list(found)
    )


def kept(setting) -> dict:
    return json.loads((setting.out / "some.json").read_text())


def test_a_part_goes_on_where_it_ended_and_tries_again_what_failed(setting, capsys):
    made, broken = [], [True]

    def first():
        made.append("first")
        return {"value": 1}

    def second():
        if broken:
            raise ValueError("no room")
        return {"value": 2}

    part = part_of(first=first, second=second, third=lambda: None)
    parts.make(part, setting)
    assert kept(setting)["left"] == ["second", "third"]
    assert kept(setting)["cells"]["second"]["failed"] == "ValueError: no room"
    assert "still to do, call it again: second, third" in capsys.readouterr().out

    parts.make(part, setting._replace(deadline=0.0))
    assert made == ["first"]
    broken.clear()
    parts.make(part_of(first=first, second=second, third=lambda: {"value": 3}), setting)
    found = kept(setting)
    assert (made, found["left"]) == (["first"], [])
    assert {name: (cell["value"], cell["call"]) for name, cell in found["cells"].items()} == {
        "first": (1, 0),
        "second": (2, 2),
        "third": (3, 2),
    }
    parts.make(part, setting)
    assert len(kept(setting)["calls"]) == 3
    assert (found["calls"][0]["device"], found["calls"][0]["small"]) == ("processor", True)


def test_what_takes_longer_than_the_part_has_is_ended(setting, monkeypatch):
    monkeypatch.setattr(parts, "GRACE", -59)

    def endless():
        while True:
            time.sleep(0.01)

    parts.make(part_of(endless=endless), setting)
    assert kept(setting)["cells"]["endless"]["failed"].startswith("TimeoutError: not done within the part's time")


def test_the_regimes_are_compared_seed_by_seed(setting):
    shifts = {"occ": 0.1, "ce 0.1": -0.2}
    rows = [
        {
            **{name: getattr(job, name) for name in ("block", "seed", "lr")},
            "arm": job.arm.name,
            "sampled": 0.5 + 0.1 * job.seed + shifts.get(job.arm.name, 0.0),
            "greedy": 0.6,
            "final": 0.4,
            "accuracy": [0.3, 0.4],
            "seconds_per_update": 0.1,
        }
        for job in learning.main(setting, 1e-4)
    ]
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in learning.tell({"runs": {"runs": rows}})}
    assert "+10.00 ± 0.00" in lines["occ"]
    assert "-20.00 ± 0.00" in lines["ce 0.1"]
    assert len([name for name in lines if name in parity.NAMES]) == len(parity.NAMES)
    assert learning.tell({})[0].startswith("No table before")


def test_keys_of_the_runs_differ_from_seed_to_seed_and_by_recipe(setting):
    jobs = [*learning.sweep(setting), *learning.main(setting, 1e-4)]
    large = learning.main(setting._replace(small=False), 1e-4)
    assert len({job.key for job in (*jobs, *large)}) == len(jobs) + len(large)
    assert replace(jobs[0], lr=1.0).key != jobs[0].key


def test_the_report_says_what_was_measured_on_what_and_what_is_left(setting):
    part = PARTS["memory"]
    values = {"mib": 100, "call": 0}
    about = {"device": "NVIDIA H100", "device_gib": 79.2, "driver": "580.1", "torch": "2.11", "transformers": "5.17"}
    calls = [{**about, "python": "3.12", "commit": "abc", "small": False}]
    setting.out.mkdir()
    found = {"calls": calls, "cells": {"8192 tokens in chunks, as trained": values}, "left": ["oracle"]}
    (setting.out / f"{part.name}.json").write_text(json.dumps(found))
    text = "\n".join(report(setting.out))
    assert "NVIDIA H100, 79.2 GiB, driver 580.1; torch 2.11, transformers 5.17, Python 3.12, commit abc." in text
    assert "| 8,192 | 100 |  |" in text
    assert "Not made for want of time, or failed: oracle." in text
