"""What nvidia-smi says, what a run is leased, and what its process then sees."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backend.devices import devices, environment_for, memory_of
from backend.settings import settings
from db import claims, engine, runs
from db.engine import writing

pytestmark = pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs nvidia-smi and a GPU")

SEEN = "import torch; print(*(torch.cuda.get_device_properties(i).uuid for i in range(torch.cuda.device_count())))"


def asked(what: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    return subprocess.check_output(command, text=True).splitlines()


def seen_by_a_process(given: dict[str, str]) -> list[str]:
    said = subprocess.check_output([sys.executable, "-c", SEEN], env={**os.environ, **given}, text=True)
    return [f"GPU-{uuid}" for uuid in said.split()]


def test_a_leased_gpu_is_the_one_that_the_run_sees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    offered = devices(settings())
    assert offered == [f"cuda:{index}" for index in range(len(asked("index")))]
    url = f"sqlite:///{tmp_path}/mtprl.db"
    engine.migrate(url)
    fields = {"experiment": "e", "regime": "occ", "algorithm": "dapo", "seed": 0, "total_steps": 1, "preset": None}
    with writing(engine.connect(url)) as connection:
        for number in range(len(offered) + 1):
            runs.create_run(
                connection, name=f"run {number}", config={"steps": 1}, folder=f"{number}", now=1.0, **fields
            )
        taken = [claims.claim_next(connection, host="here", devices=offered, now=2.0) for _ in offered]
        assert claims.claim_next(connection, host="here", devices=offered, now=2.0) is None
    uuids = [uuid.strip() for uuid in asked("uuid")]
    for claim, name, uuid in zip(taken, offered, uuids, strict=True):
        assert claim is not None
        assert claim.devices == (name,)
        assert seen_by_a_process(environment_for(claim.devices, len(offered))) == [uuid]
    assert seen_by_a_process(environment_for(["cpu:0"], 1)) == []


def test_the_memory_of_a_gpu_is_that_of_the_smallest():
    assert memory_of("cuda") == min(int(mib) for mib in asked("memory.total")) * 2**20
