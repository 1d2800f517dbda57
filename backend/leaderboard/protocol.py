"""What two trainings must have in common to stand on one board, and how boards that differ say in what.

A protocol is a flat mapping of settings. Training: base model, data, rollouts, rewards and steps. Evaluation: the benchmarks with the
content of their problems and their prompts, decoding, the grader's version, and whether the training evaluated itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from backend.leaderboard.board import FieldDifference
from db.reads import EvaluationRow, RunDetail
from db.statuses import Kind
from trainer.config import Benchmark, RunConfig
from trainer.config.continuing import shown
from trainer.evaluation.statistics import Outcomes

Protocol = Mapping[str, Any]

_TRAINING = {"model", "data", "rollout", "reward", "steps"}
_WITHOUT_MEANING = {"rollout.sequences_at_once", "rollout.vllm.cache_gib", "rollout.vllm.cuda_graphs"}
"""What memory allows, and changes nothing of what is sampled."""
_METHOD = {"regime", "algorithm", "mtp", "update", "optimizer"}
_TRAINED_ALIKE = {"algorithm", "update", "optimizer"}
_PROMPT = {"template", "chat", "system"}
_KEY_LENGTH = 8


@dataclass(frozen=True)
class Entry:
    """A training and one evaluation of what it ended with."""

    run: RunDetail
    config: RunConfig
    evaluator: RunDetail
    """The training itself, or a job of its own."""
    evaluations: Mapping[str, EvaluationRow]
    """By benchmark, in the order of their names."""

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What must be equal for two trainings to stand on one board."""
        first = next(iter(self.evaluations.values()))
        fields = {
            **_trained(self.config),
            "benchmarks": ", ".join(self.evaluations),
            "evaluation.by": BY_TRAINING if first.kind == Kind.TRAINING else BY_JOB,
            "evaluation.precision": self.evaluator.config["model"].get("mixed_precision", "no"),
            "evaluation.samples": first.samples,
            "evaluation.temperature": first.temperature,
            "evaluation.top_p": first.top_p,
            "evaluation.top_k": first.top_k,
            "evaluation.stop": first.stop,
            "evaluation.engine": first.engine,
            "evaluation.max_response_tokens": first.max_tokens or self.config.rollout.max_response_tokens,
            "evaluation.grader": ", ".join(sorted({row.grader or _UNSAID for row in self.evaluations.values()})),
        }
        prompts = prompts_of(self.evaluator)
        for name, row in self.evaluations.items():
            fields[f"{name}.revision"] = row.revision or f"{_UNSAID}, ids {_digest(sorted(row.items))}"
            fields |= {f"{name}.{key}": value for key, value in prompts.get(name, {}).items()}
        return fields

    @cached_property
    def method(self) -> dict[str, Any]:
        """What must be equal for two trainings to differ in their seed only."""
        return self.config.model_dump(mode="json", include=_METHOD)

    @cached_property
    def training(self) -> dict[str, Any]:
        """What a method must have in common with the detach that it is compared with."""
        return self.config.model_dump(mode="json", include=_TRAINED_ALIKE)

    @cached_property
    def outcomes(self) -> Outcomes:
        """By benchmark and problem: 0 or 1 per sample."""
        return {name: row.outcomes for name, row in self.evaluations.items()}


BY_TRAINING, BY_JOB = "by the training itself", "by a job of its own"
_UNSAID = "not recorded"


def prompts_of(evaluator: RunDetail) -> dict[str, dict[str, Any]]:
    """By benchmark: what the model saw around the problem, and `limit` where only the first problems were asked."""
    config = evaluator.config
    said = config["benchmarks"] if evaluator.kind == Kind.EVALUATION else config["evaluation"]["benchmarks"]
    found = {}
    for values in said:
        try:
            benchmark = Benchmark.model_validate(values)
        except ValidationError:
            continue  # of an older version, whose settings do not mean the same any more: its problems' revision still counts
        limit = {} if benchmark.limit is None else {"limit": benchmark.limit}
        found[benchmark.name] = benchmark.data.model_dump(mode="json", include=_PROMPT) | limit
    return found


def key_of(values: Any) -> str:
    """A short name of plain values, the same for equal ones."""
    return _digest(values)[:_KEY_LENGTH]


def _trained(config: RunConfig) -> dict[str, Any]:
    fields = flat(config.model_dump(mode="json", include=_TRAINING))
    return {name: value for name, value in fields.items() if name not in _WITHOUT_MEANING}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def variant(preset: str | None, regime: str, own: Mapping[str, Any], siblings: Sequence[Mapping[str, Any]]) -> str:
    """What tells a method from others of its regime and algorithm: its preset, where that says more than the regime, and the settings that differ."""
    differing = [key for key in own if any(other.get(key) != own[key] for other in siblings)]
    called = (preset or "").rpartition("/")[2]
    named = [called] if called not in ("", regime) else []
    return " ".join([*named, *(f"{key}={own[key]}" for key in differing)])


def differences(here: Protocol, there: Protocol) -> tuple[FieldDifference, ...]:
    """Every setting in which two protocols differ, in words; of a benchmark that one of them lacks only that it does."""
    both = here.keys() & there.keys() if here["benchmarks"] != there["benchmarks"] else here.keys() | there.keys()
    return tuple(
        FieldDifference(field, _said(here, field), _said(there, field))
        for field in dict.fromkeys([*here, *there])
        if field in both and (field not in here or field not in there or here[field] != there[field])
    )


def nearest(protocols: Sequence[Protocol]) -> Iterator[tuple[int, tuple[FieldDifference, ...]] | None]:
    """For each the place of the one before it that differs least, and in what; None for the first."""
    for place, here in enumerate(protocols):
        before = [(index, differences(here, there)) for index, there in enumerate(protocols[:place])]
        yield min(before, key=lambda found: (len(found[1]), -found[0])) if before else None


def _said(protocol: Protocol, field: str) -> str:
    return shown(protocol[field]) if field in protocol else "–"


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
