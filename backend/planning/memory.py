"""How much memory a run needs on each of its devices, from the sizes of its model and its batches.

With P trunk and D head parameters, of which the heads learn unless they are left as loaded (and in regime warm they alone), everything
lies in float32:

    parameters 4 (P + D)    optimiser 8 per learning parameter    gradients 4 per learning parameter

Update of a micro-batch of n sequences of S = prompt + response tokens, R of them responses, in numbers of 4 bytes:

    activations   n S (L a + 3 H)   a = 6 H + 4 I + 4 Q + 4 W per layer: what backward needs of one layer with norms of queries and keys
    MTP heads     n S K f (a + 9 H)   f forward passes of the heads: none (off), 1, or 2 (mtp.head_loss ce)
    log-probs     n R V (1 + K f), where that fits a chunk of 2^26; else none is kept. And 4 chunks while one is worked on

In regime warm nothing is kept of the trunk's layers, nor of the main head's log-probs.

On a processor half as much again as a pass needs: gradients come to lie among a pass's activations, and the C library's allocator does not give
back what is free between them. (It does with MALLOC_MMAP_THRESHOLD_=1048576 in the environment, at up to a quarter more time: docs/results/memory.md.)

L layers, H hidden, I inner width (of the experts that a token meets), Q = query heads x head size, W = key-value heads x head size, V
vocabulary, K depths. Under bf16 a = 8 H + 2.4 I + 3 Q + 3 W, and copies of the matrices lie beside them.

With model.gradient_checkpointing a layer keeps only its input, H numbers a token, and a depth 4 H; one block at a time has all of a. With
update.micro_batch_tokens a micro-batch has at most so many tokens, of which all may be responses.

With launch.sharding full a process has 1/N of parameters, optimiser and gradients. In a pass embeddings and lm_head are whole, with their gradient
and its copy on the way to the others, and two blocks with theirs. To sample, the whole model is put together beside them.

Rollout of B sequences: the key-value cache B S L 2 W and another layer of it while it grows; B V x 24 bytes to draw a token (twice that under
top-p), B R x 28 bytes of responses and random numbers, and the prompts' first pass. Evaluation samples at most 1,024 responses at once.
With drafts (rollout.speculative) B S H hidden states are kept, twice while they grow; with all tokens drafted (on) also the depths' keys and values, K
B S 2 W, their first pass over the prompts, and 2 K times the numbers to draw a token.

The peak is the larger of both, with parameters and optimiser. It tends to be too high for short responses, because batches are padded to their longest sequence
and that is seldom S; `python -m benchmarks.memory` measures how near it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.inspection.models import ModelFacts, Shape
from trainer.config import Occ, Oracle, RunConfig

PROGRAM = 430 * 2**20
"""Bytes of the program itself on a processor: Python, torch and what it imports."""
PROGRAM_ON_GPU = 600 * 2**20
"""Bytes of a CUDA context and the libraries' workspaces."""

_FLOAT = 4
_CHUNK = 2**26
"""As trainer.models.log_probs.MOST_LOGITS."""
_EVALUATED_AT_ONCE = 1024
"""As trainer.loop.EVALUATED_AT_ONCE."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on each device of a run."""

    fixed: Mapping[str, int]
    """What is there all the time: parameters, optimiser, the program."""
    update: Mapping[str, int]
    """What an update adds."""
    rollout: Mapping[str, int]
    """What sampling adds, in training or evaluation, whichever is more."""

    @property
    def peak(self) -> int:
        """The most at any time."""
        return sum(self.fixed.values()) + max(sum(self.update.values()), sum(self.rollout.values()))

    @property
    def at_peak(self) -> dict[str, int]:
        """What is there then, the largest part first."""
        then = max((self.update, self.rollout), key=lambda parts: sum(parts.values()))
        return dict(sorted({**self.fixed, **then}.items(), key=lambda item: -item[1]))

    @property
    def in_update(self) -> bool:
        """Whether the update, and not sampling, needs the most."""
        return sum(self.update.values()) >= sum(self.rollout.values())


