"""Log-probabilities and entropies of tokens, from hidden states and the lm_head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class TokenLogProbs(NamedTuple):
    """Of N tokens."""

    log_probs: Tensor
    """[N] log-prob of each target, float32, with gradient."""
    entropy: Tensor
    """[N] entropy of the distribution it was drawn from, in nats, detached."""


def token_log_probs(hidden: Tensor, lm_head: Tensor, targets: Tensor, temperature: float) -> TokenLogProbs:
    """log softmax(hidden lm_head^T / temperature) at the targets, in float32.

    Args:
        hidden: [N, H] normed hidden states.
        lm_head: [V, H].
        targets: [N] token ids.
        temperature: what the logits are divided by.
    """
    logits = functional.linear(hidden, lm_head).float() / temperature
    log_normaliser = logits.logsumexp(dim=-1)
    log_probs = logits.gather(-1, targets[:, None]).squeeze(-1) - log_normaliser
    with torch.no_grad():
        entropy = log_normaliser - ((logits - log_normaliser[:, None]).exp() * logits).sum(dim=-1)
    return TokenLogProbs(log_probs, entropy)


class Acceptance(NamedTuple):
    """How many drafted tokens the main head would take, each between 0 and 1."""

    greedy: Tensor
    """Share of positions where both heads have the same most likely token: acceptance under greedy decoding."""
    sampled: Tensor
    """Mean of sum_x min(p(x), q(x)): acceptance of a sampled draft under exact rejection sampling (arXiv 2211.17192, corollary 3.6)."""


@torch.no_grad()
def acceptance(main_hidden: Tensor, mtp_hidden: Tensor, lm_head: Tensor, temperature: float) -> Acceptance:
    """Draft acceptance over N positions at which both heads predict the same token.

    Args:
        main_hidden: [N, H] normed hidden states of the main head.
        mtp_hidden: [N, H] of the MTP head.
        lm_head: [V, H].
        temperature: sampling temperature.
    """
    main, mtp = (functional.linear(hidden, lm_head).float() / temperature for hidden in (main_hidden, mtp_hidden))
    greedy = (main.argmax(dim=-1) == mtp.argmax(dim=-1)).float().mean()
    sampled = torch.minimum(main.softmax(dim=-1), mtp.softmax(dim=-1)).sum(dim=-1).mean()
    return Acceptance(greedy, sampled)
