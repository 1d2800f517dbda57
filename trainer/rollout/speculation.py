"""Speculative sampling (arXiv 2211.17192): drafted tokens are accepted or replaced such that every token has the main head's distribution.

A draft x from q is taken with probability min(1, p(x) / q(x)); the first that is not is replaced by a token from max(0, p - q), normalised, and
what was drafted behind it is dropped. Where all are taken, one more token comes from the main head's next distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
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


FREE_TOKENS = {"cpu": 50, "cuda": 256}
"""Tokens whose arithmetic takes as long as what a layer costs whatever it reads (weights from memory, starts of kernels). A round number
for each kind of device, so that what is drawn does not depend on how busy the machine is. Never measured for GPUs."""

DRAWING, CHECKING, DRAFTING = 2, 8, 5
"""What is done once for a round, in layers' fixed costs: drawing one token of every row; verifying and sorting drafts; one depth."""

APART = 1.2
"""What a pass costs more whose rows read several tokens, each at places of its own."""


class Costs(NamedTuple):
    """What drafts of a model cost."""

    layers: int
    """Layers of the trunk."""
    depth: float
    """Parameters that one depth reads, as a share of those that the trunk reads; the lm_head counts for both."""
    device: str
    """Kind of device."""


def cost_of_draft(rows: int, depths: int, costs: Costs) -> float:
    """What a round with drafts costs, in rounds without: by a fixed model, as measured on a processor with 3 and 24 layers, 1 to 256 rows, 1
    and 2 depths (docs/results/rollout.md)."""
    share = rows / FREE_TOKENS.get(costs.device, FREE_TOKENS["cuda"])
    plain = (costs.layers + DRAWING) * (1 + share)
    verifying = APART * costs.layers * (1 + (depths + 1) * share) + CHECKING
    drafting = depths * (DRAFTING + costs.depth * costs.layers * 2 * depths * share)
    return (verifying + drafting) / plain


def pays(rows: int, acceptance: Sequence[float], costs: Costs) -> bool:
    """Whether a draft is expected to bring tokens faster than drawing one by one.

    Args:
        rows: sequences in the batch.
        acceptance: share of the tokens of each depth that are accepted where all before them are.
        costs: of the model.
    """
    return 1 + sum(accumulate(acceptance, mul)) > cost_of_draft(rows, len(acceptance), costs)


LENT, MOST_LENT = 0.02, 12.0
"""What drafts may lose before they are given up: this share of the longest response, and never more than so many of its tokens."""


class Account:
    """What drafts have cost, against what they brought, in rounds without drafts. What they gain does not pay for a later loss: heads that were
    good may have come to a part of the responses that they know nothing of."""

    def __init__(self, costs: Costs, depths: int, max_tokens: int):
        """`max_tokens`: longest response."""
        self._costs, self._depths = costs, depths
        self._lent = min(LENT * max_tokens, MOST_LENT)
        self._balance = 0.0

    def book(self, rows: int, tokens: float) -> bool:
        """A round with drafts gave each of the rows so many tokens, on average. Returns whether to go on."""
        self._balance = min(0.0, self._balance + tokens - cost_of_draft(rows, self._depths, self._costs))
        return self._balance > -self._lent
