"""vLLM behind the engine protocol: in the trainer's process, on its device, with its parameters."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainer.config import EvaluationConfig, RunConfig
from trainer.errors import MtprlError, NotFiniteError, TrainingError
from trainer.models.joint import JointModel
from trainer.rollout.engine import Drafted, Response, Sampling
from trainer.rollout.vllm import processor
from trainer.rollout.vllm.installed import cache_words, length_problem, longest_response, problems
from trainer.rollout.vllm.sync import take_policy
from trainer.seeds import derive

_DRAFTS = "vllm:spec_decode_num_drafts"
_ACCEPTED = "vllm:spec_decode_num_accepted_tokens_per_pos"


class VllmEngine:
    """Samples with vLLM, which takes the policy's parameters, trunk and heads, before it samples and after every `finish`.

    On a GPU it sleeps in between: its weights go to the host's memory and its cache is given up, so that training has the device. Where
    nothing trains, vLLM reads the parameters from the model's folder itself, and stays awake.
    """

    def __init__(
        self,
        config: RunConfig | EvaluationConfig,
        joint: JointModel | None,
        end_token: int,
        prompt: int,
        device: torch.device,
        positions: int | None,
    ):
        """Start vLLM, with no weights yet, or with those of the model's folder.

        Args:
            config: the run, or the evaluation.
            joint: holds the policy; None: it is what lies in the model's folder.
            end_token: ends a response.
            prompt: tokens of the longest prompt.
            device: what this process computes on.
            positions: tokens that the model was made for; None: it does not say.

        Raises:
            TrainingError: vLLM is missing or too old, or cannot run this model.
        """
        if found := problems(config):
            raise TrainingError("; ".join(map(str, found)))
        if too_long := length_problem(config, prompt, positions):
            raise TrainingError(str(too_long))
        self._joint = joint
        self._end_token = end_token
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._drafts = config.rollout.vllm.draft_tokens > 0
        self._cache_gib = config.rollout.vllm.cache_gib
        with _told("start", self._cache_gib):
            self._llm = _start(config, prompt + longest_response(config)[1], self._on_gpu, reads_weights=joint is None)
        self._has_policy = False
        self._sleeps = False
        self._counted = self._counters()

    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """Sample `sampling.samples` responses to each prompt.

        Where top-p or top-k leave tokens out, vLLM tells log-probs under what is left, and so does this engine; nothing uses them.

        Raises:
            NotFiniteError: the model predicts no distribution.
            TrainingError: vLLM failed, or does not hold the policy.
        """
        from vllm import SamplingParams

        asked = [
            SamplingParams(
                n=sampling.samples,
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                # The samples of a prompt get this seed and those that follow.
                seed=(derive(sampling.seed, "prompt", sampling.first + place) >> 1) + sampling.first_sample,
                logprobs=0,
                # The end token alone ends a response, whatever else the model's own settings name.
                ignore_eos=True,
                stop_token_ids=[self._end_token],
                detokenize=False,
            )
            for place in range(len(prompts))
        ]
        with _told("sample", self._cache_gib), self._device_as_it_was(derive(sampling.seed, "drafts", sampling.first)):
            if self._joint is not None and not self._has_policy:
                self._take_policy(self._joint)
            outputs = self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], asked, use_tqdm=False)
        return [[_response(one) for one in sorted(output.outputs, key=lambda one: one.index)] for output in outputs]

    def finish(self) -> Drafted:
        """Let vLLM sleep where it can, and what it holds of the policy be taken for old."""
        before, self._counted = self._counted, self._counters()
        self._has_policy = False
        if self._joint is not None and self._on_gpu and not self._sleeps:
            with _told("sleep", self._cache_gib):
                self._llm.sleep(level=1)  # level 2 would lose the drafter's weights
            self._sleeps = True
        accepted = zip(self._counted.accepted, before.accepted or (0,) * len(self._counted.accepted), strict=True)
        return Drafted(self._counted.drafts - before.drafts, tuple(now - then for now, then in accepted))

    def close(self) -> None:
        """Give back what it holds; it cannot sample any more."""
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm

    def _take_policy(self, joint: JointModel) -> None:
        if self._sleeps:
            self._llm.wake_up()
            self._sleeps = False
        self._llm.collective_rpc(take_policy, args=(joint,))
        self._llm.reset_prefix_cache()
        self._has_policy = True

    def _counters(self) -> Drafted:
        """What was drafted since the start."""
        if not self._drafts:
            return Drafted()
        found = {metric.name: metric for metric in self._llm.get_metrics() if metric.name in (_DRAFTS, _ACCEPTED)}
        if found.keys() != {_DRAFTS, _ACCEPTED}:
            raise TrainingError(f"vLLM has no {_DRAFTS} or no {_ACCEPTED}; set rollout.vllm.draft_tokens to 0")
        return Drafted(found[_DRAFTS].value, tuple(found[_ACCEPTED].values))

    @contextmanager
    def _device_as_it_was(self, seed: int) -> Iterator[None]:
        """With random numbers of its own for what vLLM draws for drafts, and without compiling what is called too rarely for it."""
        devices = [self._device] if self._on_gpu else []
        with torch.random.fork_rng(devices), torch.compiler.set_stance("default" if self._on_gpu else "force_eager"):
            torch.manual_seed(seed)
            yield


def _start(config: RunConfig | EvaluationConfig, longest: int, on_gpu: bool, *, reads_weights: bool) -> Any:
    """A vLLM in this process, with the weights of the model's folder or with random ones."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    set_num_threads = torch.set_num_threads
    settings, several = config.rollout.vllm, config.launch.num_processes > 1
    from vllm import LLM

    if not on_gpu:
        processor.leave_weights()
        processor.mend_drafts()
    drafting = {
        "method": "mtp",
        "num_speculative_tokens": settings.draft_tokens,
        "draft_sample_method": settings.draft_sampling,
        "rejection_sample_method": "standard",
    }
    try:
        with torch.random.fork_rng():
            return LLM(
                model=config.model.path,
                runner="generate",
                load_format="auto" if reads_weights else "dummy",
                skip_tokenizer_init=True,
                generation_config="vllm",
                dtype="bfloat16" if on_gpu and config.model.mixed_precision == "bf16" else "float32",
                max_model_len=longest,
                seed=0,
                logprobs_mode="processed_logprobs",  # after the temperature
                enforce_eager=not (on_gpu and settings.cuda_graphs),
                enable_sleep_mode=on_gpu and not reads_weights,
                kv_cache_memory_bytes=int(settings.cache_gib * 2**30),
                gpu_memory_utilization=0.01,  # asked for at the start, and then of no account beside the size of the cache
                disable_log_stats=False,  # they count the drafts
                distributed_executor_backend="external_launcher" if several else None,
                speculative_config=drafting if settings.draft_tokens else None,
            )
    finally:
        torch.set_num_threads = set_num_threads  # vLLM takes it away on a processor


def _response(output: Any) -> Response:
    tokens = list(output.token_ids)
    log_probs = [place[token].logprob for token, place in zip(tokens, output.logprobs, strict=True)]
    if any(value != value for value in log_probs):
        raise NotFiniteError("the sampler's log-probs", "NaN")
    return Response(tokens, log_probs, output.finish_reason != "stop")


@contextmanager
def _told(what: str, cache_gib: float) -> Iterator[None]:
    """vLLM's own errors as one that names it.

    Raises:
        TrainingError: in the place of any other exception.
    """
    try:
        yield
    except MtprlError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        cache = cache_words(str(error), cache_gib)
        raise TrainingError(
            f"vLLM could not {what} ({reason}); {cache}docs/engines.md says what it needs, and rollout.engine builtin needs nothing"
        ) from error
