"""A mini-batch, with everything that must be known of the whole before it is cut into micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.models.joint import JointModel, Sequences
from trainer.models.log_probs import Acceptance
from trainer.objectives.reduction import Reduction, token_mean
from trainer.objectives.regimes import MtpBatch
from trainer.update.pieces import Piece


class OldLogProbs(NamedTuple):
    """Log-probs under the parameters that started the phase."""

    main: Tensor
    """[B, T]"""
    mtp: Tensor
    """[K, B, T]; K is 0 in regime off."""
    accepted: Sequence[Sequence[Acceptance]] = ()
    """Of this process's pieces of the first mini-batch: draft acceptance of every depth. Empty where it was not asked for."""


class MiniBatch(NamedTuple):
    """Some sequences of a phase. Weights and totals are those of the whole mini-batch, also in a micro-batch cut from it."""

    sequences: Sequences
    advantages: Tensor
    """[B]"""
    old: OldLogProbs
    weights: Tensor
    """[B, T] the algorithm's reduction."""
    depth_masks: Tensor
    """[K, B, T] response tokens that each depth predicts."""
    depth_weights: Tensor
    """[K, B, T] the algorithm's reduction over each depth's tokens."""
    depth_token_weights: Tensor
    """[K, B, T] token mean over each depth's tokens."""
    tokens: int
    """Counted response tokens of the whole mini-batch."""
    is_idle: bool = False
    """As in Piece."""

    @classmethod
    def of(
        cls, sequences: Sequences, advantages: Tensor, old: OldLogProbs, joint: JointModel, reduction: Reduction
    ) -> MiniBatch:
        """A whole mini-batch."""
        masks = joint.depth_masks(sequences)[: len(old.mtp)]
        return cls(
            sequences=sequences,
            advantages=advantages,
            old=old,
            weights=reduction(sequences.mask),
            depth_masks=masks,
            depth_weights=_stacked(reduction, masks),
            depth_token_weights=_stacked(token_mean, masks),
            tokens=int(sequences.mask.sum()),
        )

    def piece(self, piece: Piece) -> MiniBatch:
        """What one forward pass takes."""
        part, width = self.rows(piece.rows), piece.responses
        return part._replace(
            sequences=piece.of(self.sequences),
            old=OldLogProbs(part.old.main[:, :width], part.old.mtp[..., :width]),
            weights=part.weights[:, :width],
            depth_masks=part.depth_masks[..., :width] & (not piece.is_idle),
            depth_weights=part.depth_weights[..., :width],
            depth_token_weights=part.depth_token_weights[..., :width],
            is_idle=piece.is_idle,
        )

    def rows(self, rows: slice | list[int]) -> MiniBatch:
        """Some of the sequences, with the weights that they have in the whole."""
        return MiniBatch(
            sequences=self.sequences.rows(rows),
            advantages=self.advantages[rows],
            old=OldLogProbs(self.old.main[rows], self.old.mtp[:, rows]),
            weights=self.weights[rows],
            depth_masks=self.depth_masks[:, rows],
            depth_weights=self.depth_weights[:, rows],
            depth_token_weights=self.depth_token_weights[:, rows],
            tokens=self.tokens,
        )

    def without_mtp(self) -> MiniBatch:
        """The same sequences for a regime that computes no MTP log-probs."""
        return self._replace(
            old=OldLogProbs(self.old.main, self.old.mtp[:0]),
            depth_masks=self.depth_masks[:0],
            depth_weights=self.depth_weights[:0],
            depth_token_weights=self.depth_token_weights[:0],
        )

    def depths(self, mtp_log_probs: Tensor) -> list[MtpBatch]:
        """What each depth's loss is made of, given its log-probs [K, B, T]."""
        return [
            MtpBatch(
                mtp_log_probs=mtp_log_probs[k],
                old_log_probs=self.old.main,
                old_mtp_log_probs=self.old.mtp[k],
                advantages=self.advantages,
                mask=self.depth_masks[k],
                weights=self.depth_weights[k],
                token_weights=self.depth_token_weights[k],
            )
            for k in range(len(self.depth_masks))
        ]


def _stacked(reduction: Reduction, masks: Tensor) -> Tensor:
    return torch.stack([reduction(mask) for mask in masks]) if len(masks) else masks.double()
