"""The configuration of one run: what the trainer validates, the form shows and the store keeps.

One frozen pydantic tree. The docstring under a field is the help text of its widget in the dashboard.
Every combination that cannot mean what it says is refused here, in words, before anything is loaded.
This module imports no torch, so that the command line and the pages start fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from trainer.config import rules
from trainer.config.data import Data
from trainer.config.method import Algorithm, Dapo, Regime
from trainer.config.section import LARGEST, Decay, Document, Finite, NonNegative, Positive, Section, Temperature
from trainer.errors import ConfigError

StopTexts = tuple[Annotated[str, Field(min_length=1)], ...]

LONGEST_BENCHMARK_NAME = 80  # characters: what the store's columns hold


class EvaluatedModel(Section):
    """A model as an evaluation needs it: without its heads."""

    path: Annotated[str, Field(min_length=1)]
    """Folder of the base model, or its name on the Hugging Face hub. `${MTPRL_HOME}` is filled in."""
    mixed_precision: Literal["no", "bf16"] = "no"
    """bf16: the layers of trunk and heads multiply in bfloat16, which GPUs do several times faster. Parameters, optimiser, gradients,
    logits and log-probs, and everything that is summed stay in float32 or better. no: all of it in float32."""


class Model(EvaluatedModel):
    """The base model and its MTP heads."""

    mtp_depths: Annotated[int, Field(ge=1, le=8)] = 1
    """MTP depths to use (K). A base model without heads gets new ones, started from its last block."""
    gradient_checkpointing: bool = False
    """The blocks of trunk and heads keep only their inputs for the backward pass and run again there: far less memory, about a third
    more time in the update, the same gradients."""


class Mtp(Section):
    """What the heads' own parameters learn from."""

    head_loss: Literal["regime", "ce", "none"] = "regime"
    """regime: from the regime's own loss, coefficient included (the paper). ce: from detached cross-entropy, while the
    regime's coefficient gates only what flows into the trunk. none: they stay as loaded."""
    head_loss_scale: Annotated[Finite, Field(gt=0)] = 1.0
    """Weight of the detached cross-entropy (regime detach, or head_loss ce)."""


class Vllm(Section):
    """How vLLM samples (engine vllm; docs/engines.md). It shares the device with training and takes the parameters anew in every step."""

    draft_tokens: Annotated[int, Field(ge=0, le=8)] = 0
    """Tokens that the MTP heads draft for each pass of the main head (speculative decoding); what is sampled has the main head's
    distribution all the same. Needs a model that carries heads of a published layout. 0: none are drafted."""
    draft_sampling: Literal["greedy", "probabilistic"] = "greedy"
    """greedy: the heads draft their most likely token. probabilistic: they draw it, and are judged by the ratio of both probabilities,
    which accepts more where entropy is high."""
    cache_gib: Annotated[Finite, Field(gt=0)] = 4.0
    """Memory for keys and values in each process, GiB; the more, the more responses are sampled at once."""
    cuda_graphs: bool = True
    """Record CUDA graphs at the start, which takes a minute and some memory and makes sampling faster. A CPU has none."""

    @model_validator(mode="before")
    @classmethod
    def _names_of_vllm(cls, values: Any) -> Any:
        for name in values if isinstance(values, Mapping) else ():
            if name in rules.NOT_FOR_VLLM:
                raise ValueError(f"{name}: {rules.NOT_FOR_VLLM[name]}")
        return values


class Sampler(Section):
    """What samples."""

    engine: Literal["builtin", "vllm"] = "builtin"
    """What samples, in training and in its evaluations: builtin (this program, on the model itself), or vLLM, which has to be
    installed (docs/engines.md)."""
    vllm: Vllm = Vllm()
    """How vLLM samples."""


class Rollout(Sampler):
    """Sampling of responses from the current policy."""

    prompts_per_step: Positive = 64
    """Prompts per step."""
    samples_per_prompt: Annotated[int, Field(ge=2, le=LARGEST)] = 8
    """Responses per prompt: the group whose rewards are compared."""
    dynamic_sampling_rounds: NonNegative = 0
    """Further rounds of sampling, at most, that replace prompts whose responses all got the same reward by other prompts (DAPO);
    0 switches it off."""
    temperature: Temperature = 1.0
    """Sampling temperature; the logits of main and MTP heads are divided by it in training, too."""
    max_prompt_tokens: Positive = 2048
    """Prompts with more tokens are left out, and counted."""
    max_response_tokens: Positive = 8192
    """A response is cut here and counted as truncated."""
    sequences_at_once: Positive | None = None
    """Responses that each process samples at once, in training and evaluation, at most; none: all of a step's. The key-value cache holds so
    many; the responses do not depend on it."""
    speculative: Literal["off", "auto", "on"] = "off"
    """Sampling with drafts of the MTP heads, every token distributed as without (exact rejection sampling). auto: where a fixed model of costs
    expects it to be faster, from the rows that still run and the heads' acceptance in the last step and so far; on: always. Which tokens are drawn for a seed depends on where
    drafts are made; with auto therefore on launch.num_processes and sequences_at_once, too."""
    stop: StopTexts = ()
    """Texts that end a response in training, as the end token does; the response keeps them. Evaluations have evaluation.stop."""


