"""Runs that look like real ones, put into a store by the functions that the supervisor itself uses."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from db import claims, ingest, reads, runs, workers
from db.statuses import Kind, Status
from trainer.alarms import Watch
from trainer.config import RunConfig, dump, parse, resolve
from trainer.events import MemorySink
from trainer.presets import presets

HOST = "here"
LIFT = {"off": 0.36, "detach": 0.42, "ce": 0.33, "policy": 0.36, "occ": 0.41, "oracle": 0.41}


def add_run(
    connection: Connection,
    home: Path,
    preset: str,
    *,
    seed: int = 0,
    status: Status = Status.FINISHED,
    steps: int = 120,
    done: int | None = None,
    now: float,
    silent: float = 0.0,
    reason: str = "",
    experiment: str = "demo",
    changes: dict[str, Any] | None = None,
) -> int:
    """Add a run in `status` with `done` of its `steps` (all, unless told), last heard of `silent` seconds before `now`."""
    overrides = [f"steps={steps}", f"seed={seed}", *(f"{key}={value}" for key, value in (changes or {}).items())]
    config = parse(resolve(presets()[preset].values, overrides, {"MTPRL_HOME": str(home)}))
    folder = home / "runs" / f"{preset.replace('/', '-')}-{seed}-{random.random():.6f}"
    done = steps if done is None else done
    created = now - max(silent, 0.0) - 20 - 0.4 * done
    run_id = runs.create_run(
        connection,
        experiment=experiment,
        name=f"{config.regime.kind}-{config.algorithm.kind}-seed{config.seed}",
        config=config.model_dump(mode="json"),
        regime=config.regime.kind,
        algorithm=config.algorithm.kind,
        seed=seed,
        total_steps=steps,
        preset=preset,
        folder=str(folder),
        now=created,
    )
    if status == Status.QUEUED:
        return run_id
    claim = claims.claim_next(connection, host=HOST, devices=[f"cpu:{run_id}"], now=created + 1)
    assert claim is not None
    assert claim.run_id == run_id
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump(config))
    (folder / "trainer.log").write_text(
        "".join(f"step {step}: reward {step / steps:.3f}\n" for step in range(1, done + 1))
    )
    if status != Status.STARTING:
        sink = events(config, done, started=created + 3, finished=status == Status.FINISHED)
        ingest.ingest(connection, run_id, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
    claims.heartbeat(connection, run_id, 1, now - silent)
    if status == Status.STOPPING:
        runs.request_stop(connection, run_id, now)
    if status in (Status.FINISHED, Status.FAILED, Status.STOPPED):
        claims.finish(
            connection,
            run_id=run_id,
            attempt=1,
            status=status,
            reason=reason,
            exit_code=int(status == Status.FAILED),
            now=now - silent,
        )
    return run_id


def add_worker(connection: Connection, *, now: float) -> None:
    """Add a worker that is alive at `now`."""
    workers.worker_heartbeat(connection, "worker-1", HOST, 4242, ["cpu:0", "cpu:1"], now)


def make_base(home: Path) -> None:
    """Files that look like the demo's base model and data, for preflight to let pass."""
    model, data = home / "models" / "addition", home / "data" / "addition"
    model.mkdir(parents=True)
    data.mkdir(parents=True)
    for name, content in (
        ("config.json", '{"model_type": "qwen3"}'),
        ("tokenizer.json", "{}"),
        ("model.safetensors", "\x02" + "\0" * 7 + "{}"),
    ):
        (model / name).write_text(content)
    lines = "".join(json.dumps({"problem": f"{n}+1=", "answer": str(n + 1)}) + "\n" for n in range(64))
    for name in ("train", "test"):
        (data / f"{name}.jsonl").write_text(lines)


