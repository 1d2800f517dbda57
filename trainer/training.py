"""A run in progress, and how it is made ready: data, model, heads, optimiser and coefficient, from the newest good checkpoint if any."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.distributed.device_mesh import init_device_mesh
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from trainer.alarms import Watch
from trainer.audit.held_out import check_enough
from trainer.checkpoint import BrokenCheckpoint, Checkpoints, Part, StoredCheckpoint, restore
from trainer.config import Optimizer as OptimizerConfig
from trainer.config import RunConfig
from trainer.config.continuing import check_continues
from trainer.events import Sink
from trainer.host import HostUse, look_at
from trainer.launch.attempt import attempt_fields
from trainer.launch.device import accelerator_for
from trainer.launch.sharding import WholeModel, WholeModelEngine, shard
from trainer.launch.world import World
from trainer.models.joint import JointModel, Sequences
from trainer.models.storage import load_joint, load_tokenizer, stored_depths
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.divided import DividedEngine, DividedGrader
from trainer.rollout.engine import Drafted, Engine
from trainer.rollout.prompts import Prompt, Prompts, tokenize
from trainer.seeds import derive
from trainer.tasks import Grading, load
from trainer.update.phase import Updater
from trainer.warming import set_apart


@dataclass
class KnownHeads:
    """What is known of the heads' drafts; a checkpoint keeps it, because what is sampled may depend on it."""

    acceptance: tuple[float, ...] = ()
    """Share of each depth's drafts that the last step's batch would have accepted where those before are; empty: no step was done."""

    def state(self) -> list[float]:
        """What a checkpoint keeps."""
        return list(self.acceptance)

    def restore(self, state: list[float]) -> None:
        """Continue from `state()`."""
        self.acceptance = tuple(state)


@dataclass
class Training:
    """One run in progress: everything that the steps share."""

    config: RunConfig
    folder: Path
    sink: Sink
    grader: Grading
    joint: JointModel
    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    whole: Callable[[], AbstractContextManager[JointModel]]
    """The model with all its parameters, also where they are divided among the processes; all must ask for it alike."""
    world: World
    """The processes that make the run; in each of them stands one of these."""
    updater: Updater
    prompts: list[Prompt]
    benchmarks: dict[str, list[Prompt]]
    held_out: list[Prompt]
    """Prompts of the data that train nothing, in regime warm."""
    watch: Watch
    """Which alarms are on."""
    checkpoints: Checkpoints
    host: HostUse
    """What the main process's host is used for, while it is entered."""
    parts: dict[str, Part]
    """What a checkpoint keeps beside model, optimiser and schedule, by name."""
    step: int
    """Steps done."""
    accuracy: float | None
    """Held-out accuracy at this step, 0 to 1, mean over the benchmarks; None: not evaluated at it."""
    heads: KnownHeads
    """How good the MTP heads were at drafting when they were last measured."""
    responses: Sequences | None = None
    """What the model says to the held-out prompts, once it was asked."""
    drafted: Drafted = field(default_factory=Drafted)
    """What was drafted in the present step's rollout."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Time of each part of the present step."""
    doing: str = ""
    """The stage that was told last."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Tell what is being done, and time it."""
        if name != self.doing:
            self.sink.emit("stage", step=self.step, stage=name)
            self.doing = name
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[f"time/{name}_seconds"] += time.perf_counter() - start


