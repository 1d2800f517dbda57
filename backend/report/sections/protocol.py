"""How the runs were trained and evaluated: what all of them share, or every value where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from backend import words
from backend.leaderboard.protocol import flat
from backend.report.document import Block, Section, Table, Text
from backend.report.gathered import Gathered
from backend.report.methods import settings_of
from backend.report.origins import content
from db.reads import EvaluationRow
from db.statuses import Kind

_TRAINING = {
    "model.path": "base model",
    "model.mtp_depths": "MTP depths",
    "model.mixed_precision": "mixed precision",
    "steps": "steps",
    "rollout.prompts_per_step": "prompts per step",
    "rollout.samples_per_prompt": "responses per prompt",
    "rollout.temperature": "sampling temperature in training",
    "rollout.max_prompt_tokens": "longest prompt, tokens",
    "rollout.max_response_tokens": "longest response in training, tokens",
    "rollout.dynamic_sampling_rounds": "rounds of dynamic sampling",
    "update.mini_batches": "mini-batches per step",
    "update.epochs": "passes over a step's rollouts",
    "optimizer.lr": "learning rate",
    "reward.correct": "reward of a right answer",
    "reward.incorrect": "reward of a wrong answer",
}
_UNSAID = "not recorded"


def section(found: Gathered) -> Section:
    """Model, data, budget, decoding and benchmarks."""
    if not found.runs:
        return Section("Protocol", [Text("No run trains, so there is no protocol.")])
    configs = [flat(settings_of(run)) for run in found.runs]
    rows = [(said, _values(config.get(name) for config in configs)) for name, said in _TRAINING.items()]
    data = list(_data(found))
    blocks: list[Block] = [
        Table("Training", ("setting", "value"), [rows[0], *data, *rows[1:]], words=2),
        Text("Where several values stand, the runs differ; which run has which is told under Configurations."),
    ]
    return Section("Protocol", [*blocks, *_benchmarks(found.evaluations)])


def _data(found: Gathered) -> Iterator[tuple[str, str]]:
    """What the problems came from, with the hash of what is a file."""
    sections = {repr(data): data for run in found.runs if (data := settings_of(run).get("data"))}
    began = min((run.started_at for run in found.runs if run.started_at), default=found.at)
    for data in sections.values():
        yield "training data", _source(data)
        if data.get("kind") != "jsonl":
            yield "training data, content", "no hash: it is not one local file"
            continue
        file = content(str(data["path"]))
        if file is None:
            yield (
                "training data, content",
                "no hash: the file is not there any more, or too large to be read for a report",
            )
            continue
        changed = (
            f"; changed {words.date(file.changed_at)}, after the first run began" if file.changed_at > began else ""
        )
        yield "training data, content", f"SHA-256 {file.sha256} of the file as it is now ({file.size:,} bytes{changed})"


def _source(data: Mapping[str, Any]) -> str:
    said = {
        key: value
        for key, value in data.items()
        if key not in ("kind", "columns") and value is not False and value not in ("", None, {})
    }
    if said.get("template") == "{problem}":
        del said["template"]
    return f"{data.get('kind')}: {', '.join(f'{key} {value}' for key, value in said.items())}"


def _benchmarks(rows: Sequence[EvaluationRow]) -> Iterator[Block]:
    if not rows:
        yield Text("No run has been evaluated on held-out problems.")
        return
    protocols: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        key = (
            row.benchmark,
            "the training itself" if row.kind == Kind.TRAINING else "a job of its own",
            f"{len(row.items):,}",
            str(row.samples),
            words.ENGINES.get(row.engine, row.engine),
            f"{row.temperature:g}",
            _drawn(row),
            _UNSAID if row.max_tokens is None else f"{row.max_tokens:,}",
            row.revision or _UNSAID,
            row.grader or _UNSAID,
        )
        protocols.setdefault(key, []).append(row.run_id)
    head = (
        "benchmark",
        "evaluated by",
        "revision",
        "grader",
        "problems",
        "samples",
        "sampled by",
        "temperature",
        "drawn from",
        "longest",
        "runs",
    )
    cells = [
        [key[0], key[1], key[8], key[9], *key[2:8], words.listed_briefly(sorted(set(runs)))]
        for key, runs in protocols.items()
    ]
    yield Table("Evaluation", head, cells, words=4)
    yield Text(
        "Revision: hash of the problems' content. Grader: version of the program that decides which answer is right."
    )


def _drawn(row: EvaluationRow) -> str:
    """What a token was drawn from, and what ended an answer."""
    top_k = f", top-k {row.top_k}" if row.top_k else ""
    return f"top-p {row.top_p:g}{top_k}" + (f", ending at {', '.join(map(repr, row.stop))}" if row.stop else "")


def _values(values: Iterable[Any]) -> str:
    said = dict.fromkeys("not set" if value is None else str(value) for value in values)
    return " / ".join(said)
