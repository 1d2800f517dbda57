"""The responses of a batch while they are being sampled."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.rollout.engine import Response
from trainer.rollout.stopping import StopStrings

FULL_ENOUGH = 7 / 8
"""Share of the rows in a batch that must still run; with fewer, those that have ended are taken out, which costs about as much as one
token of each row that stays."""


class Responses:
    """What was drawn for every row, and which rows still run. A row that has ended may stay in the batch: it then counts no more."""

    def __init__(self, count: int, max_tokens: int, end_token: int, stop: StopStrings | None, device: torch.device):
        self._end_token = end_token
        self._stop = stop
        self._tokens = torch.zeros(count, max_tokens, dtype=torch.long, device=device)
        self._log_probs = torch.zeros(count, max_tokens, device=device)
        self._lengths = torch.full((count,), max_tokens, device=device)
        self._written = torch.zeros(count, dtype=torch.long, device=device)
        self._truncated = torch.ones(count, dtype=torch.bool, device=device)
        self._runs = torch.ones(count, dtype=torch.bool, device=device)
        self.rows = torch.arange(count, device=device)
        """[B] rows that are in the batch."""
        self.place = 0
        """Tokens that every row of the batch has."""
        self.running = count
        """How many of them have not ended."""

    def add(self, tokens: Tensor, log_probs: Tensor) -> None:
        """One more token [B] of every row in the batch, with its log-prob."""
        self._tokens[self.rows, self.place], self._log_probs[self.rows, self.place] = tokens, log_probs
        self.place += 1
        runs = self._runs & ~self._ends(tokens)
        running = int(runs.count_nonzero())
        if running < self.running:
            ended = self.rows[self._runs & ~runs]
            self._lengths[ended] = self.place
            self._truncated[ended] = False
        self._runs, self.running = runs, running if self.place < self._tokens.shape[1] else 0

    @property
    def runs(self) -> Tensor:
        """[B] true for the rows in the batch that have not ended."""
        return self._runs

    @property
    def places(self) -> Tensor:
        """[B] tokens that each row in the batch has, where they were added by `add_some`."""
        return self._written[self.rows]

    def begin_apart(self) -> None:
        """From now on rows get different numbers of tokens, by `add_some`."""
        self._written[:] = self.place

    def add_some(self, tokens: Tensor, log_probs: Tensor, counts: Tensor) -> Tensor:
        """Further tokens [B, T] of every row in the batch, with their log-probs.

        Args:
            tokens: the first `counts` of each row are meant.
            log_probs: [B, T].
            counts: [B] at least 1.

        Returns:
            [B] how many of them stand in the responses: fewer behind an end or the longest length, none in a row that had ended before.
        """
        places = self.places
        most = self._tokens.shape[1]
        counts = torch.minimum(counts, most - places).masked_fill(~self._runs, 0)
        columns = torch.arange(tokens.shape[1], device=tokens.device)
        meant = columns < counts[:, None]
        rows, at = meant.nonzero(as_tuple=True)
        self._tokens[self.rows[rows], places[rows] + at] = tokens[rows, at]
        self._log_probs[self.rows[rows], places[rows] + at] = log_probs[rows, at]
        ends = self._ends_among(tokens, meant, places)
        ended = ends.any(dim=1)
        counts = torch.where(ended, ends.long().argmax(dim=1) + 1, counts)
        self._written[self.rows] = places + counts
        self._lengths[self.rows[ended]] = (places + counts)[ended]
        self._truncated[self.rows[ended]] = False
        self._runs = self._runs & ~ended & (places + counts < most)
        self.running = int(self._runs.sum())
        return counts

    def drop_ended(self) -> Tensor:
        """Take the rows that have ended out of the batch; returns the places in the batch of those that stay."""
        kept = self._runs.nonzero().squeeze(-1)
        self.rows, self._runs = self.rows[kept], self._runs[kept]
        return kept

    def all(self) -> list[Response]:
        """Every row's response."""
        parts = (self._tokens, self._log_probs, self._lengths, self._truncated)
        return [
            Response(tokens[:length], log_probs[:length], truncated)
            for tokens, log_probs, length, truncated in zip(*(part.tolist() for part in parts), strict=True)
        ]

    def _ends_among(self, tokens: Tensor, meant: Tensor, places: Tensor) -> Tensor:
        """[B, T] true on tokens that end their response, of those that are meant."""
        ends = (tokens == self._end_token) & meant
        if self._stop is not None:
            for row, at in (self._stop.candidates(tokens) & meant & ~ends).nonzero().tolist():
                ends[row, at] = self._stop.completed(self._tokens[self.rows[row], : places[row] + at + 1].tolist())
        return ends

    def _ends(self, tokens: Tensor) -> Tensor:
        ends = tokens == self._end_token
        if self._stop is None:
            return ends
        for index in (self._runs & ~ends & self._stop.candidates(tokens)).nonzero().flatten().tolist():
            ends[index] = self._stop.completed(self._tokens[self.rows[index], : self.place].tolist())
        return ends
