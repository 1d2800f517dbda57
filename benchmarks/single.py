"""One job: a training run by the trainer's own loop, and the line of results that is made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.bases import base_folder, exact_accuracy, read_pairs, teacher_forced
from benchmarks.plan import Job
from trainer.config import Evaluation, RunConfig
from trainer.errors import TrainingError
from trainer.evaluation.evaluate import answer, average
from trainer.events import STEP_LEVEL, MemorySink
from trainer.loop import EVALUATED_AT_ONCE, collect, learn
from trainer.rollout.engine import Sampling
from trainer.rollout.prompts import tokenize
from trainer.seeds import derive
from trainer.tasks import Grader, load
from trainer.training import Training, prepare

MEASURE_EVERY = 5
"""Steps between measurements of the exact accuracy."""
LAST = 3
"""Measurements, or steps, whose mean is a run's first or final value."""
CURVE_POINTS = 10
SAMPLED = Evaluation(samples=8, temperature=1.0, top_p=1.0)
MOST_LIKELY = 1
"""Tokens that greedy decoding draws from."""

CURVES = ("coefficient", "coefficient_main", "coefficient_own", "c_hat", "v2_hat", "gain")
ENDS = (
    "mtp/acceptance_greedy",
    "mtp/acceptance_sampled",
    "mtp/loss",
    "policy/entropy",
    "policy/clip_fraction",
    "policy/approx_kl",
    "optim/grad_norm_trunk",
    "optim/grad_norm_head",
    "reward/accuracy",
    "reward/zero_variance_fraction",
)


def run_job(job: Job, out: Path, coefficient: float | None, grader: Grader) -> dict[str, Any]:
    """Train, measure, and sum up in one JSON object.

    A run that breaks off because a loss or gradient is not finite gives an object with `failed`, the reason, and no results.
    """
    config = job.config(out, coefficient)
    sink = MemorySink()
    start = time.perf_counter()
    row = {
        "key": job.key,
        "block": job.block,
        "arm": job.arm.name,
        "base": job.base,
        "algorithm": job.algorithm,
        "seed": job.seed,
        "lr": job.lr,
    }
    try:
        # Nothing is ever saved, so there is no checkpoint to resume from.
        run = prepare(config, out / "no-checkpoints", sink, grader)
        accuracy = _train(run, base_folder(out, job.base) / "test.jsonl")
        sampled = _sampled_accuracy(run, base_folder(out, job.base) / "test.jsonl", SAMPLED.samples)
        greedy = _sampled_accuracy(run, base_folder(out, job.base) / "test.jsonl", 1, top_k=MOST_LIKELY)
    except TrainingError as error:
        return {**row, "failed": str(error)}
    results = {
        "final": fmean(accuracy[-LAST:]),
        "auc": _area(accuracy),
        "accuracy": accuracy,
        "sampled": sampled,
        "greedy": greedy,
        **summary(sink, config),
        "seconds": time.perf_counter() - start,
    }
    return {**row, **rounded(results)}


def _train(run: Training, test: Path) -> list[float]:
    """Every step; the exact accuracy on the held-out problems before the first and after each MEASURE_EVERY."""
    held_out = teacher_forced(run.tokenizer, read_pairs(test))
    accuracy = [exact_accuracy(run.joint, held_out)]
    while run.step < run.config.steps:
        run.step += 1
        run.seconds.clear()
        learn(run, *collect(run))
        if run.step % MEASURE_EVERY == 0:
            accuracy.append(exact_accuracy(run.joint, held_out))
    return accuracy


def _sampled_accuracy(run: Training, test: Path, samples: int, top_k: int = 0) -> float:
    """avg@k on the held-out problems, as any evaluation takes it."""
    items = load(run.config.data.model_copy(update={"path": str(test)}))
    prompts = tokenize(items, run.tokenizer, run.config.rollout.max_prompt_tokens, "data").kept
    seed = derive(run.config.seed, "sampled accuracy")
    longest = run.config.rollout.max_response_tokens
    sampling = Sampling(samples, longest, SAMPLED.temperature, SAMPLED.top_p, seed, top_k=top_k)
    parts = answer(prompts, sampling, EVALUATED_AT_ONCE["builtin"], run.engine, run.tokenizer, run.grader)
    return average([one.outcomes for part in parts for one in part])


def _area(accuracy: Sequence[float]) -> float:
    """Mean height of the curve through equidistant points."""
    return fmean((left + right) / 2 for left, right in pairwise(accuracy))


def summary(sink: MemorySink, config: RunConfig) -> dict[str, Any]:
    """Seconds per update, values before and after, and curves, of the metrics that the run has."""
    result: dict[str, Any] = {}
    seconds = [value for _, _, value in sink.series("time/update_seconds")]
    result["seconds_per_update"] = median(seconds) / config.updates_per_step
    for name in ENDS:
        values = [value for _, place, value in sink.series(name) if place == STEP_LEVEL]
        if values:
            result[name] = [fmean(values[:LAST]), fmean(values[-LAST:])]
    clipped = [value for _, place, value in sink.series("policy/clip_fraction") if place == STEP_LEVEL]
    result["clip_fraction_mean"] = fmean(clipped)
    used = [value for _, place, value in sink.series("mtp/coefficient") if place != STEP_LEVEL]
    if used:
        result["coefficient_mean"] = fmean(used)
    for name in CURVES:
        # On a phase's first mini-batch nothing has changed yet, and these are 0 by rule.
        series = [(step, value) for step, place, value in sink.series(f"mtp/{name}") if place > 0]
        if series:
            result[f"{name}_curve"] = curve(series, config.steps)
    result.update(_audit(sink))
    return result


def curve(series: Sequence[tuple[int, float]], steps: int) -> list[float]:
    """Means over CURVE_POINTS equal parts of the run of (step from 1, value)."""
    parts: dict[int, list[float]] = {}
    for step, value in series:
        parts.setdefault((step - 1) * CURVE_POINTS // steps, []).append(value)
    return [fmean(values) for _, values in sorted(parts.items())]


def _audit(sink: MemorySink) -> dict[str, Any]:
    """Every audit metric as its list of values over the run."""
    names = {name for event in sink.events if event["type"] == "metrics" for name in event["values"]}
    series = {
        name: [value for _, place, value in sink.series(name) if place != STEP_LEVEL]
        for name in sorted(names)
        if name.startswith("audit/")
    }
    return {"audit": series} if series else {}


def rounded(value: Any) -> Any:
    """The same with every number to five digits: what is kept in the repository stays small."""
    if isinstance(value, Mapping):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
