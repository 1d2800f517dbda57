"""Combinations of values that cannot mean what they say, each refused in words with the fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from trainer.errors import Problem

if TYPE_CHECKING:
    from trainer.config.schema import Benchmark, Launch, RunConfig, Sampler

NAME = r"^[\w .+-]{0,80}$"
"""What the name of a run may be; empty where it is to be named by what it does."""
NO_NAME = "is no name; use up to 80 letters, digits, spaces and the signs . _ + -"
LONGEST_EXPERIMENT = 120

_NAME: TypeAdapter[str] = TypeAdapter(Annotated[str, Field(pattern=NAME)])
_EXPERIMENT: TypeAdapter[str] = TypeAdapter(Annotated[str, Field(pattern=rf"^[\w .+/-]{{1,{LONGEST_EXPERIMENT}}}$")])

NOT_FOR_VLLM = {
    "dtype": "is no setting here: vLLM computes as training does; set model.mixed_precision",
    "enforce_eager": "is no setting here; set rollout.vllm.cuda_graphs to false",
    "gpu_memory_utilization": "is no setting here, because training shares the device; set rollout.vllm.cache_gib",
    "max_model_len": "is no setting here: it follows from the longest prompt and rollout.max_response_tokens",
    "num_speculative_tokens": "is no setting here; set rollout.vllm.draft_tokens",
    "rejection_sample_method": "is no setting here: drafts are always judged by exact rejection sampling, because lossy methods (fly, "
    "synthetic) would train on what the policy did not say; leave it out",
    "tensor_parallel_size": "is no setting here: every process of launch.num_processes has a vLLM of its own; leave it out",
}
"""Names that vLLM gives to what is set elsewhere, or not at all, and what to do instead."""


def problems(config: RunConfig) -> list[Problem]:
    """Every refused combination; empty where all is well."""
    return [
        *name_problems(config.name),
        *_batch_problems(config),
        *_micro_batch_problems(config),
        *_regime_problems(config),
        *_warm_problems(config),
        *_engine_problems(config),
        *_reward_problems(config),
        *benchmark_problems("evaluation.benchmarks", config.evaluation.benchmarks),
        *_audit_problems(config),
        *_launch_problems(config),
    ]


def text_problems(values: Any, path: str = "") -> Iterator[Problem]:
    """Texts, and names of settings, that no file, process or database takes: those with a NUL or half a character in them."""
    if isinstance(values, str):
        reason = _unusable(values)
        if reason:
            yield Problem(path, f"{ascii(values)[:80]} {reason}")
    elif isinstance(values, Mapping):
        for key, value in values.items():
            reason = _unusable(key) if isinstance(key, str) else None
            if reason:
                yield Problem(path, f"the name {ascii(key)[:80]} {reason}")
            else:
                yield from text_problems(value, f"{path}.{key}".removeprefix("."))
    elif isinstance(values, list | tuple):
        for index, value in enumerate(values):
            yield from text_problems(value, f"{path}.{index}")


def _unusable(text: str) -> str | None:
    if "\0" in text:
        return "has a NUL character in it; remove it"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode; write whole characters"
    return None


def name_problems(name: str) -> list[Problem]:
    """What is wrong with the name of a run."""
    if name.isspace():
        return [Problem("name", "holds nothing but spaces; give a name, or leave it empty")]
    return [] if _fits(_NAME, name) else [Problem("name", f"{name[:90]!r} {NO_NAME}")]


def experiment_problems(name: str) -> list[Problem]:
    """What is wrong with the name of an experiment: that of a run, or several with / between them."""
    if not name.strip():
        return [Problem("experiment", "is empty; give the experiment a name, such as default")]
    if reason := _unusable(name):
        return [Problem("experiment", f"{ascii(name)[:80]} {reason}")]
    if _fits(_EXPERIMENT, name):
        return []
    signs = f"1 to {LONGEST_EXPERIMENT} letters, digits, spaces and the signs . _ + - /"
    return [Problem("experiment", f"{name[:130]!r} is no name of an experiment; use {signs}")]


def _fits(rule: TypeAdapter[str], name: str) -> bool:
    try:
        rule.validate_python(name)
    except ValidationError:
        return False
    return True


def _batch_problems(config: RunConfig) -> list[Problem]:
    prompts, mini_batches = config.rollout.prompts_per_step, config.update.mini_batches
    if prompts % mini_batches:
        fits = [n for n in range(1, prompts + 1) if prompts % n == 0]
        return [
            Problem(
                "update.mini_batches",
                f"{mini_batches} does not divide the {prompts} prompts of a step; use one of {fits}",
            )
        ]
    return []


def _micro_batch_problems(config: RunConfig) -> list[Problem]:
    update, rollout = config.update, config.rollout
    if update.micro_batch_tokens is None:
        return []
    if update.micro_batch_sequences is not None:
        message = f"{update.micro_batch_tokens} tokens and micro_batch_sequences {update.micro_batch_sequences} both say how much goes through the model at once; leave one of the two out"
        return [Problem("update.micro_batch_tokens", message)]
    longest = rollout.max_prompt_tokens + rollout.max_response_tokens
    if update.micro_batch_tokens < longest:
        message = (
            f"{update.micro_batch_tokens} is too little for the longest sequence: rollout.max_prompt_tokens and max_response_tokens "
            f"are {longest} together; set it to {longest} or more, or lower one of them"
        )
        return [Problem("update.micro_batch_tokens", message)]
    return []


_FOR_A_POLICY = {
    "audit.every": "there is no policy gradient to compare with; leave it at 0",
    "evaluation.afterwards": "answers stay those of the model that it begins with; leave it out, and evaluate that",
    "evaluation.benchmarks": "answers stay those of the model that it begins with; leave them out, and evaluate that",
    "rollout.dynamic_sampling_rounds": "rewards teach nothing and every response is of use; leave it at 0",
}
"""What has no sense where only the heads learn."""


def _warm_problems(config: RunConfig) -> list[Problem]:
    if config.regime.kind != "warm":
        return []
    problems = []
    for field, reason in _FOR_A_POLICY.items():
        section, name = field.split(".")
        if value := getattr(getattr(config, section), name):
            shown = f"{value} is" if isinstance(value, int) else "is"
            problems.append(Problem(field, f"{shown} refused with regime warm: {reason}"))
    if config.mtp.head_loss != "regime":
        message = f"{config.mtp.head_loss} has no effect with regime warm; set regime.loss, and leave this at regime"
        problems.append(Problem("mtp.head_loss", message))
    if config.mtp.head_loss_scale != 1.0:
        message = f"{config.mtp.head_loss_scale} has no effect with regime warm, which has one loss; set optimizer.lr, and leave this at 1"
        problems.append(Problem("mtp.head_loss_scale", message))
    return problems


def _regime_problems(config: RunConfig) -> list[Problem]:
    problems = []
    kind, head_loss = config.regime.kind, config.mtp.head_loss
    by_log_probs = kind == "occ" and getattr(config.regime, "exact_every", None) is None
    if by_log_probs and config.updates_per_step == 1:
        problems.append(
            Problem(
                "update.mini_batches",
                "1 mini-batch per rollout leaves nothing for occ to measure: log-probs equal the old ones and the coefficient stays 0; "
                "use 2 or more mini-batches (the paper uses 4), or another regime",
            )
        )
    if kind == "off" and head_loss != "regime":
        fix = "use regime detach" if head_loss == "ce" else "leave mtp.head_loss at regime"
        problems.append(
            Problem("mtp.head_loss", f"{head_loss} has no effect with regime off, which trains no heads; {fix}")
        )
    if kind == "detach" and head_loss == "none":
        problems.append(Problem("mtp.head_loss", "none with regime detach trains no heads; use regime off"))
    if config.mtp.head_loss_scale != 1.0 and kind not in ("detach", "warm") and head_loss != "ce":
        problems.append(
            Problem(
                "mtp.head_loss_scale",
                f"{config.mtp.head_loss_scale} has no effect here; set mtp.head_loss to ce, or leave it at 1",
            )
        )
    return problems


def _engine_problems(config: RunConfig) -> list[Problem]:
    rollout = config.rollout
    problems = sampler_problems(rollout)
    if rollout.engine != "vllm":
        return problems
    if rollout.speculative != "off":
        message = (
            f"{rollout.speculative} is for the built-in sampler; with rollout.engine vllm set rollout.vllm.draft_tokens"
        )
        problems.append(Problem("rollout.speculative", message))
    problems += stop_problems("rollout.stop", rollout.stop, rollout)
    problems += stop_problems("evaluation.stop", config.evaluation.stop, rollout)
    if config.launch.sharding != "none":
        message = f"{config.launch.sharding} does not go with rollout.engine vllm yet; set one to none, or the other to builtin"
        problems.append(Problem("launch.sharding", message))
    return problems


def sampler_problems(sampler: Sampler) -> list[Problem]:
    """Settings of vLLM that would have no effect."""
    if sampler.engine != "vllm":
        given = sampler.vllm.model_dump(exclude_defaults=True)
        return [
            Problem(
                f"rollout.vllm.{name}",
                f"{value} has no effect with rollout.engine {sampler.engine}; set that to vllm, or leave this out",
            )
            for name, value in given.items()
        ]
    if sampler.vllm.draft_sampling != "greedy" and not sampler.vllm.draft_tokens:
        message = f"{sampler.vllm.draft_sampling} has no effect while rollout.vllm.draft_tokens is 0; set that to 1, or leave this out"
        return [Problem("rollout.vllm.draft_sampling", message)]
    return []


def stop_problems(field: str, stop: Sequence[str], sampler: Sampler) -> list[Problem]:
    """What is wrong with the texts that end a response and stand in this field."""
    if not stop or sampler.engine != "vllm":
        return []
    message = "stop strings do not go with rollout.engine vllm yet; leave them out, or set that to builtin"
    return [Problem(field, message)]


def _reward_problems(config: RunConfig) -> list[Problem]:
    problems = []
    reward, limit = config.reward, config.rollout.max_response_tokens
    if reward.correct <= reward.incorrect:
        problems.append(
            Problem(
                "reward.correct",
                f"{reward.correct} is not above reward.incorrect ({reward.incorrect}); a right answer must pay more",
            )
        )
    if reward.overlong_factor != 1.0 and reward.overlong_buffer == 0:
        message = f"{reward.overlong_factor:g} has no effect while reward.overlong_buffer is 0; set the buffer, or leave this at 1"
        problems.append(Problem("reward.overlong_factor", message))
    if reward.overlong_buffer >= limit:
        problems.append(
            Problem(
                "reward.overlong_buffer",
                f"{reward.overlong_buffer} must be below rollout.max_response_tokens ({limit})",
            )
        )
    return problems


def benchmark_problems(field: str, benchmarks: Sequence[Benchmark]) -> list[Problem]:
    """What is wrong with the benchmarks that stand in this field."""
    names = Counter(benchmark.name for benchmark in benchmarks)
    return [
        Problem(
            field,
            f"{count} benchmarks are called {name!r}, so their results could not be told apart; rename all but one",
        )
        for name, count in names.items()
        if count > 1
    ]


def _audit_problems(config: RunConfig) -> list[Problem]:
    prompts = config.rollout.prompts_per_step // config.update.mini_batches
    if config.audit.every and prompts < 2:
        return [
            Problem(
                "audit.every",
                "a mini-batch of 1 prompt has no two halves to compare; lower update.mini_batches or leave the audit out",
            )
        ]
    return []


def sharding_problems(launch: Launch) -> list[Problem]:
    """What is wrong with how the parameters are divided."""
    if launch.sharding == "full" and launch.num_processes == 1:
        message = "full with 1 process divides nothing; set launch.num_processes to 2 or more, or leave this at none"
        return [Problem("launch.sharding", message)]
    return []


def _launch_problems(config: RunConfig) -> list[Problem]:
    if sharding := sharding_problems(config.launch):
        return sharding
    processes = config.launch.num_processes
    sequences = config.rollout.prompts_per_step // config.update.mini_batches * config.rollout.samples_per_prompt
    if 0 < sequences < processes:
        return [
            Problem(
                "launch.num_processes",
                f"{processes} is more than the {sequences} sequences of a mini-batch, so that some would have nothing to do; use at most "
                f"{sequences}",
            )
        ]
    return []
