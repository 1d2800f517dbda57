"""The training loop: RL from verifiable rewards with MTP heads trained jointly (arXiv 2605.28184, algorithm 1).

Departures, each explained in docs/method.md: old log-probs are recomputed by the trainer, never taken from the sampler; lambda is
0 on a phase's first mini-batch by rule; trunk and heads are clipped separately.
"""

from __future__ import annotations

import os
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch.optim import AdamW
from transformers import PreTrainedTokenizerBase

from trainer import checkpoint
from trainer.alarms import Watch, not_finite
from trainer.audit.audit import Audit
from trainer.audit.held_out import check_enough, sample_held_out
from trainer.config import Optimizer as OptimizerConfig
from trainer.config import RunConfig
from trainer.errors import NotFiniteError, TrainingError
from trainer.evaluation.evaluate import evaluate
from trainer.events import Sink
from trainer.models.joint import JointModel
from trainer.models.storage import load_joint, load_tokenizer
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout import dynamic
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.collect import Experience, Group, experience_of, sample_responses, verify
from trainer.rollout.engine import Engine
from trainer.rollout.prompts import Prompt, tokenize
from trainer.seeds import derive
from trainer.tasks import Grader, load
from trainer.update.finite import check_parameters
from trainer.update.losses import trains_heads
from trainer.update.measure import Metrics
from trainer.update.minibatch import OldLogProbs
from trainer.update.phase import Updater

LIBRARIES = ("torch", "transformers", "accelerate")


@dataclass
class Training:
    """One run in progress: everything that the steps share."""

    config: RunConfig
    folder: Path
    sink: Sink
    grader: Grader
    joint: JointModel
    tokenizer: PreTrainedTokenizerBase
    engine: Engine
    updater: Updater
    prompts: list[Prompt]
    benchmarks: dict[str, list[Prompt]]
    watch: Watch
    """Which alarms are on."""
    step: int
    """Steps done."""
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


def train(config: RunConfig, folder: Path, sink: Sink, should_stop: Callable[[], bool] = lambda: False) -> str:
    """Train from the newest checkpoint in `folder`, or from the base model, to the last step.

    Args:
        config: the run.
        folder: where checkpoints go.
        sink: where events go.
        should_stop: asked after every step; true: save a checkpoint and return.

    Returns:
        "finished" or "stopped".

    Raises:
        MtprlError: data, model or training cannot go on; the message says why.
    """
    with Grader() as grader:
        run = prepare(config, folder, sink, grader)
        with telling_what_is_not_finite(run):
            if run.step == 0:
                evaluate_now(run)
            while run.step < config.steps:
                run.step += 1
                run.seconds.clear()
                experience, old = collect(run)
                learn(run, experience, old)
                last, stopping = run.step == config.steps, should_stop()
                if last or (run.step % config.evaluation.every == 0 and not stopping):
                    evaluate_now(run)
                if last or stopping or run.step % config.checkpoint.every == 0:
                    save(run)
                if stopping and not last:
                    return "stopped"
    return "finished"


@contextmanager
def telling_what_is_not_finite(run: Training) -> Iterator[None]:
    """Where a tensor is not finite, raise an alarm and end the run with what to do about it.

    Raises:
        TrainingError: in the place of a NotFiniteError.
    """
    try:
        yield
    except NotFiniteError as error:
        last_good = next(reversed(checkpoint.stored(run.folder)), None)
        notice = not_finite(error, run.config, run.step, last_good.step if last_good else None)
        run.sink.emit("alarm", step=run.step, **notice._asdict())
        raise TrainingError(notice.message) from error