def events(config: RunConfig, done: int, *, started: float, finished: bool) -> MemorySink:
    """What a trainer would have written after `done` steps."""
    sink, rng = MemorySink(), random.Random(f"{config.regime.kind}{config.seed}")
    steps, per_step, watch = config.steps, config.updates_per_step, Watch(config)
    sink.emit(
        "attempt_started",
        step=0,
        pid=1,
        host=HOST,
        total_steps=steps,
        resumed_from=None,
        threads=1,
        device="cpu",
        versions={},
    )
    for step in range(done + 1):
        accuracy = _accuracy(config, step, rng)
        if step:
            _step(sink, config, step, per_step, accuracy, rng)
            *mini_batches, whole = [event["values"] for event in sink.events[-per_step - 1 :]]
            for notice in watch.observe(step, whole, mini_batches):
                sink.emit("alarm", step=step, **notice._asdict())
        if step and config.audit.every and step % config.audit.every == 0:
            _audit(sink, config, step, rng)
        if step % config.evaluation.every == 0 or step == steps:
            _evaluate(sink, config, step, accuracy, rng)
        if step and step % config.checkpoint.every == 0:
            sink.emit("checkpoint", step=step, path=f"checkpoints/step-{step:06d}")
        if step and step % config.logging.completions_every == 0:
            _complete(sink, step, accuracy, rng)
    sink.emit("stage", step=done, stage="rollout")
    if finished:
        sink.emit("ended", step=done, outcome="finished", message="all steps are done")
    for index, event in enumerate(sink.events):
        event["time"] = started + 0.35 * done * index / len(sink.events)
    return sink


def _accuracy(config: RunConfig, step: int, rng: random.Random) -> float:
    lift = LIFT[config.regime.kind] * (1 - math.exp(-2.6 * step / config.steps))
    return min(max(0.41 + lift + rng.gauss(0, 0.02), 0.0), 1.0)


def _step(sink: MemorySink, config: RunConfig, step: int, per_step: int, accuracy: float, rng: random.Random) -> None:
    kind, totals = config.regime.kind, {}
    for index in range(per_step):
        values = {
            "policy/loss": rng.gauss(-0.01, 0.01),
            "policy/entropy": 0.5 * math.exp(-step / 90) + 0.08 + rng.gauss(0, 0.01),
            "policy/clip_fraction": abs(rng.gauss(0.002 * index, 0.001)),
            "policy/approx_kl": abs(rng.gauss(0.0005 * index, 0.0002)),
            "optim/grad_norm_trunk": abs(rng.gauss(0.35, 0.08)),
            "optim/lr": config.optimizer.lr
            * min(1.0, ((step - 1) * per_step + index) / max(config.optimizer.warmup_steps, 1)),
        }
        if kind != "off":
            moved = 0.0 if index == 0 else abs(rng.gauss(0.5, 0.2)) * index
            values |= {
                "mtp/loss": 0.6 * math.exp(-step / 60) + 0.2 + rng.gauss(0, 0.02),
                "mtp/c_hat": 40 * moved * 0.4,
                "mtp/v2_hat": 40 * moved + 1e-3,
                "mtp/coefficient": {"ce": 1.0, "policy": 1.0}.get(
                    kind, min(1.0, max(0.0, rng.gauss(0.42, 0.14))) if moved else 0.0
                ),
                "mtp/gain": 8 * moved * abs(rng.gauss(0.4, 0.1)),
                "optim/grad_norm_head": abs(rng.gauss(0.12, 0.03)),
            }
            if kind == "detach":
                del values["mtp/coefficient"]
            deeper = ("c_hat", "v2_hat", "coefficient", "gain")
            values |= {
                f"mtp/depth_{depth}/{name}": 0.5 * values[f"mtp/{name}"]
                for depth in range(2, config.model.mtp_depths + 1)
                for name in deeper
                if f"mtp/{name}" in values
            }
        sink.emit("metrics", step=step, mini_batch=index, values=values)
        for name, value in values.items():
            totals[name] = totals.get(name, 0.0) + value / per_step
    sink.emit(
        "metrics",
        step=step,
        values=totals
        | {
            "reward/mean": 2 * accuracy - 1,
            "reward/accuracy": accuracy,
            "reward/zero_variance_fraction": abs(accuracy - 0.45),
            "rollout/length_mean": 27 + rng.gauss(0, 0.8),
            "rollout/truncated_fraction": abs(rng.gauss(0, 0.004)),
            "rollout/log_prob_gap": 2e-4,
            "rollout/tokens_per_second": 61_000 + rng.gauss(0, 2500),
            "step/tokens_per_second": 26_000 + rng.gauss(0, 1200),
            "system/cpu": 0.85 + rng.gauss(0, 0.03),
            "system/memory": 0.4 + 0.001 * step,
            "system/disk_free_gib": 42 - 0.01 * step,
            "system/gpu_0/utilization": 0.8 + rng.gauss(0, 0.05),
            "system/gpu_0/memory": 0.6,
            "mtp/acceptance_greedy": (0.9 - 0.12 * step / config.steps if kind == "off" else 0.9) + rng.gauss(0, 0.006),
            "mtp/acceptance_sampled": 0.82 + rng.gauss(0, 0.006),
            **({"rollout/draft_acceptance_1": 0.43, "rollout/draft_acceptance_2": 0.2} if kind == "occ" else {}),
            "time/step_seconds": 0.31 + abs(rng.gauss(0, 0.03)),
            "time/rollout_seconds": 0.16 + abs(rng.gauss(0, 0.02)),
            "time/grading_seconds": 0.01,
            "time/update_seconds": 0.12 + abs(rng.gauss(0, 0.01)),
        },
    )


