"""An evaluation as a run of its own: one model, some benchmarks, every answer kept.

Its steps are its problems: after step n, n problems are answered and stand in the event file. An attempt that goes on reads them there and
answers the others; what is drawn for a problem depends on seed, benchmark and place alone, so that it ends with the answers of an
undisturbed evaluation. Problems that another version of the grader graded are answered anew: two versions are never mixed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedTokenizerBase

from trainer.config import EvaluationConfig
from trainer.errors import ModelError, TrainingError
from trainer.evaluation.evaluate import UNSAID, Answered, answer, average, metric, terms
from trainer.events import EVENTS_FILE, Sink
from trainer.launch.attempt import attempt_fields
from trainer.launch.device import accelerator_for
from trainer.launch.world import World
from trainer.models.storage import load_tokenizer, load_trunk, positions_of
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.divided import DividedEngine, DividedGrader
from trainer.rollout.engine import Engine, Sampling
from trainer.rollout.prompts import Prompt, tokenize
from trainer.seeds import derive
from trainer.tasks import Grader, load

_NO_LIMIT = 2**31

AT_ONCE = {"builtin": 256, "vllm": 4096}
"""By engine, `sequences` where the configuration does not say."""


@dataclass
class Asked:
    """One benchmark and what has been answered of it."""

    name: str
    prompts: list[Prompt]
    terms: dict[str, Any]
    """What its events have in common."""
    outcomes: dict[str, list[int]] = field(default_factory=dict)
    """By id of the answered problems: 1 or 0 per sample."""

    def take(self, kept: dict[tuple[str, str], list[int]]) -> None:
        """Count what an earlier attempt has answered."""
        ids = (prompt.item.id for prompt in self.prompts)
        self.outcomes.update({item: kept[self.name, item] for item in ids if (self.name, item) in kept})

    def left(self) -> Iterator[tuple[int, list[Prompt]]]:
        """The stretches of problems that are not answered yet, with the place of their first."""
        stretch: list[Prompt] = []
        for place, prompt in enumerate([*self.prompts, None]):
            if prompt is not None and prompt.item.id not in self.outcomes:
                stretch.append(prompt)
            elif stretch:
                yield place - len(stretch), stretch
                stretch = []


def evaluate_model(config: EvaluationConfig, folder: Path, sink: Sink, should_stop: Callable[[], bool]) -> str:
    """Answer all problems that `folder` does not hold answers to.

    Returns:
        "finished" or "stopped".

    Raises:
        MtprlError: model or problems cannot be used, or answers could not be written; the message says why.
    """
    _check_still_there(config.model.path)
    accelerator = accelerator_for(config)
    world = World(accelerator)
    tokenizer = load_tokenizer(config.model.path)
    benchmarks = _benchmarks(config, tokenizer)
    total = sum(len(asked.prompts) for asked in benchmarks)
    kept = world.from_main(lambda: answered_before(folder / EVENTS_FILE, [asked.terms for asked in benchmarks]))
    for asked in benchmarks:
        asked.take(kept)
    done = sum(len(asked.outcomes) for asked in benchmarks)
    fields = attempt_fields(accelerator, total, done or None, config.rollout.engine)
    sink.emit("attempt_started", step=done, kind=config.kind, **fields)
    sink.emit("stage", step=done, stage="loading")
    engine = DividedEngine(_sampler(config, benchmarks, tokenizer, accelerator, sink), world)
    sink.emit("stage", step=done, stage="rollout")
    with Grader() as own_grader:
        ask = partial(
            answer,
            sequences=(config.sequences or AT_ONCE[config.rollout.engine]) * world.size,
            engine=engine,
            tokenizer=tokenizer,
            grader=DividedGrader(own_grader, world),
        )
        for asked, part, seconds in _answered(config, benchmarks, ask):
            done += len(part)
            sink.emit("evaluation", step=0, adds=True, **asked.terms, items=[one.details() for one in part])
            asked.outcomes.update({one.item.id: one.outcomes for one in part})
            sink.emit("metrics", step=done, values=_progress(asked, part, seconds) | engine.finish().metrics())
            if world.any(should_stop()) and done < total:
                return "stopped"
    if len(benchmarks) > 1:
        averages = [average(list(asked.outcomes.values())) for asked in benchmarks]
        sink.emit("metrics", step=total, values={metric("mean", config.samples): sum(averages) / len(averages)})
    world.from_main(lambda: _check_written(folder / EVENTS_FILE, benchmarks))
    return "finished"


def answered_before(path: Path, benchmarks: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """By benchmark and problem: the outcomes that an event file holds, of these benchmarks on exactly these terms.

    The file may be as large as all that was answered, and its last line may be torn: it is read line by line. What an older version did
    not say of its terms was as in `UNSAID`.
    """
    wanted = {one["benchmark"]: one for one in benchmarks}
    found: dict[tuple[str, str], list[int]] = {}
    if not path.exists():
        return found
    with open(path, "rb") as file:
        for line in file:
            if not line.startswith(b'{"type":"evaluation"') or not line.endswith(b"\n"):
                continue
            try:
                event = json.loads(line)
            except ValueError:  # torn by a process that was killed
                continue
            asked = wanted.get(event.get("benchmark"))
            if asked is not None and all((UNSAID | event).get(name) == value for name, value in asked.items()):
                found.update({(asked["benchmark"], item["id"]): item["outcomes"] for item in event["items"]})
    return found


def _answered(
    config: EvaluationConfig,
    benchmarks: Sequence[Asked],
    ask: Callable[[list[Prompt], Sampling], Iterable[list[Answered]]],
) -> Iterator[tuple[Asked, list[Answered], float]]:
    """What is answered next, part by part, with the seconds that a part took."""
    for asked in benchmarks:
        for first, prompts in asked.left():
            sampling = Sampling(
                samples=config.samples,
                max_tokens=config.max_response_tokens,
                temperature=config.temperature,
                top_p=config.top_p,
                top_k=config.top_k,
                stop=config.stop,
                seed=derive(config.seed, f"evaluation {asked.name}"),
                first=first,
            )
            began = time.perf_counter()
            for part in ask(prompts, sampling):
                yield asked, part, time.perf_counter() - began
                began = time.perf_counter()


def _benchmarks(config: EvaluationConfig, tokenizer: Any) -> list[Asked]:
    benchmarks = []
    for index, benchmark in enumerate(config.benchmarks):
        items = load(benchmark.data)[: benchmark.limit]
        prompts = tokenize(items, tokenizer, _NO_LIMIT, f"benchmarks.{index}.data").kept
        shared = terms(benchmark.name, prompts, config, config.max_response_tokens, config.rollout.engine)
        benchmarks.append(Asked(benchmark.name, prompts, shared))
    return benchmarks


def _sampler(
    config: EvaluationConfig,
    benchmarks: Sequence[Asked],
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    sink: Sink,
) -> Engine:
    """This process's sampler of answers to any of the problems."""
    path, end_token = config.model.path, tokenizer.eos_token_id
    prompts = max(len(prompt.tokens) for asked in benchmarks for prompt in asked.prompts)
    longest, positions = prompts + config.max_response_tokens, positions_of(path)
    if config.rollout.engine == "vllm":
        from trainer.rollout.vllm.engine import VllmEngine  # most evaluations need none of it

        return VllmEngine(config, None, end_token, prompts, accelerator.device, positions)
    trunk = load_trunk(path).to(accelerator.device).eval()
    if positions is not None and longest > positions:
        message = (
            f"the longest prompt has {prompts} tokens and a response up to {config.max_response_tokens}, together more than the "
            f"{positions} positions that {path} was made for; what lies beyond them says little of the model"
        )
        sink.emit("alarm", step=0, severity="warning", name="context_exceeded", message=message)
    return BuiltinEngine(trunk, end_token, accelerator.autocast, tokenizer)


