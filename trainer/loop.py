"""The training loop: RL from verifiable rewards with MTP heads trained jointly (arXiv 2605.28184, algorithm 1).

Departures, each explained in docs/method.md: old log-probs are recomputed by the trainer, never taken from the sampler; lambda is
0 on a phase's first mini-batch by rule; trunk and heads are clipped separately.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from trainer.alarms import not_finite
from trainer.audit.audit import Audit
from trainer.audit.held_out import sample_held_out
from trainer.checkpoint import Checkpoints, state_of
from trainer.config import RunConfig
from trainer.errors import NotFiniteError, TrainingError
from trainer.evaluation.evaluate import answer, average, metric, terms
from trainer.events import Sink
from trainer.launch.world import check_same_parameters
from trainer.models.joint import JointModel
from trainer.models.log_probs import Acceptance, acceptance_of_all
from trainer.rollout import dynamic
from trainer.rollout.collect import Experience, Group, experience_of, sample_responses, verify
from trainer.rollout.engine import Sampling
from trainer.rollout.prompts import Prompt
from trainer.seeds import derive
from trainer.tasks import Grader
from trainer.training import Training, prepare
from trainer.update.finite import check_parameters
from trainer.update.measure import Metrics
from trainer.update.minibatch import OldLogProbs
from trainer.update.tokens import by_token
from trainer.warming import respond

EVALUATED_AT_ONCE = {"builtin": 1024, "vllm": 16_384}
"""By engine, responses that are asked for at once in an evaluation: vLLM decides by itself how many of them run, and the last of them
leave less of it idle."""


def train(config: RunConfig, folder: Path, sink: Sink, should_stop: Callable[[], bool] = lambda: False) -> str:
    """Train from the newest good checkpoint in `folder`, or from the base model, to the last step.

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
        with run.host if run.world.is_main else nullcontext(), telling_what_is_not_finite(run):
            if evaluation_is_due(run) and run.accuracy is None:  # before training, and where a stop left it out
                evaluate_now(run)
            while run.step < config.steps:
                run.step += 1
                run.accuracy = None
                run.seconds.clear()
                experience, old = collect(run)
                learn(run, experience, old)
                last, stopping = run.step == config.steps, run.world.any(should_stop())
                if last or (evaluation_is_due(run) and not stopping):
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
        last_good = run.checkpoints.newest
        notice = not_finite(error, run.config, run.step, last_good.step if last_good else None)
        run.sink.emit("alarm", step=run.step, **notice._asdict())
        raise TrainingError(notice.message) from error


def collect(run: Training) -> tuple[Experience, OldLogProbs]:
    """Sample, verify, and take the log-probs that the update phase starts from."""
    config = run.config
    groups = dynamic.sample_step(run.prompts, config, run.step, partial(sample_groups, run))
    with run.stage("rollout"):
        run.drafted = run.engine.finish()
    with run.stage("grading"):
        device = run.updater.accelerator.device
        experience = experience_of(groups.batch, device, sampled=groups.sampled, rounds=groups.rounds)
    with run.stage("log_probs"):
        old = run.updater.old_log_probs(experience.sequences, drafting=True)
    if run.step == 1 or run.step % config.logging.completions_every == 0:
        run.sink.emit("completions", step=run.step, items=logged(run, experience, old))
    return experience, old


def logged(run: Training, experience: Experience, old: OldLogProbs) -> list[dict[str, Any]]:
    """The completions that are logged, also token by token, before the update."""
    items = experience.logged(run.config.logging.completions_prompts)
    rows = slice(len(items))
    with run.stage("logging"):
        tokens = by_token(
            run.updater,
            run.joint,
            run.tokenizer,
            experience.responses[rows],
            experience.sequences.rows(rows),
            old.main[rows],
        )
    return [{**item, "by_token": heat} for item, heat in zip(items, tokens, strict=True)]


def sample_groups(run: Training, prompts: list[Prompt], sampling_round: int) -> list[Group]:
    """One round of sampling in the present step, verified."""
    with run.stage("rollout"):
        responses = sample_responses(run.engine, prompts, run.config, run.step, sampling_round, run.heads.acceptance)
    with run.stage("grading"):
        return verify(prompts, responses, run.tokenizer, run.grader, run.config)


