"""Estimated against measured memory: the peak resident set of a real run on a processor beside what `backend.planning.memory` says.

    python -m benchmarks.memory [--steps 1] [--only demo,larger]

Trains the demo's base model with the demo's batches, and a larger tiny model with a vocabulary of 8,000 in several ways (micro-batches, a token
budget, blocks that run again, two processes with all parameters and with half of them each), each for a few steps in processes of their own,
and prints the estimate for a process, its peak and their ratio. Models are made with random parameters.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from backend.inspection.models import inspect_model
from backend.planning import memory
from backend.settings import environment
from trainer.config import RunConfig, dump, parse
from trainer.presets import presets
from trainer.tasks.addition import draw_pairs, write_problems


class Case(NamedTuple):
    """One run to measure."""

    name: str
    config: RunConfig


class Measured(NamedTuple):
    """What came of it, in bytes."""

    case: Case
    estimated: memory.Memory
    peak: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1, help="the second mini-batch has everything that a step needs")
    parser.add_argument("--only", default="", help="cases, with commas; empty: all")
    given = parser.parse_args()
    steps, only = given.steps, set(filter(None, given.only.split(",")))
    with tempfile.TemporaryDirectory() as folder:
        make_demo(Path(folder))
        program = program_bytes(Path(folder))
        print(f"the program itself, a run of next to nothing: {_mib(program)} MiB")
        asked = (case for case in cases(Path(folder), steps) if not only or case.name in only)
        print("case                      estimated    measured   estimated/measured   without the program")
        for measured in measure(asked, Path(folder), program):
            estimated, peak = measured.estimated.peak, measured.peak
            own = f"{(estimated - program) / (peak - program):.2f}"
            print(
                f"{measured.case.name:24} {_mib(estimated):7} MiB {_mib(peak):7} MiB {estimated / peak:20.2f} {own:>21}",
                flush=True,
            )
            print(f"    {', '.join(f'{name} {_mib(size)}' for name, size in measured.estimated.at_peak.items())}")


def measure(cases: Iterator[Case], folder: Path, program: int) -> Iterator[Measured]:
    """Estimate and run each."""
    for number, case in enumerate(cases):
        estimated = memory.estimate(case.config, inspect_model(case.config.model.path), on_gpu=False, program=program)
        assert estimated is not None
        yield Measured(case, estimated, peak_of(case.config, folder / f"run-{number}"))


def cases(folder: Path, steps: int) -> Iterator[Case]:
    """The runs, with their models and problems made."""
    demo = _demo(folder, steps)
    yield Case("demo", parse(demo))
    _save(_larger(), folder / "larger")
    larger = {**demo, **_shared(folder, "larger", steps)}
    larger["rollout"] = {**demo["rollout"], "prompts_per_step": 8, "samples_per_prompt": 4, "max_response_tokens": 64}
    yield Case("larger", parse(larger))
    ways: dict[str, dict[str, Any]] = {
        "micro-batches": {"update": {"mini_batches": 2, "micro_batch_sequences": 4}},
        "token budget": {"update": {"mini_batches": 2, "micro_batch_tokens": 400}},
        "run again": {"update": {"mini_batches": 2}, "model": {**larger["model"], "gradient_checkpointing": True}},
        "not again": {"update": {"mini_batches": 2}},
        "two processes": {"launch": {"num_processes": 2}},
        "divided in two": {"launch": {"num_processes": 2, "sharding": "full"}},
    }
    for name, changes in ways.items():
        yield Case(f"larger {name}", parse({**larger, **changes}))


def make_demo(folder: Path) -> None:
    """The demo's model with random parameters, and problems."""
    from trainer.models.demo_base import new_model

    write_problems(folder / "problems.jsonl", draw_pairs(400, 1))
    _save(new_model(), folder / "demo")


def peak_of(config: RunConfig, folder: Path) -> int:
    """The peak resident set of a run, of its largest process, in bytes."""
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(config))
    command = [sys.executable, "-m", "trainer", str(folder / "config.yaml"), "--output", str(folder)]
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    return _kib(subprocess.check_output([sys.executable, "-c", script, *command], text=True, env=environment()))


def program_bytes(folder: Path) -> int:
    """The peak resident set of a run of next to nothing, in bytes: the demo's model, one token for each of 4 sequences."""
    least = {**_demo(folder, 1), "rollout": {"prompts_per_step": 2, "samples_per_prompt": 2, "max_response_tokens": 1}}
    return peak_of(parse({**least, "update": {"mini_batches": 2}}), folder / "least")


def _demo(folder: Path, steps: int) -> dict[str, Any]:
    return {**presets()["demo/occ-calibrated"].values, **_shared(folder, "demo", steps)}


def _shared(folder: Path, model: str, steps: int) -> Mapping[str, Any]:
    problems = {"kind": "jsonl", "path": str(folder / "problems.jsonl")}
    return {
        "steps": steps,
        "model": {"path": str(folder / model)},
        "data": problems,
        "evaluation": {},
        "checkpoint": {"every": 10_000},
    }


def _larger() -> Any:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from trainer.models.joint import JointModel
    from trainer.models.mtp import MtpDepth

    trunk = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=8_000,
            hidden_size=384,
            intermediate_size=1_024,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    return JointModel(trunk, [MtpDepth(trunk.get_decoder())])


def _save(joint: Any, folder: Path) -> None:
    from trainer.models.demo_base import character_tokenizer
    from trainer.models.storage import save_joint

    save_joint(joint, character_tokenizer(), folder)


def _kib(text: str) -> int:
    return int(text.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


def _mib(size: int) -> int:
    return round(size / 2**20)


if __name__ == "__main__":
    main()