def prepare(config: RunConfig, folder: Path, sink: Sink, grader: Grader) -> Training:
    """Load data, model, heads and optimiser, from the newest checkpoint where there is one."""
    accelerator = Accelerator()
    resumed = next(reversed(checkpoint.stored(folder)), None)
    sink.emit("attempt_started", step=resumed.step if resumed else 0, **_about(config, accelerator, resumed))
    sink.emit("stage", step=resumed.step if resumed else 0, stage="loading")
    tokenizer = load_tokenizer(config.model.path)
    limit = config.rollout.max_prompt_tokens
    training = tokenize(load(config.data), tokenizer, limit, "data")
    check_enough(training.kept, config)
    benchmarks = {}
    for index, benchmark in enumerate(config.evaluation.benchmarks):
        items = load(benchmark.data)[: benchmark.limit]
        benchmarks[benchmark.name] = tokenize(items, tokenizer, limit, f"evaluation.benchmarks.{index}.data")
    for name, prompts in {"training data": training, **benchmarks}.items():
        if prompts.too_long:
            message = f"{prompts.too_long} prompts of {name} have more than {limit} tokens and are left out"
            sink.emit("alarm", step=0, severity="warning", name="prompts_too_long", message=message)
    if not resumed:
        values = {"data/prompts": len(training.kept), "data/prompts_too_long": training.too_long}
        sink.emit("metrics", step=0, values=values)
    source = str(resumed.model) if resumed else config.model.path
    joint = load_joint(source, config.model.mtp_depths, seed=derive(config.seed, "heads"))
    joint.mtp.requires_grad_(trains_heads(config))
    optimizer = AdamW(_decayed(joint, config.optimizer), lr=config.optimizer.lr, betas=config.optimizer.betas)
    model, optimizer = accelerator.prepare(joint, optimizer)
    tracker = CoefficientTracker(config.regime, config.model.mtp_depths)
    updater = Updater(config, model, optimizer, tracker, accelerator)
    if resumed:
        checkpoint.restore(resumed, updater)
    return Training(
        config=config,
        folder=folder,
        sink=sink,
        grader=grader,
        joint=joint,
        tokenizer=tokenizer,
        engine=BuiltinEngine(joint.trunk, tokenizer.eos_token_id),
        updater=updater,
        prompts=training.kept,
        benchmarks={name: prompts.kept for name, prompts in benchmarks.items()},
        watch=Watch(config),
        step=resumed.step if resumed else 0,
    )


def collect(run: Training) -> tuple[Experience, OldLogProbs]:
    """Sample, verify, and take the log-probs that the update phase starts from."""
    config = run.config
    groups = dynamic.sample_step(run.prompts, config, run.step, partial(sample_groups, run))
    with run.stage("grading"):
        device = run.updater.accelerator.device
        experience = experience_of(groups.batch, device, sampled=groups.sampled, rounds=groups.rounds)
    with run.stage("log_probs"):
        old = run.updater.old_log_probs(experience.sequences)
    if run.step == 1 or run.step % config.logging.completions_every == 0:
        run.sink.emit("completions", step=run.step, items=experience.logged(config.logging.completions_prompts))
    return experience, old


def sample_groups(run: Training, prompts: list[Prompt], sampling_round: int) -> list[Group]:
    """One round of sampling in the present step, verified."""
    with run.stage("rollout"):
        responses = sample_responses(run.engine, prompts, run.config, run.step, sampling_round)
    with run.stage("grading"):
        return verify(prompts, responses, run.tokenizer, run.grader, run.config)


def learn(run: Training, experience: Experience, old: OldLogProbs) -> None:
    """Make the optimiser steps and log the step."""
    updates: list[Metrics] = []
    acceptance = draft_metrics(run, experience)
    audit = begin_audit(run, experience)
    phase = run.updater.run(experience, old)
    for index in range(run.config.updates_per_step):
        audited = audit if index + 1 == run.config.updates_per_step else None
        if audited:
            with run.stage("audit"):
                audited.before()
        with run.stage("update"):
            metrics = next(phase)
        if audited:
            with run.stage("audit"):
                metrics |= audited.after(metrics)
        run.sink.emit("metrics", step=run.step, mini_batch=index, values=metrics)
        updates.append(metrics)
    mean = _means(updates)
    gap = (experience.engine_log_probs - old.main).abs()[experience.sequences.mask]
    values = {
        **experience.metrics(),
        **(dynamic.metrics(experience) if run.config.rollout.dynamic_sampling_rounds else {}),
        **acceptance,
        **mean,
        "rollout/log_prob_gap": gap.mean().item(),
        "rollout/tokens_per_second": experience.sampled_tokens / run.seconds["time/rollout_seconds"],
        **run.seconds,
        "time/step_seconds": sum(run.seconds.values()),
    }
    run.sink.emit("metrics", step=run.step, values=values)
    for notice in run.watch.observe(run.step, values, updates):
        run.sink.emit("alarm", step=run.step, **notice._asdict())