def _audit(sink: MemorySink, config: RunConfig, step: int, rng: random.Random) -> None:
    """Gradients that are mostly noise, as in small models: the products of halves scatter around small means."""
    square_cross = 0.02 + 0.06 * math.exp(-2 * step / config.steps) + rng.gauss(0, 0.02)
    square = square_cross + 0.2 * rng.uniform(0.9, 1.1)
    values = {"audit/g_rl_squared": square, "audit/g_rl_squared_cross": square_cross}
    for depth in range(1, config.model.mtp_depths + 1):
        prefix = "audit/" if depth == 1 else f"audit/depth_{depth}/"
        own = {"g_rl_squared": square, "g_rl_squared_cross": square_cross}
        for form, signal, noise in (("", 0.4, 0.2), ("ce_", -0.5, 0.1)):
            cross = signal * square_cross + rng.gauss(0, 0.01)
            same = cross + (square - square_cross) * (noise + rng.gauss(0, 0.02))
            own |= {
                f"{form}c": same,
                f"{form}c_cross": cross,
                f"{form}v2": 0.1 * rng.uniform(0.8, 1.2),
                f"{form}signal": cross / square_cross,
                f"{form}noise": (same - cross) / (square - square_cross),
            }
        exact = own["c"] / own["v2"]
        own |= {
            "v2_cross": 0.3 * own["v2"] + rng.gauss(0, 0.01),
            "coefficient": exact,
            "coefficient_cross": own["c_cross"] / own["v2"],
            "coefficient_half_1": exact + rng.gauss(0, 0.25),
            "coefficient_half_2": exact + rng.gauss(0, 0.25),
            "proxy_main": 0.01 + 0.02 * (exact + rng.gauss(0, 0.3)),
            "proxy_own": 0.7 * exact + rng.gauss(0, 0.15),
            "cosine": own["c"] / math.sqrt(square * own["v2"]),
        }
        values |= {prefix + name: value for name, value in own.items() if not name.startswith("g_rl")}
    if config.regime.kind not in ("off", "detach"):
        predicted = 2e-5 * (values["audit/c"] + rng.gauss(0, 0.02))
        values |= {"audit/predicted_change": predicted, "audit/measured_change": predicted + rng.gauss(0, 1e-6)}
    sink.emit("metrics", step=step, mini_batch=config.updates_per_step - 1, values=values)


def _evaluate(sink: MemorySink, config: RunConfig, step: int, accuracy: float, rng: random.Random) -> None:
    evaluation = config.evaluation
    items = []
    for item in range(100):
        chance = min(max(accuracy + 0.35 * math.sin(item), 0.02), 0.98)
        items.append({"id": str(item), "outcomes": [int(rng.random() < chance) for _ in range(evaluation.samples)]})
    mean = sum(sum(item["outcomes"]) for item in items) / (100 * evaluation.samples)
    sink.emit(
        "evaluation",
        step=step,
        benchmark="addition",
        samples=evaluation.samples,
        temperature=evaluation.temperature,
        top_p=evaluation.top_p,
        items=items,
    )
    sink.emit(
        "metrics",
        step=step,
        values={f"eval/addition/avg_at_{evaluation.samples}": mean, "time/evaluating_seconds": 0.4},
    )