class Reward(Section):
    """Rewards from the verifier."""

    correct: Finite = 1.0
    """Reward of a right answer."""
    incorrect: Finite = -1.0
    """Reward of a wrong one."""
    overlong_buffer: NonNegative = 0
    """Tokens before max_response_tokens over which the soft overlong punishment grows; 0 switches it off."""
    overlong_factor: Annotated[Finite, Field(gt=0)] = 1.0
    """Size of the soft overlong punishment at the limit."""


class Update(Section):
    """Optimisation steps made from each batch of rollouts."""

    mini_batches: Positive = 4
    """Optimiser steps per pass over a step's rollouts."""
    epochs: Positive = 1
    """Passes over a step's rollouts."""
    micro_batch_sequences: Positive | None = None
    """Sequences per forward pass; none: a whole mini-batch at once. The update does not depend on it (except for window micro_batch)."""
    micro_batch_tokens: Positive | None = None
    """In the place of micro_batch_sequences, tokens per forward pass, prompts and padding included: sequences are sorted by length, and
    as many go together as fit. None: not so. The update does not depend on it (except for window micro_batch)."""


class Optimizer(Section):
    """AdamW with a linear warm-up; trunk and heads are clipped separately."""

    lr: Annotated[Finite, Field(gt=0)] = 1e-6
    """Learning rate after the warm-up."""
    warmup_steps: NonNegative = 10
    """Optimiser steps over which the learning rate grows from 0."""
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.1
    """Decoupled weight decay, on matrices only."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of AdamW's first and second moment."""
    grad_clip: Annotated[Finite, Field(gt=0)] = 1.0
    """Largest gradient norm of the trunk, and by itself of the heads."""


class Benchmark(Section):
    """A held-out set to evaluate on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=LONGEST_BENCHMARK_NAME)]
    """Short name in lower case; the metric is eval/<name>/avg_at_<k>."""
    data: Data
    """Where its problems come from."""
    limit: Positive | None = None
    """Use only the first problems; none: all."""


class Afterwards(Section):
    """An evaluation that is queued by itself when the run has finished, of its last checkpoint."""

    suite: Annotated[str, Field(min_length=1)] = "six"
    """six (AIME24, AIME25, AMC23, MATH-500, Minerva, OlympiadBench), demo, one of the six, several with commas, or a JSONL file."""
    samples: Positive = 32
    """Responses per problem: the k of avg@k."""
    max_response_tokens: Positive | None = None
    """A response is cut here; none: where the suite's or the training's are."""


class Evaluation(Section):
    """Evaluation on held-out problems: during training, and afterwards."""

    benchmarks: tuple[Benchmark, ...] = ()
    """Benchmarks to evaluate on; none: no evaluation."""
    every: Positive = 20
    """Steps between evaluations; the first comes before training and the last after it."""
    samples: Positive = 4
    """Responses per problem: the k of avg@k."""
    temperature: Temperature = 1.0
    """Sampling temperature of the evaluation."""
    top_p: Annotated[Finite, Field(gt=0, le=1)] = 0.7
    """Nucleus sampling: the smallest set of tokens with this much probability."""
    top_k: NonNegative = 0
    """Draw from so many most likely tokens, before top-p; 0: from all."""
    stop: StopTexts = ()
    """Texts that end a response in evaluations, as the end token does; the response keeps them. Those of training are rollout.stop."""
    afterwards: Afterwards | None = None
    """A further evaluation, as a run of its own that is queued when this one has finished; none: no such evaluation."""


class Audit(Section):
    """Exact gradients and the measured effect of the MTP part, beside a run that they do not change (docs/method.md, Audit)."""

    every: NonNegative = 0
    """Steps between audits of a step's last mini-batch; 0: none. An audit costs about as much as several updates, and as much memory
    again as model and optimiser."""
    prompts: Positive = 32
    """Held-out prompts, drawn from the training data, on which the change of the objective is measured."""


class Alarms(Section):
    """When a run says that something looks wrong. An alarm says so in words and changes nothing of the training (docs/method.md, Alarms)."""

    steps: Positive = 5
    """Steps in a row for which something must look wrong before its alarm begins, and right before it is over."""
    entropy_fraction: Annotated[Finite, Field(ge=0, lt=1)] = 0.1
    """Entropy collapse: entropy below this fraction of its mean over the run's first 5 steps; 0: never."""
    acceptance_fraction: Annotated[Finite, Field(ge=0, lt=1)] = 0.5
    """Acceptance collapse: greedy draft acceptance of a depth below this fraction of its mean over the run's first 5 steps; 0: never."""
    zero_variance_share: Annotated[Finite, Field(gt=0, le=1)] = 0.9
    """Too little to learn from: more than this share of the prompts got equal rewards for all their responses; 1: never."""
    log_prob_gap: Annotated[Finite, Field(ge=0)] = 0.05
    """Sampler out of step: rollout/log_prob_gap, the mean difference of the sampler's and the trainer's log-probs, above this many nats;
    0: never. bfloat16 alone makes 0.01 or so."""
    coefficient_steps: Positive = 20
    """Steps in a row, in the place of `steps`, for a coefficient whose every mini-batch is on a bound of its clip. One that wavers
    around a bound is there in many a step: in the demo in a third of them, up to 4 in a row."""


