"""What each regime lets flow into the trunk: one small pure function per MTP loss (arXiv 2605.28184, section 4; docs/method.md).

| regime | loss of one MTP depth                                              |
| ------ | ------------------------------------------------------------------ |
| off    | none                                                               |
| detach | cross-entropy, which reaches the heads' own parameters only        |
| warm   | as detach, or KL(main || head); there is no other loss             |
| ce     | coefficient x cross-entropy                                        |
| policy | coefficient x the algorithm's own loss on the MTP log-probs        |
| occ    | as policy, with lambda_t on the advantages or on the loss          |
| oracle | as policy, with lambda_t from exact gradients                      |

A regime receives the algorithm's loss as a function and never asks which one it is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer import config

PolicyLoss = Callable[..., Tensor]


class MtpBatch(NamedTuple):
    """What one MTP depth's loss is made of; rows of a mini-batch. Position t is the same token as for the main head."""

    mtp_log_probs: Tensor
    """[B, T] current parameters, with gradient."""
    old_log_probs: Tensor
    """[B, T] main head, parameters that started the phase."""
    old_mtp_log_probs: Tensor
    """[B, T] this head, parameters that started the phase."""
    advantages: Tensor
    """[B]"""
    mask: Tensor
    """[B, T] true on response tokens that this depth predicts."""
    weights: Tensor
    """[B, T] the algorithm's reduction weights over `mask`, of the whole mini-batch."""
    token_weights: Tensor
    """[B, T] token-mean weights over `mask`, of the whole mini-batch: the reduction of cross-entropy."""


TrunkLoss = Callable[[MtpBatch, PolicyLoss, Tensor], Tensor]
"""(batch, policy_loss, coefficient) -> scalar: the part of a depth's MTP loss that the regime weighs."""


def cross_entropy(batch: MtpBatch) -> Tensor:
    """Mean over the counted response tokens of -log-prob; no prompt token and no padding takes part."""
    return -mean_over_tokens(batch, batch.mtp_log_probs)


def mean_over_tokens(batch: MtpBatch, values: Tensor) -> Tensor:
    """The mean of [B, T] values over the response tokens of the whole mini-batch that the depth predicts; a micro-batch gives its share of it."""
    return (torch.where(batch.mask, values, 0.0) * batch.token_weights.to(values.dtype)).sum()


def ce_loss(batch: MtpBatch, policy_loss: PolicyLoss, coefficient: Tensor) -> Tensor:
    """Coefficient times cross-entropy."""
    return coefficient * cross_entropy(batch)


def mtp_policy_loss(
    batch: MtpBatch, policy_loss: PolicyLoss, coefficient: Tensor, *, ratio: str = "main", apply_to: str = "loss"
) -> Tensor:
    """The RL algorithm's own loss on the MTP log-probs, weighed by the coefficient.

    Args:
        batch: one depth's rows.
        policy_loss: (log_probs, old_log_probs, advantages, mask, weights) -> scalar.
        coefficient: scalar lambda; may be negative.
        ratio: denominator of the probability ratio, the "main" head's old log-probs or the head's "own".
        apply_to: "loss", or "advantages" (the authors' code for occ). For a coefficient below 0 clipping then acts on the other side.
    """
    old = batch.old_log_probs if ratio == "main" else batch.old_mtp_log_probs
    if apply_to == "advantages":
        return policy_loss(batch.mtp_log_probs, old, coefficient * batch.advantages, batch.mask, weights=batch.weights)
    return coefficient * policy_loss(batch.mtp_log_probs, old, batch.advantages, batch.mask, weights=batch.weights)


def trunk_loss(
    regime: config.Off | config.Detach | config.Warm | config.CrossEntropy | config.Policy | config.Occ | config.Oracle,
) -> TrunkLoss | None:
    """The loss whose gradient the regime lets into the trunk; None where nothing may reach it (off, detach, warm)."""
    match regime:
        case config.CrossEntropy():
            return ce_loss
        case config.Policy() | config.Oracle():
            return partial(mtp_policy_loss, ratio=regime.ratio)
        case config.Occ():
            return partial(mtp_policy_loss, ratio=regime.ratio, apply_to=regime.apply_to)
        case _:
            return None
