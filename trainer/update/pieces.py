"""How the sequences of a mini-batch are divided among the processes, and cut into forward passes that fit the memory.

micro_batch_sequences   every process has a stretch of neighbours, cut into pieces of so many sequences
micro_batch_tokens      sorted by length and dealt to the processes in turn, then packed into pieces of at most so many tokens

A piece is as wide as its own longest sequence. Weights and totals are those of the whole mini-batch, so that no cut changes the update.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from trainer.config import Update
from trainer.models.joint import Sequences


class Size(NamedTuple):
    """Tokens of one sequence."""

    length: int
    """Prompt and response, as far as it counts."""
    response: int
    """Places of the response up to the last that counts."""


class Piece(NamedTuple):
    """Some sequences for one forward pass."""

    rows: list[int]
    length: int
    """Tokens of the longest, padding of the others included."""
    responses: int
    """Response tokens of the longest response."""
    is_idle: bool = False
    """No token of it counts: it is there because another process has a piece more, and all must make the same passes."""

    @classmethod
    def around(cls, rows: list[int], sizes: list[Size]) -> Piece:
        """The rows, as wide as the longest of them; at least one token, because some models take no fewer."""
        length = max(1, *(sizes[row].length for row in rows))
        return cls(rows, length, max(1, *(sizes[row].response for row in rows)))

    def of(self, sequences: Sequences) -> Sequences:
        """Its part of the sequences that were cut."""
        part = sequences.rows(self.rows).trimmed(self.length, self.responses)
        return part._replace(mask=part.mask & (not self.is_idle))


def sizes_of(sequences: Sequences) -> list[Size]:
    """Of every sequence."""
    width = sequences.mask.shape[1]
    places = sequences.mask.new_ones(width).cumsum(0)
    responses = (sequences.mask * places).amax(dim=1) if width else sequences.prompt_lengths * 0
    return [
        Size(prompt + response, response)
        for prompt, response in zip(sequences.prompt_lengths.tolist(), responses.tolist(), strict=True)
    ]


IDLE = Piece([0], 1, 1, is_idle=True)


def cut(sizes: list[Size], update: Update, processes: int, *, in_step: bool = False) -> list[list[Piece]]:
    """The pieces of every process; none where there are too few sequences.

    Args:
        sizes: of all sequences.
        update: how much goes through the model at once.
        processes: how many there are.
        in_step: all must have equally many pieces; who has fewer gets idle ones.
    """
    shares = _dealt(sizes, processes) if update.micro_batch_tokens else _stretches(len(sizes), processes)
    pieces = [[Piece.around(rows, sizes) for rows in _packed(share, sizes, update)] for share in shares]
    most = max(map(len, pieces))
    return [[*part, *[IDLE] * (most - len(part))] for part in pieces] if in_step else pieces


def _stretches(count: int, processes: int) -> list[list[int]]:
    return [list(range(count * rank // processes, count * (rank + 1) // processes)) for rank in range(processes)]


def _dealt(sizes: list[Size], processes: int) -> list[list[int]]:
    by_length = sorted(range(len(sizes)), key=lambda row: sizes[row], reverse=True)
    return [by_length[rank::processes] for rank in range(processes)]


def _packed(rows: list[int], sizes: list[Size], update: Update) -> Iterator[list[int]]:
    if update.micro_batch_tokens is None:
        most = update.micro_batch_sequences or max(len(rows), 1)
        yield from (rows[start : start + most] for start in range(0, len(rows), most))
        return
    piece: list[int] = []
    for row in rows:  # the longest first, which is how wide the piece is
        if piece and (len(piece) + 1) * sizes[piece[0]].length > update.micro_batch_tokens:
            yield piece
            piece = []
        piece.append(row)
    if piece:
        yield piece