def prepare(config: RunConfig, folder: Path, sink: Sink, grader: Grading) -> Training:
    """Load data, model, heads and optimiser, from the newest checkpoint where there is one."""
    accelerator = accelerator_for(config)
    is_sharded = config.launch.sharding == "full"
    world = World(accelerator, is_sharded=is_sharded)
    checkpoints = world.from_main(lambda: Checkpoints(folder, config))
    resumed = checkpoints.newest
    step = resumed.step if resumed else 0
    if resumed:
        check_continues(resumed.config, config, str(resumed.path))
    fields = attempt_fields(accelerator, config.steps, resumed.step if resumed else None, config.rollout.engine)
    sink.emit("attempt_started", step=step, **fields)
    for broken in checkpoints.broken:
        message = _skipped(broken, resumed)
        sink.emit("alarm", step=step, severity="warning", name="checkpoint_broken", message=message)
    sink.emit("stage", step=step, stage="loading")
    tokenizer = load_tokenizer(config.model.path)
    limit = config.rollout.max_prompt_tokens
    training = tokenize(load(config.data), tokenizer, limit, "data")
    check_enough(training.kept, config)
    apart = set_apart(training.kept, config)
    benchmarks = {}
    for index, benchmark in enumerate(config.evaluation.benchmarks):
        items = load(benchmark.data)[: benchmark.limit]
        benchmarks[benchmark.name] = tokenize(items, tokenizer, limit, f"evaluation.benchmarks.{index}.data")
    for name, prompts in {"training data": training, **benchmarks}.items():
        if prompts.too_long:
            message = f"{prompts.too_long} prompts of {name} have more than {limit} tokens and are left out"
            sink.emit("alarm", step=0, severity="warning", name="prompts_too_long", message=message)
    if not resumed:
        values = {"data/prompts": len(apart.training), "data/prompts_too_long": training.too_long}
        sink.emit("metrics", step=0, values=values)
        if not stored_depths(config.model.path):
            message = _new_heads(config)
            sink.emit("alarm", step=0, severity="warning", name="new_heads", message=message)
    source = str(resumed.model) if resumed else config.model.path
    joint, sampled = load_model(config, source, world)

    def whole() -> AbstractContextManager[JointModel]:
        return sampled.filled(joint) if sampled else nullcontext(joint)

    optimizer = AdamW(_decayed(joint, config.optimizer), lr=config.optimizer.lr, betas=config.optimizer.betas)
    # Without DistributedDataParallel, which takes a step for one backward pass: docs/decisions/processes.md.
    model = accelerator.prepare_model(joint, evaluation_mode=True)
    optimizer = accelerator.prepare_optimizer(optimizer)
    tracker = CoefficientTracker(config.regime, config.model.mtp_depths)
    updater = Updater(config, model, optimizer, tracker, accelerator)
    watch = Watch(config)
    heads = KnownHeads()
    parts: dict[str, Part] = {"coefficient": tracker, "alarms": watch, "heads": heads}
    if resumed:
        restore(resumed, updater, parts)
    asked = [training, *benchmarks.values()]
    sampler = _sampler(config, sampled.joint if sampled else joint, tokenizer, accelerator, asked)
    engine: Engine = DividedEngine(sampler, world, config.rollout.sequences_at_once)
    return Training(
        config=config,
        folder=folder,
        sink=sink,
        grader=DividedGrader(grader, world),
        joint=joint,
        tokenizer=tokenizer,
        engine=WholeModelEngine(engine, sampled, joint) if sampled else engine,
        whole=whole,
        world=world,
        updater=updater,
        prompts=apart.training,
        benchmarks={name: prompts.kept for name, prompts in benchmarks.items()},
        held_out=apart.held_out,
        watch=watch,
        checkpoints=checkpoints,
        host=HostUse(
            look_at(folder, min(world.size, torch.cuda.device_count()) if accelerator.device.type == "cuda" else 0)
        ),
        parts=parts,
        heads=heads,
        step=step,
        accuracy=resumed.accuracy if resumed else None,
    )


def load_model(config: RunConfig, source: str, world: World) -> tuple[JointModel, WholeModel | None]:
    """The model as it trains, and where its parameters are divided a copy that can be made whole."""

    def load() -> JointModel:
        joint = load_joint(source, config.model.mtp_depths, seed=derive(config.seed, "heads"))
        joint.mtp.requires_grad_(config.trains_heads)
        joint.trunk.requires_grad_(config.trains_trunk)
        if config.model.gradient_checkpointing:
            joint.recompute_blocks()
        return joint

    if not world.is_sharded:
        return load(), None
    device = world.accelerator.device
    mesh = init_device_mesh(device.type, (world.size,))
    made: list[tuple[JointModel, WholeModel]] = []
    for turn in range(world.size):  # one after the other, so that the host holds one whole model at a time
        with world.together():
            if turn == world.rank:
                joint = load()
                made.append((joint, WholeModel(joint, device)))
                shard(joint, mesh)
    return made[0]


def _sampler(
    config: RunConfig,
    joint: JointModel,
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    asked: Sequence[Prompts],
) -> Engine:
    """This process's sampler of responses to any of the prompts."""
    if config.rollout.engine == "builtin":
        return BuiltinEngine(
            joint.trunk,
            tokenizer.eos_token_id,
            accelerator.autocast,
            tokenizer,
            drafter=None if config.rollout.speculative == "off" else joint,
            drafts_always=config.rollout.speculative == "on",
        )
    from trainer.rollout.vllm.engine import VllmEngine  # most runs need none of it

    longest = max(len(prompt.tokens) for prompts in asked for prompt in prompts.kept)
    return VllmEngine(
        config,
        joint,
        tokenizer.eos_token_id,
        longest,
        accelerator.device,
        getattr(joint.trunk.config, "max_position_embeddings", None),
    )


def _new_heads(config: RunConfig) -> str:
    """What a randomly started head would otherwise show only by its loss (slime #1702)."""
    if config.regime.kind == "warm":
        trained = "they are what learns in this run, and their draft acceptance says little before they have"
    elif config.trains_heads:
        trained = "they learn in this run, and c, v2 and draft acceptance say little before they have"
    else:
        trained = f"and with regime {config.regime.kind} and mtp.head_loss {config.mtp.head_loss} they never learn"
    return (
        f"{config.model.path} has no MTP heads: {config.model.mtp_depths} new, started from its last block; {trained}"
    )


def _skipped(broken: BrokenCheckpoint, resumed: StoredCheckpoint | None) -> str:
    used = f"the checkpoint of step {resumed.step}" if resumed else "the base model"
    return f"{broken.path} is broken: {broken.flaw}. Training goes on from {used}; remove the folder once you have looked at it"


def _decayed(joint: JointModel, settings: OptimizerConfig) -> list[dict[str, object]]:
    """Parameter groups: weight decay on matrices, none on norms and biases."""
    trained = [parameter for parameter in joint.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]
