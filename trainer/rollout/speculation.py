"""Speculative sampling (arXiv 2211.17192): drafted tokens are accepted or replaced such that every token has the main head's distribution.

A draft x from q is taken with probability min(1, p(x) / q(x)); the first that is not is replaced by a token from max(0, p - q), normalised, and
what was drafted behind it is dropped. Where all are taken, one more token comes from the main head's next distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trainer.rollout.drawing import draw


class Verified(NamedTuple):
    """What became of a draft of K tokens in each of B rows."""

    tokens: Tensor
    """[B, K + 1] the accepted ones, one from the main head, then what was dropped."""
    accepted: Tensor
    """[B] how many drafted tokens were accepted, 0 to K."""


def verify(p: Tensor, q: Tensor, drafted: Tensor, decide: Tensor, replace: Tensor) -> Verified:
    """Accept the longest good beginning of each draft and put a token of the main head behind it.

    Args:
        p: [B, K + 1, V] what tokens are to be distributed as; need not be normalised.
        q: [B, K, V] what the drafts were drawn from; need not be normalised.
        drafted: [B, K] the drafts.
        decide: [B, K] independent numbers in [0, 1).
        replace: [B, K + 1] others, with which a token of the main head is drawn.
    """
    p, q = (one / one.sum(dim=-1, keepdim=True) for one in (p, q))
    wanted, had = (one.gather(-1, drafted[..., None]).squeeze(-1) for one in (p[:, :-1], q))
    accepted = (decide * had < wanted).long().cumprod(dim=-1).sum(dim=-1)
    rows = torch.arange(len(p), device=p.device)
    none = q.new_zeros(len(q), 1, q.shape[-1])  # behind a whole draft nothing was drawn before
    left = (p[rows, accepted] - torch.cat([q, none], dim=1)[rows, accepted]).clamp(min=0)
    # Nothing is left where p and q differ by rounding alone.
    left = torch.where(left.sum(dim=-1, keepdim=True) > 0, left, p[rows, accepted])
    own = draw(left, replace[rows, accepted])
    tokens = torch.cat([drafted, drafted.new_zeros(len(drafted), 1)], dim=1)
    return Verified(tokens.scatter(1, accepted[:, None], own[:, None]), accepted)


FREE_TOKENS = {"cpu": 32, "cuda": 256}
"""Tokens whose arithmetic takes as long as what a forward pass costs whatever it reads (weights from memory, starts of kernels). A round number
for each kind of device, so that what is drawn does not depend on how busy the machine is."""


BOOKKEEPING = 3
"""Layers whose fixed cost a round of drawing, verifying and sorting drafts takes: about what it was for 3 layers on a processor."""


class Costs(NamedTuple):
    """What drafts of a model cost."""

    layers: int
    """Layers of the trunk."""
    depth: float
    """Parameters that one depth reads, as a share of those that the trunk reads; the lm_head counts for both."""
    device: str
    """Kind of device."""


def pays(rows: int, acceptance: list[float], costs: Costs) -> bool:
    """Whether a draft is expected to bring tokens faster than drawing one by one, by a fixed model of costs.

    A pass over N tokens costs FREE_TOKENS + N, one depth its share of that, and each round BOOKKEEPING.

    Args:
        rows: sequences in the batch.
        acceptance: shares of drafts whose first token is accepted, whose first two are, and so on.
        costs: of the model.
    """
    free, depths = FREE_TOKENS.get(costs.device, FREE_TOKENS["cuda"]), len(acceptance)
    drafting = depths * costs.depth * (free + 2 * depths * rows)
    verifying = free + (depths + 1) * rows + free * BOOKKEEPING / (costs.layers + 1)
    return (1 + sum(acceptance)) * (free + rows) > drafting + verifying
