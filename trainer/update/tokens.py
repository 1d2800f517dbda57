"""Logged completions token by token: their texts, what the policy and the first MTP depth made of each, and whether a draft would hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from trainer.models.joint import JointModel, Sequences
from trainer.rollout.engine import Response
from trainer.update.phase import Updater

LONGEST_CHARACTER = 4
"""Bytes, and so at most tokens, of a character in UTF-8."""
_BROKEN = "\N{REPLACEMENT CHARACTER}"
_DIGITS = 3


def by_token(
    updater: Updater,
    joint: JointModel,
    tokenizer: PreTrainedTokenizerBase,
    responses: Sequence[Response],
    sequences: Sequences,
    log_probs: torch.Tensor,
) -> list[dict[str, Any]]:
    """One mapping of lists per response, each with one entry per token, as the `completions` event holds them.

    Args:
        responses: N responses.
        sequences: their rows.
        log_probs: [N, T] of the main head, under the present parameters.
    """
    mtp, agrees = _drafts(updater, joint, sequences)
    having = joint.depth_masks(sequences)[0].tolist()
    main, heads, agreeing = log_probs.tolist(), mtp.tolist(), agrees.tolist()
    texts = Texts(tokenizer)
    return [
        {
            "texts": texts.of(response.tokens),
            "log_probs": _rounded(main[row][: len(response.tokens)]),
            "mtp_log_probs": _rounded(
                value if there else None
                for value, there, _ in zip(heads[row], having[row], response.tokens, strict=False)
            ),
            "agrees": [
                int(value) if there else None
                for value, there, _ in zip(agreeing[row], having[row], response.tokens, strict=False)
            ],
        }
        for row, response in enumerate(responses)
    ]


class Texts:
    """The text that each token adds, so that together they are the whole text, special tokens included.

    A token that ends no character adds nothing; the one that completes it adds all of it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self._tokenizer = tokenizer
        self._alone = lru_cache(maxsize=None)(self._decoded_alone)

    def of(self, tokens: Sequence[int]) -> list[str]:
        """One text per token."""
        result, open_tokens = [], list[int]()
        for token in tokens:
            text = self._alone(token)
            if open_tokens or _BROKEN in text:
                open_tokens.append(token)
                text = self._decode(open_tokens)
                if text.endswith(_BROKEN) and len(open_tokens) < LONGEST_CHARACTER:
                    text = ""
                else:
                    open_tokens = []
            result.append(text)
        if open_tokens:  # the response was cut inside a character
            result[-1] = self._decode(open_tokens)
        return result

    def _decoded_alone(self, token: int) -> str:
        # Behind itself, because some tokenizers leave out the space that a text begins with.
        return self._decode([token, token])[len(self._decode([token])) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _drafts(updater: Updater, joint: JointModel, sequences: Sequences) -> torch.Tensor:
    """[2, N, T] log-prob by MTP depth 1, and 1.0 where its most likely token is the main head's: each process makes its share."""

    def measure(piece: Sequences) -> torch.Tensor:
        with updater.accelerator.autocast():
            return torch.stack(joint.drafts(piece, updater.config.rollout.temperature))

    return updater.by_token(sequences, measure, 2)


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    """Sensible digits; None stays, and what is not finite has no place in a list of numbers."""
    return [None if value is None or not math.isfinite(value) else round(value, _DIGITS) for value in values]
