"""Update phases to be made by several processes and by one. `main` is one of the processes: it makes what stands in FOLDER/cases.pt and
writes FOLDER/RANK.pt."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from update_phases import Phase

from trainer.audit.audit import Audit
from trainer.config import RunConfig, parse
from trainer.errors import MtprlError, PeerLostError, TrainingError
from trainer.launch.device import join
from trainer.launch.hosts import Share
from trainer.launch.launcher import environment
from trainer.launch.sharding import whole
from trainer.launch.world import World, check_same_parameters
from trainer.models.joint import JointModel, Sequences
from trainer.rollout.collect import Experience
from trainer.rollout.engine import Response
from trainer.update.phase import Updater


class Case(NamedTuple):
    """One update phase after another on the same experience."""

    config: RunConfig
    joint: JointModel
    experience: Experience
    device: str = "cpu"
    phases: int = 2
    is_audited: bool = False


class Result(NamedTuple):
    """What came of it."""

    metrics: list[dict[str, float]]
    parameters: dict[str, torch.Tensor]
    old: torch.Tensor
    """[1 + K, B, T] log-probs at the start."""
    error: str


def make(case: Case) -> Result:
    phase = Phase(case.joint, case.config, case.device)
    on_device = Sequences(*(part.to(case.device) for part in case.experience.sequences))
    count = len(on_device.tokens)
    prompts, responses = ["a prompt"] * (count // 2), [Response([], [], False)] * count
    experience = Experience(
        prompts, responses, [], [], on_device, *[case.experience.advantages] * 2, case.experience.engine_log_probs
    )
    first = phase.updater.old_log_probs(on_device)
    metrics, error = [], ""
    try:
        for _ in range(case.phases):
            metrics += audited(phase.updater, experience) if case.is_audited else phase.run(experience)
    except MtprlError as raised:
        error = str(raised)
    parameters = {name: whole(tensor).cpu() for name, tensor in phase.joint.state_dict().items()}
    return Result(metrics, parameters, torch.cat([first.main[None], first.mtp]).cpu(), error)


def audited(updater: Updater, experience: Experience) -> list[dict[str, float]]:
    """A phase of two mini-batches with an audit of the second, held out against the same samples in another order."""
    order = torch.arange(len(experience.responses) - 1, -1, -1)
    sequences, advantages = experience.sequences.rows(order), experience.advantages.flip(0)
    held_out = replace(experience, sequences=sequences, rewards=advantages, advantages=advantages)
    phase = updater.run(experience, updater.old_log_probs(experience.sequences))
    audit = Audit(updater, experience, held_out)
    first = next(phase)
    audit.before()
    second = next(phase)
    return [first, {**second, **audit.after(second)}]


def in_processes(cases: dict[str, Case], folder: Path, processes: int) -> list[dict[str, Any]]:
    """What each of the processes made of the cases, and of `exchanges`."""
    torch.save(cases, folder / "cases.pt")
    share = Share(0, processes, processes, 0, processes)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", "import cases; cases.main()", str(folder)],
            env=environment(share, rank),
        )
        for rank in range(processes)
    ]
    try:
        assert [process.wait(240) for process in started] == [0] * processes
    finally:
        for process in started:
            process.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(processes)]


def exchanges(world: World) -> dict[str, Any]:
    """What the processes learn from one another."""
    result: dict[str, Any] = {"gathered": world.gather(f"from {world.rank}"), "any": world.any(world.rank == 1)}
    result["none"] = world.any(False)
    calls = []
    for count in (5, 1, 0):
        result[f"divided {count}"] = world.divide(
            range(count), lambda part, first: calls.append(first) or [(10 * thing, world.rank) for thing in part]
        )
    result["calls"] = calls
    result["from main"] = world.from_main(lambda: f"made by {world.rank}")
    tensors = [torch.full((2, 2), float(world.rank + 1)), torch.arange(3.0)]
    world.add_up(tensors)
    result["summed"] = [tensor.tolist() for tensor in tensors]

    def fail() -> None:
        raise TrainingError(f"process {world.rank} fails")

    failures = {
        "divide": lambda: world.divide([0, 1], lambda part, _: fail() if world.rank == 1 else list(part)),
        "from_main": lambda: world.from_main(fail),
        "differing parameters": lambda: check_same_parameters(torch.nn.Linear(1, 1), world),
    }
    torch.manual_seed(world.rank)
    for name, call in failures.items():
        try:
            call()
        except TrainingError as error:
            result[name] = str(error)
    torch.manual_seed(0)
    check_same_parameters(torch.nn.Linear(1, 1), world)
    return result


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    torch.set_num_threads(1)
    launched = {"launch": {"num_processes": int(os.environ["WORLD_SIZE"])}}
    values = {"model": {"path": "unused"}, "data": {"kind": "jsonl", "path": "unused"}, "regime": {"kind": "off"}}
    cases: dict[str, Case] = torch.load(folder / "cases.pt", weights_only=False)
    is_cpu = all(case.device == "cpu" for case in cases.values())
    join(parse({**values, **launched}), f"file://{folder}/meeting")
    world = World(Accelerator(cpu=is_cpu))
    results: dict[str, Any] = {name: make(case) for name, case in cases.items()}
    if is_cpu:
        results["exchanges"] = exchanges(world)
        if rank == 1:
            torch.save(results, folder / "1.pt")
            os._exit(0)  # while the other waits for it
        try:
            world.gather(None)
        except PeerLostError as error:
            results["lost"] = str(error)
    torch.save(results, folder / f"{rank}.pt")
    os._exit(0)