def _check_still_there(path: str) -> None:
    """Refuse a checkpoint that its run has removed while the evaluation waited.

    Raises:
        ModelError: the folder is gone.
    """
    if Path(path).is_absolute() and not Path(path).is_dir():
        raise ModelError(
            f"model.path: {path} is gone; a run keeps its newest checkpoints and the best one (checkpoint.keep): evaluate one of those"
        )


def _progress(asked: Asked, part: Sequence[Answered], seconds: float) -> dict[str, float]:
    """What is known after a part: the benchmark's average so far, and of the part its lengths and speed."""
    samples = [sample for one in part for sample in one.samples]
    tokens = sum(sample.tokens for sample in samples)
    return {
        metric(asked.name, asked.terms["samples"]): average(list(asked.outcomes.values())),
        "rollout/length_mean": tokens / len(samples),
        "rollout/truncated_fraction": sum(sample.truncated for sample in samples) / len(samples),
        "rollout/tokens_per_second": tokens / seconds,
        "time/step_seconds": seconds / len(part),
    }


def _check_written(path: Path, benchmarks: Sequence[Asked]) -> None:
    """Make sure that every answer stands in the event file, which loses lines on a full disk.

    Raises:
        TrainingError: some do not.
    """
    written = answered_before(path, [asked.terms for asked in benchmarks])
    missing = sum((asked.name, name) not in written for asked in benchmarks for name in asked.outcomes)
    if missing:
        raise TrainingError(
            f"{path}: {missing} answered problems could not be written; free disk space and resume, which answers those again"
        )
