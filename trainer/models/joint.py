"""A causal language model together with its MTP heads, as training sees it.

Sequences are padded on the right (prompt, response, padding), so that causal attention alone keeps padding out and no mask can be
forgotten. Log-probs are taken at response tokens only and come back as [B, T], aligned token by token for all heads: the token at
place t of the whole sequence is predicted by the main head from place t - 1 and by depth k from place t - k - 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.masking_utils import create_causal_mask

from trainer.models.layouts import ATTACHED, Layout
from trainer.models.log_probs import Acceptance, acceptance, divergences, drafts, token_log_probs
from trainer.models.mtp import MtpDepth
from trainer.models.recompute import recompute
from trainer.models.stored import Stored

Reach = Literal["all", "trunk", "heads"]
"""Where an MTP loss's gradient may go: everywhere; only trunk, embeddings and lm_head; only the heads' own parameters."""


class Sequences(NamedTuple):
    """B sampled sequences, the model's input."""

    tokens: Tensor
    """[B, S] prompt, then response, then padding."""
    prompt_lengths: Tensor
    """[B] tokens of the prompt, at least 1."""
    mask: Tensor
    """[B, T] true on response tokens; T is the longest response."""

    def rows(self, index: Tensor | slice | list[int]) -> Sequences:
        """Some of the sequences."""
        return Sequences(*(part[index] for part in self))

    def trimmed(self, length: int, responses: int) -> Sequences:
        """Without the padding behind so many tokens, of which at most so many are a response."""
        return Sequences(self.tokens[:, :length], self.prompt_lengths, self.mask[:, :responses])


class Predictions(NamedTuple):
    """Log-probs of the response tokens; 0 outside the masks."""

    log_probs: Tensor
    """[B, T] main head."""
    entropy: Tensor
    """[B, T] main head, nats, detached."""
    mtp_log_probs: dict[Reach, Tensor]
    """Per Reach: [K, B, T]."""
    divergences: Tensor | None = None
    """[K, B, T] KL(main || head) in nats, with gradient to the heads alone, 0 outside the depths' masks; None where it was not asked for."""
    accepted: list[Acceptance] | None = None
    """[K] draft acceptance over the response tokens; None where it was not asked for."""

    @property
    def mtp(self) -> Tensor:
        """[K, B, T] of whichever reach: they differ only in where gradients go. K is 0 where none was asked for."""
        return next(iter(self.mtp_log_probs.values()), self.log_probs.new_zeros(0, *self.log_probs.shape))


