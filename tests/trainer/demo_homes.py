"""The demo's run, and what preflight says of it."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.config import RunConfig, parse, resolve
from trainer.errors import ConfigError
from trainer.preflight import check
from trainer.presets import presets


def safetensors(size: int) -> bytes:
    """A file with one tensor of that many bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    (folder / "model.safetensors").write_bytes(safetensors(4))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def make_problems(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"problem": f"{n}+1=", "answer": n + 1}) + "\n" for n in range(count)))
    return path


def demo_run(home: Path, *overrides: str) -> RunConfig:
    """The demo's occ run with these overrides."""
    config = parse(resolve(presets()["demo/occ"].values, overrides, {"MTPRL_HOME": str(home)}))
    assert isinstance(config, RunConfig)
    return config


def refusals(home: Path, *overrides: str) -> dict[str, str]:
    """What preflight says of the demo with these overrides, by field; empty where it is accepted."""
    try:
        check(demo_run(home, *overrides))
    except ConfigError as error:
        return dict(error.problems)
    return {}
