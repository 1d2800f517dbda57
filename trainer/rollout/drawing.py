"""Drawing tokens from logits with random numbers that are given."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.rollout.engine import Sampling
from trainer.seeds import derive


def uniform(prompts: int, sampling: Sampling, *, stream: str = "prompt") -> Tensor:
    """[prompts x samples, max_tokens] float64 in [0, 1), those of a prompt from a generator of its own: one number per token."""
    generator = torch.Generator()
    drawn = []
    for place in range(sampling.first, sampling.first + prompts):
        generator.manual_seed(derive(sampling.seed, stream, place))
        # Those of all samples before, too: so a sample has the same however many are made at once.
        all_samples = sampling.first_sample + sampling.samples
        numbers = torch.rand(all_samples, sampling.max_tokens, dtype=torch.float64, generator=generator)
        drawn.append(numbers[sampling.first_sample :])
    return torch.cat(drawn)


def log_probs_of(logits: Tensor, sampling: Sampling) -> Tensor:
    """[..., V] log-probs of the whole distribution: temperature applied, before top-p and top-k."""
    return (logits / sampling.temperature).log_softmax(dim=-1)


def allowed(log_probs: Tensor, sampling: Sampling) -> Tensor:
    """[..., V] probabilities of the tokens that may be drawn, 0 for the others; not renormalised."""
    probs = log_probs.exp()
    if sampling.top_k:
        probs = most_likely(probs, sampling.top_k)
    return nucleus(probs, sampling.top_p) if sampling.top_p < 1 else probs


def draw(probs: Tensor, numbers: Tensor) -> Tensor:
    """One token per row [...]: where the cumulative distribution of `probs` [..., V] passes `numbers` [...]."""
    # float64: float32 would lose unlikely tokens. A product below the total leaves out tokens of probability 0, the last ones too.
    cumulative = probs.cumsum(dim=-1, dtype=torch.float64)
    picked = torch.searchsorted(cumulative, numbers[..., None] * cumulative[..., -1:], right=True).squeeze(-1)
    return picked.clamp(max=probs.shape[-1] - 1)  # only where a row is NaN, which the trainer's own log-probs will name


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """Keep the smallest set of most likely tokens that has the share top_p of the probability (arXiv 1904.09751, section 3.1).

    Args:
        probs: [..., V].
        top_p: between 0 (exclusive) and 1.

    Returns:
        [..., V] with 0 for the other tokens; not renormalised.
    """
    ordered, order = probs.sort(dim=-1, descending=True)
    cumulative = ordered.cumsum(dim=-1)
    outside = cumulative - ordered >= top_p * cumulative[..., -1:]
    return torch.zeros_like(probs).scatter(-1, order, ordered.masked_fill(outside, 0.0))


def most_likely(probs: Tensor, top_k: int) -> Tensor:
    """Keep the `top_k` most likely tokens of [..., V], of equally likely ones those with the smaller numbers; 0 for the others."""
    order = probs.argsort(dim=-1, descending=True, stable=True)[..., :top_k]
    return torch.zeros_like(probs).scatter(-1, order, probs.gather(-1, order))
