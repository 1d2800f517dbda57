"""Where a response ends: at the end token, or with the token that completes a stop string."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

_BROKEN = "\N{REPLACEMENT CHARACTER}"


class StopStrings:
    """Texts that end a response. Text is looked at only where the newest token could be the one that completes such a text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: Sequence[str], vocabulary: int):
        """`vocabulary`: tokens that the model may draw, some of which the tokenizer may not know."""
        self.stop = tuple(stop)
        self._tokenizer = tokenizer
        self._tail = (
            max(len(text.encode()) for text in self.stop) + 1
        )  # a token that adds no byte is rare: see `completed`
        last = {text[-1] for text in self.stop}
        known = min(vocabulary, len(tokenizer))
        texts = tokenizer.batch_decode([[token] for token in range(known)])
        # A piece of a character may be the last piece of the last character.
        self._may_complete = torch.zeros(vocabulary, dtype=torch.bool)
        self._may_complete[:known] = torch.tensor([_BROKEN in text or not last.isdisjoint(text) for text in texts])

    def candidates(self, tokens: Tensor) -> Tensor:
        """[B] true where the token could complete a stop string."""
        self._may_complete = self._may_complete.to(tokens.device)
        return self._may_complete[tokens]

    def completed(self, tokens: Sequence[int]) -> bool:
        """Whether a stop string ends within the last of these tokens of a response, none of which did so before."""
        tail, count = list(tokens), self._tail
        if len(tail) > 2 * count:
            tail = tail[-2 * count :]
        text = self._tokenizer.decode(tail, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return any(stop in text for stop in self.stop)
