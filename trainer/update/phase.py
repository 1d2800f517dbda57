"""The update phase of one step: for each mini-batch, log-probs -> c_hat, v2_hat -> lambda -> losses -> AdamW."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from trainer.config import RunConfig
from trainer.models.joint import JointModel, Reach, Sequences
from trainer.objectives.algorithms import ALGORITHMS
from trainer.objectives.coefficient import Sums
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.collect import Experience
from trainer.update.exact import exact_sums, shared_gradients
from trainer.update.finite import check_gradients, check_losses
from trainer.update.losses import Losses, reaches
from trainer.update.measure import Metrics, References, ReferenceSums, add_sums, share
from trainer.update.minibatch import MiniBatch, OldLogProbs


class Updater:
    """Model, optimiser, learning-rate schedule and coefficient: what lives across phases."""

    def __init__(
        self,
        config: RunConfig,
        model: JointModel,
        optimizer: Optimizer,
        tracker: CoefficientTracker,
        accelerator: Accelerator,
    ):
        self.config = config
        self.model = model
        self.optimizer = optimizer
        self.tracker = tracker
        self.accelerator = accelerator
        self.updates = 0
        """Optimiser steps made so far."""
        self.joint: JointModel = accelerator.unwrap_model(model)
        """The model without what accelerate wraps around it."""
        self._reaches = reaches(config)
        self._losses = Losses(config)
        self._references = References(config, is_exact=tracker.is_exact)
        self._temperature = config.rollout.temperature

    @torch.no_grad()
    def old_log_probs(self, sequences: Sequences, mtp: tuple[Reach, ...] | None = None) -> OldLogProbs:
        """Log-probs under the present parameters, in the pieces that the update will use, so that the two agree exactly.

        Args:
            sequences: what the phase trains on.
            mtp: the MTP forward pass to make; None: the one that the regime trains with, which is none in regime off.
        """
        outputs = []
        for rows in self._mini_batches(len(sequences.tokens)):
            size = self.config.update.micro_batch_sequences or rows.stop - rows.start
            for start in range(rows.start, rows.stop, size):
                piece = sequences.rows(slice(start, min(start + size, rows.stop)))
                outputs.append(self.model(piece, self._temperature, self._reaches[:1] if mtp is None else mtp))
        main = torch.cat([output.log_probs for output in outputs])
        return OldLogProbs(main, torch.cat([output.mtp for output in outputs], dim=1))

    def run(self, experience: Experience, old: OldLogProbs) -> Iterator[Metrics]:
        """Make every optimiser step of the phase, yielding each one's metrics.

        Raises:
            NotFiniteError: a log-prob, a loss or a gradient is not finite; the parameters are those before that optimiser step.
        """
        for epoch in range(self.config.update.epochs):
            for index in range(self.config.update.mini_batches):
                yield self.step(self.mini_batch(experience, old, index), first_of_phase=epoch == index == 0)

    def mini_batch(self, experience: Experience, old: OldLogProbs, index: int) -> MiniBatch:
        """Mini-batch `index` of a phase's experience."""
        rows = list(self._mini_batches(len(experience.sequences.tokens)))[index]
        return MiniBatch.of(
            experience.sequences.rows(rows),
            experience.advantages.to(old.main.device)[rows],
            OldLogProbs(old.main[rows], old.mtp[:, rows]),
            self.joint,
            ALGORITHMS[self.config.algorithm.kind].reduction,
        )

    def _mini_batches(self, sequences: int) -> Iterator[slice]:
        size = sequences // self.config.update.mini_batches
        return (slice(start, start + size) for start in range(0, sequences, size))

    def step(self, batch: MiniBatch, *, first_of_phase: bool) -> Metrics:
        """One optimiser step.

        Raises:
            NotFiniteError: a log-prob, a loss or a gradient is not finite; the parameters are those before the step.
        """
        pieces = list(batch.pieces(self.config.update.micro_batch_sequences))
        exact = self._exact_sums(pieces) if self.tracker.needs_exact else None
        if exact is not None:
            self.tracker.take_exact(exact)
        coefficients = self._coefficients_ahead(pieces, first_of_phase)
        metrics: Metrics = defaultdict(float)
        sums: ReferenceSums | None = None
        used = []
        for piece in pieces:
            predictions = self.model(piece.sequences, self._temperature, self._reaches)
            measured_sums = self._references.measure(piece, predictions)
            sums = add_sums(sums, measured_sums)
            lambdas = coefficients
            if lambdas is None:
                lambdas = self.tracker.coefficients(measured_sums[self._references.used], first_of_phase=first_of_phase)
            used.append(lambdas)
            parts = self._losses(piece, predictions, lambdas)
            self.accelerator.backward(parts.total)
            shares = share(self._losses, piece, predictions, parts)
            check_losses(shares.values(), self.joint, predictions, parts)
            for name, value in shares.items():
                metrics[name] += value
        assert sums is not None
        # Where every micro-batch has its own coefficient, their mean is what is logged.
        logged = torch.stack(used).mean(dim=0).tolist() if self.tracker.has_coefficient else None
        self.tracker.observe(sums[self._references.used], first_of_phase=first_of_phase)
        measured = self._references.metrics(sums, exact, logged)
        return {**metrics, **measured, **self._optimise()}

    def _exact_sums(self, pieces: list[MiniBatch]) -> list[Sums]:
        """c and v2 per depth from the gradients of a whole mini-batch."""
        rl, *mtp = shared_gradients(self.model, self.joint, pieces, self._temperature, self._losses.exact_terms)
        return [exact_sums(rl, depth) for depth in mtp]

    def _coefficients_ahead(self, pieces: list[MiniBatch], first_of_phase: bool) -> Tensor | None:
        """lambda [K] where it is known before the update's forward passes; None: each piece's own pass gives it.

        The sums of a whole mini-batch that is cut into several pieces cost one forward pass more, without gradients.
        """
        whole = self.tracker.needs_sums_before_backward
        if self.tracker.per_micro_batch or (whole and len(pieces) == 1):
            return None
        sums: ReferenceSums | None = None
        if whole and not first_of_phase:
            for piece in pieces:
                with torch.no_grad():
                    predictions = self.model(piece.sequences, self._temperature, self._reaches[:1])
                sums = add_sums(sums, self._references.measure(piece, predictions))
        used = None if sums is None else sums[self._references.used]
        return self.tracker.coefficients(used, first_of_phase=first_of_phase)

    def _optimise(self) -> Metrics:
        """Clip trunk and heads each by itself, step, and say how large the gradients were."""
        norms = {}
        for name, part in (("trunk", self.joint.trunk), ("head", self.joint.mtp)):
            parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
            if parameters:
                # In two halves, because clipping by a norm that is NaN would spoil every gradient before one can be named.
                norm = get_total_norm(parameter.grad for parameter in parameters if parameter.grad is not None)
                norms[f"optim/grad_norm_{name}"] = float(norm)
                check_gradients(float(norm), self.joint)
                clip_grads_with_norm_(parameters, self.config.optimizer.grad_clip, norm)
        lr = warm_up(self.config.optimizer.lr, self.config.optimizer.warmup_steps, self.updates)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.updates += 1
        return {**norms, "optim/lr": lr}


def warm_up(lr: float, warmup_steps: int, updates: int) -> float:
    """Learning rate of the optimiser step after `updates` others: linear from lr / warmup_steps to lr, then constant."""
    return lr * min(1.0, (updates + 1) / warmup_steps) if warmup_steps else lr
