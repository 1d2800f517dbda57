"""The built-in engine: batched sampling from the model that is being trained, with a key-value cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from trainer.errors import NotFiniteError
from trainer.models.log_probs import full_logits
from trainer.rollout.engine import Drafted, Response, Sampling
from trainer.seeds import derive


class BuiltinEngine:
    """Samples with the trunk's own parameters, so that there is nothing to keep in step.

    Prompts are padded on the left; every prompt is read once and its cache repeated for its samples. Rows that have ended are
    taken out of the batch when they are half of it. Every prompt has random numbers of its own, so that its responses are the same (but
    for rounding) however the prompts are divided among batches and processes.
    """

    def __init__(
        self,
        trunk: PreTrainedModel,
        end_token: int,
        precision: Callable[[], AbstractContextManager[None]] = nullcontext,
    ):
        """`precision`: the context of forward passes, such as `Accelerator.autocast`."""
        self.trunk = trunk
        self.end_token = end_token
        self._precision = precision

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """Sample `sampling.samples` responses to each prompt.

        Raises:
            NotFiniteError: the model predicts no distribution.
        """
        was_training = self.trunk.training
        self.trunk.eval()
        try:
            with self._precision():
                rows = self._sample(prompts, sampling)
        finally:
            self.trunk.train(was_training)
        return [rows[start : start + sampling.samples] for start in range(0, len(rows), sampling.samples)]

    def finish(self) -> Drafted:
        """Nothing is held but the model itself, and nothing drafted."""
        return Drafted()

    def _sample(self, prompts: list[list[int]], sampling: Sampling) -> list[Response]:
        device = self.trunk.device
        uniform = _uniform(len(prompts), sampling).to(device)
        tokens, mask = _left_padded(prompts, device)
        cache = DynamicCache(config=self.trunk.config)
        logits = self._step(tokens, mask, cache).repeat_interleave(sampling.samples, dim=0)
        if not logits.isfinite().all():  # drawing from such a distribution would end in an error of the device
            raise NotFiniteError("the sampler's logits", "NaN" if logits.isnan().any() else "infinite")
        cache.batch_repeat_interleave(sampling.samples)
        mask = mask.repeat_interleave(sampling.samples, dim=0)
        count = len(prompts) * sampling.samples
        out_tokens = torch.zeros(count, sampling.max_tokens, dtype=torch.long, device=device)
        out_log_probs = torch.zeros(count, sampling.max_tokens, device=device)
        lengths = torch.full((count,), sampling.max_tokens, device=device)
        rows = torch.arange(count, device=device)
        running = torch.ones(count, dtype=torch.bool, device=device)
        for place in range(sampling.max_tokens):
            picked, log_probs = _pick(logits, sampling.temperature, sampling.top_p, uniform[rows, place])
            out_tokens[rows, place], out_log_probs[rows, place] = picked, log_probs
            ended = running & (picked == self.end_token)
            lengths[rows[ended]] = place + 1
            running = running & ~ended
            alive = int(running.sum())
            if alive == 0 or place + 1 == sampling.max_tokens:
                break
            if alive <= len(rows) // 2:
                cache.batch_select_indices(running.nonzero().squeeze(-1))
                rows, mask, picked = rows[running], mask[running], picked[running]
                running = running[running]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            logits = self._step(picked[:, None], mask, cache)
        # A row that has ended but is still in the batch goes on writing: only what lies before its length counts.
        return [
            Response(row[:length], scores[:length], row[length - 1] != self.end_token)
            for row, scores, length in zip(out_tokens.tolist(), out_log_probs.tolist(), lengths.tolist(), strict=True)
        ]

    def _step(self, tokens: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
        """Logits [B, V] after the last of the new tokens."""
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        everything = bool(mask.all())
        hidden = self.trunk.get_decoder()(
            input_ids=tokens,
            attention_mask=None if everything else mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, -1]
        return full_logits(hidden, self.trunk.get_output_embeddings().weight)


def _left_padded(prompts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    tokens = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return tokens, mask


def _uniform(prompts: int, sampling: Sampling) -> Tensor:
    """[prompts x samples, max_tokens] float64 in [0, 1), those of a prompt from a generator of its own: one number per token."""
    generator = torch.Generator()
    drawn = []
    for place in range(sampling.first, sampling.first + prompts):
        generator.manual_seed(derive(sampling.seed, "prompt", place))
        drawn.append(torch.rand(sampling.samples, sampling.max_tokens, dtype=torch.float64, generator=generator))
    return torch.cat(drawn)


def _pick(logits: Tensor, temperature: float, top_p: float, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """One token per row [B], where the cumulative distribution passes `uniform` [B], and its log-prob [B] (temperature applied, before top-p)."""
    log_probs = (logits / temperature).log_softmax(dim=-1)
    probs = log_probs.exp()
    if top_p < 1:
        probs = nucleus(probs, top_p)
    # float64: float32 would lose unlikely tokens. A product below the total leaves out tokens of probability 0, the last ones too.
    cumulative = probs.cumsum(dim=-1, dtype=torch.float64)
    picked = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    picked = picked.clamp(
        max=logits.shape[-1] - 1
    )  # only where a row is NaN, which the trainer's own log-probs will name
    return picked.squeeze(-1), log_probs.gather(-1, picked).squeeze(-1)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches top_p (arXiv 1904.09751, section 3.1).

    Args:
        probs: [B, V].
        top_p: between 0 (exclusive) and 1.

    Returns:
        [B, V] with 0 for the other tokens; not renormalised.
    """
    ordered, order = probs.sort(dim=-1, descending=True)
    outside = ordered.cumsum(dim=-1) - ordered >= top_p
    return torch.zeros_like(probs).scatter(-1, order, ordered.masked_fill(outside, 0.0))