def estimate(config: RunConfig, model: ModelFacts, *, on_gpu: bool, program: int | None = None) -> Memory | None:
    """The memory of one process of a run; None where the model's sizes are not known.

    Args:
        config: the run.
        model: what is known of its model.
        on_gpu: whether it trains on one.
        program: bytes of the program itself, where they were measured.
    """
    shape, trunk = model.shape, model.trunk_parameters
    if shape is None or trunk is None:
        return None
    heads = config.model.mtp_depths * shape.depth
    learning = _learning(config, trunk, heads)
    own = (PROGRAM_ON_GPU if on_gpu else PROGRAM) if program is None else program
    parts = _parts(config)
    fixed = {
        "parameters": _FLOAT * (trunk + heads) // parts,
        "optimiser": 2 * _FLOAT * learning // parts,
        "the program itself": own,
    }
    passes = _update(config, shape)
    update = {"gradients": _FLOAT * learning // parts, **passes, **_exact(config, trunk // parts)}
    if not on_gpu:
        update["held by the allocator"] = sum(passes.values()) // 2
    sampler = config.rollout.engine
    rollout = _vllm(config, trunk + heads, on_gpu=on_gpu) if sampler == "vllm" else _rollout(config, shape)
    if sampler == "vllm" and not on_gpu:  # where it cannot sleep
        fixed, rollout = {**fixed, **rollout}, {}
    if parts > 1:
        update["parameters put together"] = _FLOAT * (3 * shape.around + 4 * max(shape.block, shape.depth))
        rollout["the whole model"] = _FLOAT * (trunk + heads)
    return Memory(fixed, update, rollout)


def checkpoint_bytes(config: RunConfig, model: ModelFacts) -> int | None:
    """The size of one checkpoint: parameters, and the optimiser's two moments; None where the model's sizes are not known."""
    if model.shape is None or model.trunk_parameters is None:
        return None
    heads = config.model.mtp_depths * model.shape.depth
    learning = _learning(config, model.trunk_parameters, heads)
    return _FLOAT * (model.trunk_parameters + heads) + 2 * _FLOAT * learning


def sequences_per_pass(config: RunConfig) -> int:
    """Sequences of one forward pass of the update in one process."""
    whole = config.rollout.prompts_per_step * config.rollout.samples_per_prompt // config.update.mini_batches
    share = -(-whole // config.launch.num_processes)
    return min(config.update.micro_batch_sequences or share, share)


def tokens_per_pass(config: RunConfig) -> int:
    """Tokens of one forward pass of the update in one process, padding included, at most."""
    whole = sequences_per_pass(config) * (config.rollout.max_prompt_tokens + config.rollout.max_response_tokens)
    return min(config.update.micro_batch_tokens or whole, whole)


def responses_per_pass(config: RunConfig) -> int:
    """Of these, tokens of responses, at most."""
    return min(tokens_per_pass(config), sequences_per_pass(config) * config.rollout.max_response_tokens)


def what_to_lower(config: RunConfig, model: ModelFacts, limit: int, *, on_gpu: bool) -> str:
    """Which setting brings the peak of a run whose model's sizes are known below `limit` bytes, or how far none does."""

    def needs(changed: RunConfig) -> Memory:
        found = estimate(changed, model, on_gpu=on_gpu)
        assert found is not None
        return found

    now = needs(config)
    cache = now.fixed.get(_CACHE, 0)
    if cache and (said := _smaller_cache(limit - now.peak + cache)):
        return said
    if sum(now.fixed.values()) - cache + now.update["gradients"] >= limit:
        return f"parameters, optimiser and gradients alone are more; {_divided(config, limit, needs)}"
    if not now.in_update:
        return _fewer_at_once(config, limit, now, needs)
    recomputed = _with(config, "model", gradient_checkpointing=True)
    for changed in [config] if config.model.gradient_checkpointing else [config, recomputed]:
        also = "" if changed is config else " with model.gradient_checkpointing"
        if said := _smaller_passes(changed, lambda tried: needs(tried).peak <= limit):
            return f"set {said}{also}; the update does not depend on it"
    return f"one sequence at a time is too much, also with model.gradient_checkpointing; lower rollout.max_response_tokens, or {_divided(config, limit, needs)}"


def _fewer_at_once(config: RunConfig, limit: int, now: Memory, needs: Callable[[RunConfig], Memory]) -> str:
    if _CACHE in now.rollout:
        return (
            _smaller_cache(limit - now.peak + now.rollout[_CACHE])
            or "vLLM's copy of the parameters is too much beside those that train; set rollout.engine to builtin"
        )
    whole = config.rollout.prompts_per_step * config.rollout.samples_per_prompt
    most = config.rollout.sequences_at_once or -(-whole // config.launch.num_processes)

    def samples(count: int) -> int:
        return sum(needs(_with(config, "rollout", sequences_at_once=count)).rollout.values())

    left = limit - sum(now.fixed.values())
    fitting = bisect_left(range(1, most + 1), True, key=lambda count: samples(count) > left)
    if now.rollout.get("the whole model", 0) > left:
        return "sampling puts the whole model on every device, and that alone is too much; use a smaller model, or devices with more memory"
    if not fitting:
        return "one response at a time is too much to sample; lower rollout.max_response_tokens or rollout.max_prompt_tokens"
    return f"set rollout.sequences_at_once to {fitting} or less; the responses do not depend on it"


def _smaller_cache(room: int) -> str | None:
    """What vLLM's cache may be; None where there is no room for one of 1 GiB."""
    return f"set rollout.vllm.cache_gib to {room // 2**30} or less" if room >= 2**30 else None


def _smaller_passes(config: RunConfig, fits: Callable[[RunConfig], bool]) -> str | None:
    """The largest micro-batches that fit; None where none do."""
    if config.update.micro_batch_tokens is not None:
        longest, now = config.rollout.max_prompt_tokens + config.rollout.max_response_tokens, tokens_per_pass(config)
        tokens = [longest, *range(-(-longest // 1024) * 1024, now + 1, 1024)]
        most = max((n for n in tokens if fits(_with(config, "update", micro_batch_tokens=n))), default=None)
        return None if most is None else f"update.micro_batch_tokens to {most} or less (now {now} at once)"
    now = sequences_per_pass(config)
    sequences = range(1, now + 1)
    # More sequences never need less.
    fitting = bisect_left(sequences, True, key=lambda n: not fits(_with(config, "update", micro_batch_sequences=n)))
    return f"update.micro_batch_sequences to {fitting} or less (now {now} at once)" if fitting else None


def _divided(config: RunConfig, limit: int, needs: Callable[[RunConfig], Memory]) -> str:
    for processes in (2, 4, 8, 16, 32, 64):
        if processes <= config.launch.num_processes and config.launch.sharding == "full":
            continue
        sharded = needs(_with(config, "launch", sharding="full", num_processes=processes))
        if sum(sharded.fixed.values()) + sharded.update["gradients"] < limit:
            return f"divide them (launch.sharding full, launch.num_processes {processes} or more), use a smaller model, or a device with more memory"
    return "use a smaller model, or a device with more memory"


def _with(config: RunConfig, section: str, **values: Any) -> RunConfig:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def _parts(config: RunConfig) -> int:
    return config.launch.num_processes if config.launch.sharding == "full" else 1


def _learning(config: RunConfig, trunk: int, heads: int) -> int:
    """Parameters that learn."""
    return trunk * config.trains_trunk + heads * config.trains_heads


def _passes(config: RunConfig) -> int:
    """Forward passes of the heads in an update, as trainer.update.losses.reaches."""
    if config.regime.kind == "off":
        return 0
    return 2 if config.mtp.head_loss == "ce" and config.regime.kind != "detach" else 1


def _layer(shape: Shape, *, bf16: bool) -> float:
    """Numbers of 4 bytes that the backward pass needs of one layer and token."""
    queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    inner = shape.inner * shape.active_experts
    if bf16:
        return 8 * shape.hidden + 2.4 * inner + 3 * (queries + keys)
    return 6 * shape.hidden + 4 * inner + 4 * (queries + keys)


def _update(config: RunConfig, shape: Shape) -> dict[str, int]:
    bf16 = config.model.mixed_precision == "bf16"
    tokens, responses = tokens_per_pass(config), responses_per_pass(config)
    layer, depths = _layer(shape, bf16=bf16), config.model.mtp_depths * _passes(config)
    logits = responses * shape.vocabulary
    is_frozen = config.regime.kind == "warm"
    kept = logits * (depths if is_frozen else 1 + depths) if logits <= _CHUNK else 0
    recomputes = config.model.gradient_checkpointing
    of_block, of_depth = (shape.hidden, 4 * shape.hidden) if recomputes else (layer, layer + 9 * shape.hidden)
    parts = {
        "activations": tokens * ((layer if is_frozen else shape.layers * of_block) + 3 * shape.hidden),
        "activations of the MTP heads": tokens * depths * of_depth,
        "logits": kept + 4 * min(logits, max(_CHUNK, shape.vocabulary)),
    }
    if recomputes:
        parts["a block that runs again"] = tokens * (layer + 9 * shape.hidden)
    if bf16:
        blocks = 1 if recomputes else shape.layers
        depths_at_once = 0 if recomputes else config.model.mtp_depths
        parts["copies in bfloat16"] = (blocks * shape.block + depths_at_once * shape.depth) / 2
    return {name: int(_FLOAT * numbers) for name, numbers in parts.items()}


def _exact(config: RunConfig, trunk: int) -> dict[str, int]:
    """Gradients as flat vectors: one per loss, in an audit for each half; and one more that is being made from the parameters' own.

    An audit also keeps parameters and optimiser state, to put them back.
    """
    parts = {}
    regime, depths = config.regime, config.model.mtp_depths
    if isinstance(regime, Oracle):  # the first of them is the update's own
        parts["exact gradients"] = _FLOAT * trunk * (2 + depths)
    if isinstance(regime, Occ) and regime.exact_every is not None:
        parts["exact gradients"] = _FLOAT * trunk * (3 + depths)
    if config.audit.every:
        parts["audit"] = _FLOAT * trunk * (2 * (1 + 2 * depths) + 2 + 3)
    return parts


_CACHE = "vLLM's key-value cache"


def _vllm(config: RunConfig, parameters: int, *, on_gpu: bool) -> dict[str, int]:
    """vLLM has all parameters once more, those of the heads where it drafts; that it has them always is near enough."""
    size = 2 if on_gpu and config.model.mixed_precision == "bf16" else _FLOAT
    return {"vLLM's parameters": size * parameters, _CACHE: int(config.rollout.vllm.cache_gib * 2**30)}


def _rollout(config: RunConfig, shape: Shape) -> dict[str, int]:
    rollout = config.rollout
    prompts = -(-rollout.prompts_per_step // config.launch.num_processes)
    sampled = _sampling(config, shape, prompts, rollout.samples_per_prompt, 1.0)
    if not config.evaluation.benchmarks:
        return sampled
    samples = config.evaluation.samples
    at_once = max(1, _EVALUATED_AT_ONCE // samples)
    limits = [benchmark.limit or at_once for benchmark in config.evaluation.benchmarks]
    prompts = -(-min(at_once, max(limits)) // config.launch.num_processes)
    evaluated = _sampling(config, shape, prompts, samples, config.evaluation.top_p)
    return max(sampled, evaluated, key=lambda parts: sum(parts.values()))


def _sampling(config: RunConfig, shape: Shape, prompts: int, samples: int, top_p: float) -> dict[str, int]:
    prompt, response = config.rollout.max_prompt_tokens, config.rollout.max_response_tokens
    count = min(prompts * samples, config.rollout.sequences_at_once or prompts * samples)
    prompts = -(-count // samples)
    per_layer = count * (prompt + response) * 2 * shape.kv_heads * shape.head_size
    drawing = count * shape.vocabulary * (48 if top_p < 1 else 24)
    inner = shape.inner * shape.active_experts
    parts = {
        "key-value cache": _FLOAT * per_layer * (shape.layers + 1),
        "drawing tokens": drawing + 28 * count * response,
        "the prompts' first pass": _FLOAT * prompts * prompt * (4 * inner + 8 * shape.hidden),
    }
    depths = config.model.mtp_depths
    if config.rollout.speculative != "off":
        parts["hidden states to draft from"] = _FLOAT * 2 * count * (prompt + response) * shape.hidden
    if config.rollout.speculative == "on":
        first_pass = count * prompt * (4 * inner + 10 * shape.hidden)
        parts["drafts"] = _FLOAT * (depths * per_layer + first_pass) + 2 * depths * drawing
    return parts
