"""Sampling that goes on with drafts: what was read token by token is handed to the MTP depths, and rows advance by what is accepted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from trainer.models.joint import JointModel
from trainer.models.log_probs import full_logits
from trainer.rollout.decoding import Padded, PreallocatedDecoder
from trainer.rollout.drafting import Drafter
from trainer.rollout.drawing import allowed, draw, log_probs_of
from trainer.rollout.engine import Drafted, Sampling
from trainer.rollout.responses import FULL_ENOUGH, Responses
from trainer.rollout.speculation import Account, Costs, pays, verify

Numbers = Callable[[str], Tensor]
"""[rows, max_tokens] numbers in [0, 1) from a stream of that name."""


class History:
    """Tokens and hidden states of every row in the batch, by column of the cache, until drafts begin."""

    def __init__(self, joint: JointModel, decoder: PreallocatedDecoder, sampling: Sampling, most: int):
        """`decoder` reads with the trunk of `joint`, at most `most` columns."""
        self._joint, self._decoder, self._sampling, self._most = joint, decoder, sampling, most
        self._costs = costs_of(joint)
        self._tokens = self._hidden = torch.empty(0)

    def read(self, prompts: Padded) -> Tensor:
        """[B, H] normed hidden states of the prompts' last tokens."""
        self._tokens, self._hidden = prompts.tokens, self._decoder.read_all(prompts)
        return self._hidden[:, -1]

    def repeat(self, times: int) -> None:
        """Put every row there so many times, the copies side by side."""
        self._tokens, self._hidden = (one.repeat_interleave(times, dim=0) for one in (self._tokens, self._hidden))

    def select(self, rows: Tensor) -> None:
        """Keep some rows."""
        self._tokens, self._hidden = self._tokens[rows], self._hidden[rows]

    def add(self, tokens: Tensor, hidden: Tensor) -> None:
        """One more token [B] of every row was read, with hidden states [B, H]."""
        column = self._decoder.cache.columns.before
        if column >= self._hidden.shape[1]:
            room = min(column // 2 + 64, self._most - column)
            self._tokens, self._hidden = pad(self._tokens, (0, room)), pad(self._hidden, (0, 0, 0, room))
        self._tokens[:, column], self._hidden[:, column] = tokens, hidden

    def may_pay(self) -> bool:
        """Whether drafts would pay with the rows that are left: with the acceptance that is expected, or else if all were accepted."""
        return pays(len(self._tokens), self._sampling.acceptance or [1.0] * self._joint.depths, self._costs)

    def speculate(self, last: Tensor, responses: Responses, numbers: Numbers, *, always: bool) -> Drafted:
        """Sample all that is left of the responses.

        Args:
            last: [B] each row's newest token, which was not read yet.
            responses: what was sampled so far, the same number of tokens in every row.
            numbers: what is drawn with.
            always: draft also where it does not pay.
        """
        joint, decoder, depths = self._joint, self._decoder, self._joint.depths
        places = torch.arange(depths + 1, device=last.device)
        own, drawing, deciding = (numbers(name) for name in ("prompt", "draft", "decide"))
        column = torch.full_like(last, decoder.cache.columns.used)
        room = self._most - decoder.cache.columns.used
        tokens = pad(self._tokens[:, : decoder.cache.columns.used], (0, room + depths))
        hidden = pad(self._hidden[:, : decoder.cache.columns.used], (0, 0, 0, room))
        tokens.scatter_(1, column[:, None], last[:, None])
        drafter = Drafter(joint, tokens, hidden, decoder.starts, column, self._most)
        responses.begin_apart()
        drafts, accepted, drafting = 0, [0] * depths, True
        account = Account(self._costs, depths, self._sampling.max_tokens)
        while responses.running and drafting:
            if responses.running <= len(column) * FULL_ENOUGH:
                kept = responses.drop_ended()
                decoder.select(kept)
                drafter.select(kept)
                column = column[kept]
            rows, at = responses.rows[:, None], responses.places[:, None] + places
            at = at.clamp(max=self._sampling.max_tokens - 1)  # what lies behind the longest length is dropped
            draft = drafter.draft(column, drawing[rows, at[:, :-1]], self._sampling)
            columns = column[:, None] + places
            states = decoder.extend(drafter.tokens.gather(1, columns), columns)
            drafter.hidden.scatter_(1, columns[..., None].expand_as(states), states.to(drafter.hidden.dtype))
            log_probs = self._log_probs(states)
            probs = allowed(log_probs, self._sampling)
            checked = verify(probs, draft.probs, draft.tokens, deciding[rows, at[:, :-1]], own[rows, at])
            run, running = responses.runs, responses.running
            reached = (run[:, None] & (checked.accepted[:, None] > places[:-1])).sum(dim=0).tolist()
            drafts, accepted = drafts + running, [sum(both) for both in zip(accepted, reached, strict=True)]
            drafting = account.book(len(column), 1 + sum(reached) / running) or always
            scores = log_probs.gather(-1, checked.tokens[..., None]).squeeze(-1)
            counts = responses.add_some(checked.tokens, scores, checked.accepted + 1)
            drafter.tokens.scatter_(1, columns + 1, checked.tokens)
            column = column + counts
        newest = drafter.tokens.gather(1, column[:, None]).squeeze(1)
        self._one_by_one(newest, column, responses, own)
        return Drafted(drafts, tuple(accepted))

    def _one_by_one(self, newest: Tensor, column: Tensor, responses: Responses, numbers: Tensor) -> None:
        """Sample what is left without drafts: `newest` [B] tokens, which were not read yet, stand at columns [B]."""
        one = torch.ones_like(column)
        while responses.running:
            if responses.running <= len(column) * FULL_ENOUGH:
                kept = responses.drop_ended()
                self._decoder.select(kept)
                newest, column, one = newest[kept], column[kept], one[kept]
            log_probs = self._log_probs(self._decoder.step_apart(newest, column))
            at = responses.places.clamp(max=self._sampling.max_tokens - 1)  # rows that have ended draw what is dropped
            newest = draw(allowed(log_probs, self._sampling), numbers[responses.rows, at])
            scores = log_probs.gather(-1, newest[:, None])
            column = column + responses.add_some(newest[:, None], scores, one)

    def _log_probs(self, states: Tensor) -> Tensor:
        return log_probs_of(full_logits(states, self._joint.trunk.get_output_embeddings().weight), self._sampling)


def costs_of(joint: JointModel) -> Costs:
    """What drafts of this model cost."""
    lm_head, layers = joint.trunk.get_output_embeddings().weight, joint.trunk.get_decoder().layers
    trunk = sum(parameter.numel() for parameter in layers.parameters()) + lm_head.numel()
    depth = sum(parameter.numel() for parameter in joint.mtp.parameters()) / joint.depths + lm_head.numel()
    return Costs(len(layers), depth / trunk, lm_head.device.type)