def learn(run: Training, experience: Experience, old: OldLogProbs) -> None:
    """Make the optimiser steps and log the step."""
    updates: list[Metrics] = []
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
    acceptance = draft_metrics(run, old.accepted)
    run.heads.acceptance = tuple(value for name, value in acceptance.items() if name.endswith("acceptance_sampled"))
    values = {
        **experience.metrics(),
        **(dynamic.metrics(experience) if run.config.rollout.dynamic_sampling_rounds else {}),
        **acceptance,
        **mean,
        **run.drafted.metrics(),
        **({"rollout/drafts": float(run.drafted.drafts)} if run.config.rollout.speculative != "off" else {}),
        "rollout/log_prob_gap": gap.mean().item(),
        "rollout/tokens_per_second": experience.sampled_tokens / run.seconds["time/rollout_seconds"],
        **run.seconds,
        "time/step_seconds": sum(run.seconds.values()),
        "step/tokens_per_second": experience.sampled_tokens / sum(run.seconds.values()),
        **run.host.metrics(),
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
        run.engine.finish()
        return Audit(run.updater, experience, held_out)


def _means(updates: list[Metrics]) -> Metrics:
    """The mean of each metric over the mini-batches that have it."""
    names = dict.fromkeys(name for update in updates for name in update)
    having = {name: [update[name] for update in updates if name in update] for name in names}
    return {name: sum(values) / len(values) for name, values in having.items()}


def draft_metrics(run: Training, mine: Sequence[Sequence[Acceptance]], name: str = "") -> Metrics:
    """Draft acceptance of every depth over the sequences of all processes; `name` stands before "acceptance".

    Args:
        mine: of every depth, for each of this process's pieces.
    """
    metrics: Metrics = {}
    of_all = [heads for part in run.world.gather(list(mine)) for heads in part]
    for k, parts in enumerate(zip(*of_all, strict=True), start=1):
        prefix = "mtp/" if k == 1 else f"mtp/depth_{k}/"
        whole = acceptance_of_all(parts)
        metrics[f"{prefix}{name}acceptance_greedy"] = whole.greedy.item()
        metrics[f"{prefix}{name}acceptance_sampled"] = whole.sampled.item()
    return metrics


def evaluation_is_due(run: Training) -> bool:
    """Whether the configuration wants an evaluation after this step."""
    return run.step % run.config.evaluation.every == 0 or run.step == run.config.steps


def measure_held_out(run: Training) -> None:
    """Log draft acceptance on the responses to the held-out prompts."""
    if run.responses is None:
        with run.stage("rollout"):
            device = run.updater.accelerator.device
            run.responses = respond(run.held_out, run.config, run.engine, device)
    temperature = run.config.rollout.temperature
    with run.stage("acceptance"), run.world.accelerator.autocast():
        pieces = [run.joint.draft_acceptance(piece, temperature) for piece in run.updater.sequences_of(run.responses)]
        mine = [[head.cpu() for head in heads] for heads in pieces]
    run.sink.emit("metrics", step=run.step, values=draft_metrics(run, mine, "held_out_"))


def evaluate_now(run: Training) -> None:
    """Evaluate on every benchmark and log the outcomes; in regime warm, measure how the heads do."""
    if run.held_out:
        measure_held_out(run)
    if not run.benchmarks:
        return
    settings = run.config.evaluation
    values: Metrics = {}
    run.seconds.pop("time/evaluating_seconds", None)
    with run.stage("evaluating"):
        for name, prompts in run.benchmarks.items():
            values[metric(name, settings.samples)] = evaluate_on(run, name, prompts)
        run.engine.finish()
    run.accuracy = sum(values.values()) / len(values)
    values["time/evaluating_seconds"] = run.seconds["time/evaluating_seconds"]
    run.sink.emit("metrics", step=run.step, values=values)


def evaluate_on(run: Training, name: str, prompts: list[Prompt]) -> float:
    """Evaluate on one benchmark, log the outcomes, after the last step with the texts, and give the avg@k."""
    settings, longest = run.config.evaluation, run.config.rollout.max_response_tokens
    sampling = Sampling(
        samples=settings.samples,
        max_tokens=longest,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        stop=settings.stop,
        acceptance=run.heads.acceptance,
        seed=derive(run.config.seed, f"evaluation {name}", run.step),
    )
    engine = run.config.rollout.engine
    shared = terms(name, prompts, settings, longest, engine)
    outcomes: list[list[int]] = []
    with_texts = run.step == run.config.steps
    for part in answer(prompts, sampling, EVALUATED_AT_ONCE[engine], run.engine, run.tokenizer, run.grader):
        items = [one.details() if with_texts else one.summary() for one in part]
        run.sink.emit("evaluation", step=run.step, adds=bool(outcomes), **shared, items=items)
        outcomes += [one.outcomes for one in part]
    return average(outcomes)


def save(run: Training) -> None:
    """Write a checkpoint, unless the parameters are not finite, and say whether it is the best so far where it was evaluated."""
    with run.stage("checkpointing"):
        with run.world.together():
            check_parameters(run.joint)
        check_same_parameters(run.joint, run.world)
        state = state_of(run.updater, run.parts)
        with run.whole() as joint:
            run.checkpoints = run.world.from_main(partial(write_checkpoint, run, joint, state))
    saved = run.checkpoints.good[-1]
    rating = {} if run.accuracy is None else {"best": saved == run.checkpoints.best}
    run.sink.emit("checkpoint", step=run.step, path=str(saved.path.relative_to(run.folder)), **rating)


def write_checkpoint(run: Training, joint: JointModel, state: Mapping[str, Any]) -> Checkpoints:
    """Write it, and give the checkpoints that there are then."""
    run.checkpoints.save(run.step, run.accuracy, joint, run.tokenizer, state)
    return run.checkpoints