def _complete(sink: MemorySink, step: int, accuracy: float, rng: random.Random) -> None:
    items = []
    for prompt in range(4):
        a, b = (123, 456) if prompt == 3 else (rng.randrange(100, 1000), rng.randrange(100, 1000))
        for sample in range(8):
            correct = sample == 0 or (rng.random() < accuracy and sample != 5)  # never all alike
            given = a + b if correct else a + b + rng.choice([-100, -10, 10, 1])
            written = f"{a % 10}+{b % 10}={(a + b) % 10} carry {(a % 10 + b % 10) // 10};\n<b>sum</b> = {given}"
            items.append(
                {
                    "prompt_id": f"train-{prompt}" if prompt == 3 else f"train-{step * 7 + prompt}",
                    "sample": sample,
                    "problem": f"{a}+{b}=",
                    "answer": str(a + b),
                    "completion": written,
                    "reward": 1.0 if correct else -1.0,
                    "advantage": (1 if correct else -1) * 0.8,
                    "correct": correct,
                    "extracted": str(given),
                    "reason": "equal to the right answer" if correct else f"{given} is not {a + b}",
                    "tokens": len(written) + 2,
                    "truncated": False,
                    "by_token": _by_token(written, rng),
                }
            )
    sink.emit("completions", step=step, items=items)


def _by_token(written: str, rng: random.Random) -> dict[str, Any]:
    """One token per character, the last one of two bytes, then the end; the first is not predicted by depth 1."""
    texts = [*written[:-1], "", written[-1], "<eos>"]
    log_probs = [round(-rng.expovariate(1.5), 3) for _ in texts]
    mtp = [round(min(value + rng.gauss(-0.2, 0.6), -0.001), 3) for value in log_probs]
    agrees = [int(value > -1.2) for value in mtp]
    return {
        "texts": texts,
        "log_probs": log_probs,
        "mtp_log_probs": [None, *mtp[1:]],
        "agrees": [None, *agrees[1:]],
    }


def add_evaluation(
    connection: Connection, subject: int, chances: dict[str, list[float]], *, now: float, samples: int = 4
) -> int:
    """Add a finished job that evaluated a finished run, with all texts: per benchmark the chance of each problem."""
    run, rng = reads.get_run(connection, subject), random.Random(subject)
    benchmarks = [{"name": name, "data": {"kind": "jsonl", "path": f"{name}.jsonl"}} for name in chances]
    job = runs.create_run(
        connection,
        experiment=run.experiment,
        name=f"evaluation-of-{subject}",
        config={"kind": "evaluation", "model": {"path": "checkpoint"}, "benchmarks": benchmarks},
        regime=run.regime,
        algorithm=run.algorithm,
        seed=run.seed,
        total_steps=sum(map(len, chances.values())),
        preset=run.preset,
        folder=run.folder,
        now=now,
        kind=Kind.EVALUATION,
        evaluates=subject,
        evaluates_step=run.total_steps,
    )
    assert claims.claim_next(connection, host=HOST, devices=[f"cpu:{job}"], now=now) is not None
    sink = MemorySink()
    for name, each in chances.items():
        sink.emit(
            "evaluation",
            step=0,
            benchmark=name,
            samples=samples,
            temperature=1.0,
            top_p=0.7,
            max_tokens=512,
            revision="0123456789ab",
            grader="1",
            items=[
                _answered(number, [rng.random() < chance for _ in range(samples)]) for number, chance in enumerate(each)
            ],
        )
    ingest.ingest(connection, job, sink.events, attempt=1, start=0, offset=1, torn_lines=0)
    claims.finish(connection, run_id=job, attempt=1, status=Status.FINISHED, reason="", exit_code=0, now=now)
    return job


def _answered(number: int, right: list[bool]) -> dict[str, Any]:
    samples = [
        {
            "completion": f"Twice {number} is \\boxed{{{2 * number + (not correct)}}}",
            "tokens": 9,
            "truncated": False,
            "extracted": str(2 * number + (not correct)),
            "reason": "equal to the right answer" if correct else f"{2 * number + 1} is not {2 * number}",
        }
        for correct in right
    ]
    return {
        "id": f"p{number}",
        "outcomes": [int(correct) for correct in right],
        "problem": f"What is <b>twice</b> {number}?",
        "answer": str(2 * number),
        "samples": samples,
    }