class Checkpoint(Section):
    """Checkpoints to resume from."""

    every: Positive = 50
    """Steps between checkpoints; the last step is always saved."""
    keep: Positive = 2
    """How many of the newest to keep. The one with the best held-out accuracy is kept, too: the mean over the benchmarks, among the
    checkpoints of steps that were evaluated, of equals the newest."""


class Logging(Section):
    """Completions written to the event file."""

    completions_every: Positive = 10
    """Steps between logged completions."""
    completions_prompts: Positive = 4
    """Prompts whose whole group of completions is logged."""


class Launch(Section):
    """How the run is queued and started. None of it changes what a step is, so that all of it may change when the run goes on later."""

    num_processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Devices to train on, one process each: they divide every step's prompts and sequences among themselves and make the same
    update as one would, but for rounding. The run waits until one worker has as many free; from the shell, they may be on several hosts."""
    sharding: Literal["none", "full"] = "none"
    """full: parameters, gradients and optimiser state are divided among the processes, for models that no single device holds; the
    update is the same but for rounding. Sampling still puts the parameters together on every device. none: each process holds all of them."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Of the runs that wait, the one with the highest priority is next; among equals, the one that came first."""
    max_hours: Annotated[Finite, Field(gt=0)] | None = None
    """Longest time on its devices, over all attempts; then the run is stopped after a checkpoint. None: as long as it takes."""
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """How often the run is queued again by itself after an accident that was not its own: its machine, its supervisor or the start of
    its trainer failed. A training that fails is never tried again by itself."""


class RunConfig(Document):
    """One training run, complete."""

    name: Annotated[str, Field(pattern=rules.NAME)] = ""
    """Name of the run; empty: method, algorithm and seed."""
    seed: NonNegative = 0
    """Seed of data order, sampling and everything else random."""
    steps: Positive = 200
    """Training steps; each is one rollout and its updates."""
    model: Model
    regime: Regime
    algorithm: Algorithm = Dapo()
    mtp: Mtp = Mtp()
    data: Data
    rollout: Rollout = Rollout()
    reward: Reward = Reward()
    update: Update = Update()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    audit: Audit = Audit()
    alarms: Alarms = Alarms()
    checkpoint: Checkpoint = Checkpoint()
    logging: Logging = Logging()
    launch: Launch = Launch()

    @property
    def updates_per_step(self) -> int:
        """Optimiser steps made from each rollout."""
        return self.update.mini_batches * self.update.epochs

    @property
    def trains_heads(self) -> bool:
        """Whether the heads' own parameters learn at all."""
        return self.regime.kind != "off" and self.mtp.head_loss != "none"

    @property
    def trains_trunk(self) -> bool:
        """Whether trunk, embeddings and lm_head learn."""
        return self.regime.kind != "warm"

    @model_validator(mode="after")
    def _combinations_make_sense(self) -> RunConfig:
        problems = rules.problems(self)
        if problems:
            raise ConfigError(problems)
        return self
