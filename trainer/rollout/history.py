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
from trainer.rollout.drawing import allowed, log_probs_of
from trainer.rollout.engine import Drafted, Sampling
from trainer.rollout.responses import Responses
from trainer.rollout.speculation import Costs, pays, verify

TRIED = 64
"""Drafts after which their acceptance is believed. Before, all of them are hoped to be accepted."""

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
        """Whether drafts that are all accepted would pay with the rows that are left."""
        return pays(len(self._tokens), [1.0] * self._joint.depths, self._costs)

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
        while responses.running:
            if responses.running <= len(column) * 7 / 8:
                kept = responses.drop_ended()
                decoder.select(kept)
                drafter.select(kept)
                column = column[kept]
            if drafts >= TRIED and not always:
                shares = [count / drafts for count in accepted]
                drafting = drafting and pays(len(column), shares, self._costs)
            rows, at = responses.rows[:, None], responses.places[:, None] + places
            at = at.clamp(max=self._sampling.max_tokens - 1)  # what lies behind the longest length is dropped
            reach = depths if drafting else 0
            draft = drafter.draft(column, drawing[rows, at[:, :depths]], self._sampling) if drafting else None
            columns = column[:, None] + places[: reach + 1]
            read = drafter.tokens.gather(1, columns)
            states = decoder.extend(read, columns)
            drafter.hidden.scatter_(1, columns[..., None].expand_as(states), states.to(drafter.hidden.dtype))
            log_probs = log_probs_of(full_logits(states, joint.trunk.get_output_embeddings().weight), self._sampling)
            probs = allowed(log_probs, self._sampling)
            empty = probs[:, :0]
            checked = verify(
                probs,
                draft.probs if draft else empty,
                draft.tokens if draft else read[:, :0],
                deciding[rows, at[:, :reach]],
                own[rows, at[:, : reach + 1]],
            )
            run = responses.runs
            if draft:
                drafts += int(run.sum())
                for place in range(depths):
                    accepted[place] += int((run & (checked.accepted > place)).sum())
            scores = log_probs.gather(-1, checked.tokens[..., None]).squeeze(-1)
            counts = responses.add_some(checked.tokens, scores, checked.accepted + 1)
            drafter.tokens.scatter_(1, columns + 1, checked.tokens)
            column = column + counts
        return Drafted(drafts, tuple(accepted) if drafts else ())


def costs_of(joint: JointModel) -> Costs:
    """What drafts of this model cost."""
    lm_head, layers = joint.trunk.get_output_embeddings().weight, joint.trunk.get_decoder().layers
    trunk = sum(parameter.numel() for parameter in layers.parameters()) + lm_head.numel()
    depth = sum(parameter.numel() for parameter in joint.mtp.parameters()) / joint.depths + lm_head.numel()
    return Costs(len(layers), depth / trunk, lm_head.device.type)
