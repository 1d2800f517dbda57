"""Log-probabilities and entropies of tokens, from hidden states and the lm_head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 2**26
"""Logits that may exist at once: 256 MiB in float32."""


class TokenLogProbs(NamedTuple):
    """Of N tokens."""

    log_probs: Tensor
    """[N] log-prob of each target, float32, with gradient."""
    entropy: Tensor
    """[N] entropy of the distribution it was drawn from, in nats, detached."""


def full_logits(hidden: Tensor, lm_head: Tensor) -> Tensor:
    """hidden lm_head^T in float32, under mixed precision, too: c_hat and v2_hat live on differences of log-probs that bfloat16 would round away.

    Args:
        hidden: [..., H] normed hidden states.
        lm_head: [V, H].
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return functional.linear(hidden.float(), lm_head.float())


def token_log_probs(
    hidden: Tensor, lm_head: Tensor, targets: Tensor, temperature: float, *, most_logits: int = MOST_LOGITS
) -> TokenLogProbs:
    """log softmax(hidden lm_head^T / temperature) at the targets, in float32.

    The logits [N, V] never exist at once where they are more than `most_logits`: they are made in chunks of tokens, and made again
    in the backward pass.

    Args:
        hidden: [N, H] normed hidden states.
        lm_head: [V, H].
        targets: [N] token ids.
        temperature: what the logits are divided by.
        most_logits: numbers in a chunk of logits.
    """
    chunk = max(1, most_logits // len(lm_head))
    if len(hidden) <= chunk:
        return TokenLogProbs(*_of_chunk(hidden, lm_head, targets, temperature))
    parts = [
        checkpoint(_of_chunk, states, lm_head, wanted, temperature, use_reentrant=False)
        for states, wanted in zip(hidden.split(chunk), targets.split(chunk), strict=True)
    ]
    return TokenLogProbs(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _of_chunk(hidden: Tensor, lm_head: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logits = full_logits(hidden, lm_head) / temperature
    log_normaliser = logits.logsumexp(dim=-1)
    log_probs = logits.gather(-1, targets[:, None]).squeeze(-1) - log_normaliser
    with torch.no_grad():
        entropy = log_normaliser - ((logits - log_normaliser[:, None]).exp() * logits).sum(dim=-1)
    return log_probs, entropy


def divergences(
    main_hidden: Tensor, mtp_hidden: Tensor, lm_head: Tensor, temperature: float, *, most_logits: int = MOST_LOGITS
) -> Tensor:
    """[N] KL(main || MTP head) in nats over the whole vocabulary, in float32; its gradient goes to the MTP head's states alone.

    As in `token_log_probs`, the logits of both heads never exist at once where they are more than `most_logits`.

    Args:
        main_hidden: [N, H] normed hidden states of the main head.
        mtp_hidden: [N, H] of the MTP head, at the places from which it predicts the same tokens.
        lm_head: [V, H].
        temperature: what the logits are divided by.
        most_logits: numbers in a chunk of logits.
    """
    main_hidden, lm_head = main_hidden.detach(), lm_head.detach()
    chunk = max(1, most_logits // (2 * len(lm_head)))
    if len(mtp_hidden) <= chunk:
        return _divergence(main_hidden, mtp_hidden, lm_head, temperature)
    parts = [
        checkpoint(_divergence, main, mtp, lm_head, temperature, use_reentrant=False)
        for main, mtp in zip(main_hidden.split(chunk), mtp_hidden.split(chunk), strict=True)
    ]
    return torch.cat(parts)


def _divergence(main_hidden: Tensor, mtp_hidden: Tensor, lm_head: Tensor, temperature: float) -> Tensor:
    main, mtp = (
        (full_logits(hidden, lm_head) / temperature).log_softmax(dim=-1) for hidden in (main_hidden, mtp_hidden)
    )
    return functional.kl_div(mtp, main, reduction="none", log_target=True).sum(dim=-1)


@torch.no_grad()
def drafts(
    main_hidden: Tensor,
    mtp_hidden: Tensor,
    lm_head: Tensor,
    targets: Tensor,
    temperature: float,
    *,
    most_logits: int = MOST_LOGITS,
) -> tuple[Tensor, Tensor]:
    """Of N positions at which both heads predict the same token: the MTP head's log-prob of it, and 1.0 where both think the same token
    most likely, so that a greedy draft would be taken.

    Args:
        main_hidden: [N, H] normed hidden states of the main head.
        mtp_hidden: [N, H] of the MTP head.
        lm_head: [V, H].
        targets: [N] token ids.
        temperature: what the logits are divided by.
        most_logits: numbers in a chunk of logits.
    """
    chunk = max(1, most_logits // len(lm_head))
    log_probs, agrees = [], []
    for main, mtp, wanted in zip(main_hidden.split(chunk), mtp_hidden.split(chunk), targets.split(chunk), strict=True):
        drafted = full_logits(mtp, lm_head) / temperature
        log_probs.append(drafted.log_softmax(dim=-1).gather(-1, wanted[:, None]).squeeze(-1))
        agrees.append((full_logits(main, lm_head).argmax(dim=-1) == drafted.argmax(dim=-1)).float())
    return torch.cat(log_probs), torch.cat(agrees)


class Acceptance(NamedTuple):
    """How many drafted tokens the main head would take, each between 0 and 1."""

    greedy: Tensor
    """Share of positions where both heads have the same most likely token: acceptance under greedy decoding."""
    sampled: Tensor
    """Mean of sum_x min(p(x), q(x)): acceptance of a sampled draft under exact rejection sampling (arXiv 2211.17192, corollary 3.6)."""
    positions: Tensor
    """How many positions these are means over."""

    def cpu(self) -> Acceptance:
        """The same, on the CPU."""
        return Acceptance(*(value.cpu() for value in self))


@torch.no_grad()
def acceptance(
    main_hidden: Tensor, mtp_hidden: Tensor, lm_head: Tensor, temperature: float, *, most_logits: int = MOST_LOGITS
) -> Acceptance:
    """Draft acceptance over N positions at which both heads predict the same token; NaN where there are none.

    Args:
        main_hidden: [N, H] normed hidden states of the main head.
        mtp_hidden: [N, H] of the MTP head.
        lm_head: [V, H].
        temperature: sampling temperature.
        most_logits: numbers in a chunk of logits.
    """
    chunk = max(1, most_logits // len(lm_head))
    greedy, sampled = [], []
    for states in zip(main_hidden.split(chunk), mtp_hidden.split(chunk), strict=True):
        main, mtp = (full_logits(hidden, lm_head) / temperature for hidden in states)
        greedy.append(main.argmax(dim=-1) == mtp.argmax(dim=-1))
        sampled.append(torch.minimum(main.softmax(dim=-1), mtp.softmax(dim=-1)).sum(dim=-1))
    positions = torch.tensor(len(main_hidden))
    return Acceptance(torch.cat(greedy).float().mean(), torch.cat(sampled).mean(), positions)


def acceptance_of_all(parts: Sequence[Acceptance]) -> Acceptance:
    """The acceptance over the positions of several parts; NaN where none has any."""
    having = [part for part in parts if part.positions]
    positions = sum((part.positions for part in having), torch.tensor(0))
    greedy, sampled = (
        sum((mean * part.positions for mean, part in zip(means, having, strict=True)), torch.tensor(0.0)) / positions
        for means in ([part.greedy for part in having], [part.sampled for part in having])
    )
    return Acceptance(greedy, sampled, positions)