def begin_audit(run: Training, experience: Experience) -> Audit | None:
    """The audit of this step, where one is due."""
    every = run.config.audit.every
    if not every or run.step % every:
        return None
    with run.stage("audit"):
        device = run.updater.accelerator.device
        held_out = sample_held_out(
            run.prompts, experience.prompts, run.config, run.step, run.engine, run.tokenizer, run.grader, device
        )
        return Audit(run.updater, experience, held_out)


def _means(updates: list[Metrics]) -> Metrics:
    """The mean of each metric over the mini-batches that have it."""
    names = dict.fromkeys(name for update in updates for name in update)
    having = {name: [update[name] for update in updates if name in update] for name in names}
    return {name: sum(values) / len(values) for name, values in having.items()}


def draft_metrics(run: Training, experience: Experience) -> Metrics:
    """Draft acceptance of every depth before the update, on the responses of the step's first mini-batch (a sample is enough)."""
    metrics: Metrics = {}
    sample = experience.sequences.rows(slice(len(experience.responses) // run.config.update.mini_batches))
    with run.stage("acceptance"):
        heads = run.joint.draft_acceptance(sample, run.config.rollout.temperature)
    for k, acceptance in enumerate(heads, start=1):
        prefix = "mtp/" if k == 1 else f"mtp/depth_{k}/"
        metrics[f"{prefix}acceptance_greedy"] = acceptance.greedy.item()
        metrics[f"{prefix}acceptance_sampled"] = acceptance.sampled.item()
    return metrics


def evaluate_now(run: Training) -> None:
    """Evaluate on every benchmark and log the outcomes."""
    if not run.benchmarks:
        return
    settings = run.config.evaluation
    values: Metrics = {}
    run.seconds.pop("time/evaluating_seconds", None)
    with run.stage("evaluating"):
        for name, prompts in run.benchmarks.items():
            result = evaluate(
                name,
                prompts,
                settings,
                run.config.rollout.max_response_tokens,
                run.engine,
                run.tokenizer,
                run.grader,
                derive(run.config.seed, f"evaluation {name}", run.step),
            )
            run.sink.emit("evaluation", step=run.step, **result.event(settings))
            values[result.metric] = result.average
    values["time/evaluating_seconds"] = run.seconds["time/evaluating_seconds"]
    run.sink.emit("metrics", step=run.step, values=values)


def save(run: Training) -> None:
    """Write a checkpoint, unless the parameters are not finite."""
    with run.stage("checkpointing"):
        check_parameters(run.joint)
        path = checkpoint.save(
            run.folder, run.step, run.joint, run.tokenizer, run.updater, keep=run.config.checkpoint.keep
        )
    run.sink.emit("checkpoint", step=run.step, path=str(path.relative_to(run.folder)))


def _decayed(joint: JointModel, settings: OptimizerConfig) -> list[dict[str, object]]:
    """Parameter groups: weight decay on matrices, none on norms and biases."""
    trained = [parameter for parameter in joint.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.dim() <= 1], "weight_decay": 0.0},
    ]


def _about(config: RunConfig, accelerator: Accelerator, resumed: checkpoint.StoredCheckpoint | None) -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "total_steps": config.steps,
        "resumed_from": resumed.step if resumed else None,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if accelerator.device.type == "cuda" else str(accelerator.device),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    }