class JointModel(nn.Module):
    """A transformers causal LM (`trunk`) and K MTP depths (`mtp`)."""

    def __init__(
        self, trunk: PreTrainedModel, mtp: list[MtpDepth], layout: Layout = ATTACHED, stored: Stored | None = None
    ):
        """Put trunk and heads together.

        Args:
            trunk: the causal LM.
            mtp: its depths, the first first.
            layout: under which names a checkpoint holds them.
            stored: the checkpoint that they were loaded from.
        """
        super().__init__()
        self.trunk = trunk
        self.mtp = nn.ModuleList(mtp)
        self.layout = layout
        self.stored = stored

    @property
    def depths(self) -> int:
        """K."""
        return len(self.mtp)

    @property
    def blocks(self) -> list[nn.Module]:
        """What most of the parameters and most of the work is in: the trunk's blocks, then the depths."""
        return [*self.trunk.get_decoder().layers, *self.mtp]

    def recompute_blocks(self) -> None:
        """Keep only the inputs of every block for the backward pass, which then makes the rest again: less memory, the same gradients."""
        for block in self.blocks:
            recompute(block)

    def depth_masks(self, batch: Sequences) -> Tensor:
        """[K, B, T] true on response tokens that each depth predicts: depth k has nothing to see before place k + 1."""
        places = _places(batch)
        return torch.stack([batch.mask & (places >= k + 1) for k in range(1, self.depths + 1)])

    def forward(
        self,
        batch: Sequences,
        temperature: float,
        mtp: tuple[Reach, ...] = (),
        *,
        diverging: bool = False,
        drafting: bool = False,
    ) -> Predictions:
        """Log-probs of the main head, and of the MTP heads once for each reach named in `mtp`; with `diverging` (and reach "heads") also how
        far the distribution of every MTP head is from the main head's, with `drafting` also the acceptance of their drafts."""
        hidden, read = self._trunk_hidden(batch.tokens)
        places, lm_head = _places(batch), self.trunk.get_output_embeddings().weight
        main = _at(hidden, batch, places - 1, batch.mask, lm_head, temperature)
        mtp_log_probs: dict[Reach, Tensor] = {}
        apart = []
        of_depths: list[Tensor] = []
        for reach in mtp:
            shared = lm_head.detach() if reach == "heads" else lm_head
            depth_log_probs = []
            of_depths = list(self._mtp_hidden(read, batch.tokens, reach))
            for k, (states, mask) in enumerate(zip(of_depths, self.depth_masks(batch), strict=True), start=1):
                depth_log_probs.append(_at(states, batch, places - k - 1, mask, shared, temperature)[0])
                if diverging and reach == "heads":
                    both = _gather(hidden, places - 1)[mask], _gather(states, places - k - 1)[mask]
                    zeros = torch.zeros(mask.shape, device=hidden.device)
                    apart.append(zeros.masked_scatter(mask, divergences(*both, lm_head, temperature)))
            mtp_log_probs[reach] = torch.stack(depth_log_probs)
        accepted = None
        if drafting:
            with torch.no_grad():
                of_depths = of_depths or list(self._mtp_hidden(read, batch.tokens, "all"))
                accepted = self._accepted(batch, hidden, of_depths, temperature)
        return Predictions(*main, mtp_log_probs, torch.stack(apart) if apart else None, accepted)

    @torch.no_grad()
    def draft_acceptance(self, batch: Sequences, temperature: float) -> list[Acceptance]:
        """Per depth, over the response tokens, given that the tokens between are those of the sequence."""
        hidden, read = self._trunk_hidden(batch.tokens)
        return self._accepted(batch, hidden, list(self._mtp_hidden(read, batch.tokens, "all")), temperature)

    @torch.no_grad()
    def drafts(self, batch: Sequences, temperature: float) -> tuple[Tensor, Tensor]:
        """[B, T] of depth 1: its log-prob of every response token, and 1.0 where a greedy draft would be taken; 0 where it predicts none."""
        hidden, read = self._trunk_hidden(batch.tokens)
        places, lm_head = _places(batch), self.trunk.get_output_embeddings().weight
        states, mask = next(self._mtp_hidden(read, batch.tokens, "all")), self.depth_masks(batch)[0]
        targets = _gather(batch.tokens, places)[mask]
        main, mtp = _gather(hidden, places - 1)[mask], _gather(states, places - 2)[mask]
        zeros = torch.zeros(mask.shape, device=hidden.device)
        log_probs, agrees = drafts(main, mtp, lm_head, targets, temperature)
        return zeros.masked_scatter(mask, log_probs), zeros.masked_scatter(mask, agrees)

    def read_by_heads(self, hidden: Tensor) -> Tensor:
        """What the first depth reads, from the trunk's states after their final norm, up to a factor that its own norm takes out again.

        For drafts, which cost nothing but acceptance where a weight of the norm is close to 0.
        """
        return hidden / self.trunk.get_decoder().norm.weight if self.layout.reads_unnormed else hidden

    def _accepted(
        self, batch: Sequences, hidden: Tensor, of_depths: list[Tensor], temperature: float
    ) -> list[Acceptance]:
        places, lm_head = _places(batch), self.trunk.get_output_embeddings().weight
        result = []
        for k, (states, mask) in enumerate(zip(of_depths, self.depth_masks(batch), strict=True), start=1):
            main_states, mtp_states = _gather(hidden, places - 1)[mask], _gather(states, places - k - 1)[mask]
            result.append(acceptance(main_states, mtp_states, lm_head, temperature))
        return result

    def _trunk_hidden(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S, H] what the lm_head reads, and what the first depth reads: most layouts the same, some the states before the final norm."""
        decoder = self.trunk.get_decoder()
        unnormed: list[Tensor] = []
        listening = decoder.norm.register_forward_pre_hook(lambda _, inputs: unnormed.append(inputs[0]))
        try:
            hidden = decoder(input_ids=tokens, use_cache=False).last_hidden_state
        finally:
            listening.remove()
        return hidden, unnormed[-1] if self.layout.reads_unnormed else hidden

    def _mtp_hidden(self, hidden: Tensor, tokens: Tensor, reach: Reach) -> Iterator[Tensor]:
        """[B, S, H] normed hidden states of depth 1, 2, ...; at place i of depth k stands the state that predicts x_{i+k+1}."""
        embeddings = self.trunk.get_input_embeddings()(tokens)
        if reach == "heads":
            hidden, embeddings = hidden.detach(), embeddings.detach()
        block_inputs = self._block_inputs(hidden)
        for k, depth in enumerate(self.mtp, start=1):
            # The last k places wrap around; no response token is predicted from them, and attention is causal.
            ahead = embeddings.roll(-k, dims=1)
            hidden, normed = depth(hidden, ahead, frozen=reach == "trunk", **block_inputs)
            yield normed
            if depth.chains_normed:
                hidden = normed

    def _block_inputs(self, hidden: Tensor) -> dict[str, Any]:
        decoder = self.trunk.get_decoder()
        position_ids = torch.arange(hidden.shape[1], device=hidden.device)[None]
        mask = create_causal_mask(
            config=self.trunk.config,
            inputs_embeds=hidden,
            attention_mask=None,
            past_key_values=None,
            position_ids=position_ids,
        )
        return {
            "attention_mask": mask,
            "position_ids": position_ids,
            "position_embeddings": decoder.rotary_emb(hidden, position_ids),
        }


def _places(batch: Sequences) -> Tensor:
    """[B, T] place of each response token in its whole sequence."""
    return batch.prompt_lengths[:, None] + torch.arange(batch.mask.shape[1], device=batch.mask.device)


def _gather(values: Tensor, places: Tensor) -> Tensor:
    """[B, T, ...] values [B, S, ...] at the places; places outside the sequence are masked by the caller."""
    rows = torch.arange(values.shape[0], device=values.device)[:, None]
    return values[rows, places.clamp(0, values.shape[1] - 1)]


def _at(
    hidden: Tensor, batch: Sequences, sources: Tensor, mask: Tensor, lm_head: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies [B, T] of the response tokens from hidden states at `sources`; 0 where the mask is false."""
    targets = _gather(batch.tokens, _places(batch))[mask]
    counted = token_log_probs(_gather(hidden, sources)[mask], lm_head, targets, temperature)
    zeros = torch.zeros(mask.shape, device=hidden.device)
    return zeros.masked_scatter(mask, counted.log_probs), zeros.masked_scatter(mask, counted.entropy)
