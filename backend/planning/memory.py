"""How much memory a run needs on each of its devices, from the sizes of its model and its batches.

With P trunk and D head parameters, of which the heads learn unless they are left as loaded, everything lies in float32:

    parameters 4 (P + D)    optimiser 8 per learning parameter    gradients 4 per learning parameter

Update of a micro-batch of n sequences of S = prompt + response tokens, R of them responses, in numbers of 4 bytes:

    activations   n S (L a + 3 H)   a = 6 H + 4 I + 4 Q + 4 W per layer: what backward needs of one layer with norms of queries and keys
    MTP heads     n S K f (a + 9 H)   f forward passes of the heads: none (off), 1, or 2 (mtp.head_loss ce)
    log-probs     n R V (1 + K f), where that fits a chunk of 2^26; else none is kept. And 4 chunks while one is worked on

L layers, H hidden, I inner width (of the experts that a token meets), Q = query heads x head size, W = key-value heads x head size, V
vocabulary, K depths. Under bf16 a = 8 H + 2.4 I + 3 Q + 3 W, and copies of the matrices lie beside them.

Rollout of B sequences: the key-value cache B S L 2 W and another layer of it while it grows; B V x 24 bytes to draw a token (twice that under
top-p), B R x 28 bytes of responses and random numbers, and the prompts' first pass. Evaluation samples at most 1,024 responses at once.

The peak is the larger of both, with parameters and optimiser. It is an upper bound, because batches are padded to their longest sequence
and that is seldom S; `python -m benchmarks.memory` measures how near it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    learning = trunk + (heads if _trains_heads(config) else 0)
    own = (PROGRAM_ON_GPU if on_gpu else PROGRAM) if program is None else program
    fixed = {"parameters": _FLOAT * (trunk + heads), "optimiser": 2 * _FLOAT * learning, "the program itself": own}
    update = {"gradients": _FLOAT * learning, **_update(config, shape), **_exact(config, trunk)}
    return Memory(fixed, update, _rollout(config, shape))


def checkpoint_bytes(config: RunConfig, model: ModelFacts) -> int | None:
    """The size of one checkpoint: parameters, and the optimiser's two moments; None where the model's sizes are not known."""
    if model.shape is None or model.trunk_parameters is None:
        return None
    heads = config.model.mtp_depths * model.shape.depth
    learning = model.trunk_parameters + (heads if _trains_heads(config) else 0)
    return _FLOAT * (model.trunk_parameters + heads) + 2 * _FLOAT * learning


def sequences_per_pass(config: RunConfig) -> int:
    """Sequences of one forward pass of the update in one process."""
    whole = config.rollout.prompts_per_step * config.rollout.samples_per_prompt // config.update.mini_batches
    share = -(-whole // config.launch.num_processes)
    return min(config.update.micro_batch_sequences or share, share)


def what_to_lower(config: RunConfig, memory: Memory, limit: int) -> str:
    """Which setting brings the peak below `limit` bytes, or how far none does."""
    fixed = sum(memory.fixed.values())
    if fixed + memory.update["gradients"] >= limit:
        return "parameters, optimiser and gradients alone are more; use a smaller model, or a device with more memory"
    if not memory.in_update:
        return "lower rollout.prompts_per_step, rollout.samples_per_prompt or rollout.max_response_tokens"
    fits, now = limit - fixed - memory.update["gradients"], sequences_per_pass(config)
    per_sequence = (sum(memory.update.values()) - memory.update["gradients"]) / now
    lower = int(fits / per_sequence)
    if lower < 1 or now == 1:
        return "lower rollout.max_response_tokens: one sequence at a time is too much"
    return f"set update.micro_batch_sequences to {lower} or less (now {now} at once); the update does not depend on it"


def _trains_heads(config: RunConfig) -> bool:
    return config.regime.kind != "off" and config.mtp.head_loss != "none"


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
    count, response = sequences_per_pass(config), config.rollout.max_response_tokens
    tokens = count * (config.rollout.max_prompt_tokens + response)
    layer, depths = _layer(shape, bf16=bf16), config.model.mtp_depths * _passes(config)
    logits = count * response * shape.vocabulary
    kept = logits * (1 + depths) if logits <= _CHUNK else 0
    parts = {
        "activations": tokens * (shape.layers * layer + 3 * shape.hidden),
        "activations of the MTP heads": tokens * depths * (layer + 9 * shape.hidden),
        "logits": kept + 4 * min(logits, max(_CHUNK, shape.vocabulary)),
    }
    if bf16:
        parts["copies in bfloat16"] = (shape.layers * shape.block + config.model.mtp_depths * shape.depth) / 2
    return {name: int(_FLOAT * numbers) for name, numbers in parts.items()}


def _exact(config: RunConfig, trunk: int) -> dict[str, int]:
    """Gradients as flat vectors, one per loss, and two of them in float64 for their product."""
    parts = {}
    regime = config.regime
    if isinstance(regime, Oracle) or (isinstance(regime, Occ) and regime.exact_every is not None):
        parts["exact gradients"] = _FLOAT * trunk * (2 + config.model.mtp_depths) + 2 * 8 * trunk
    if config.audit.every:
        parts["audit"] = 3 * _FLOAT * trunk
    return parts


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
    count = prompts * samples
    per_layer = count * (prompt + response) * 2 * shape.kv_heads * shape.head_size
    inner = shape.inner * shape.active_experts
    return {
        "key-value cache": _FLOAT * per_layer * (shape.layers + 1),
        "drawing tokens": count * shape.vocabulary * (48 if top_p < 1 else 24) + 28 * count * response,
        "the prompts' first pass": _FLOAT * prompts * prompt * (4 * inner + 8 * shape.hidden),
    }
