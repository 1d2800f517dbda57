"""The update phase of one step: for each mini-batch, log-probs -> c_hat, v2_hat -> lambda -> losses -> AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch.optim import Optimizer

from trainer.config import RunConfig
from trainer.errors import TrainingError
from trainer.models.joint import JointModel, Sequences
from trainer.objectives.algorithms import ALGORITHMS
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.collect import Experience
from trainer.update.losses import Losses, reaches
from trainer.update.measure import Metrics, References, add_sums, share
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
        self._joint: JointModel = accelerator.unwrap_model(model)
        self._reaches = reaches(config)
        self._losses = Losses(config)
        self._references = References(config)
        self._temperature = config.rollout.temperature

    @torch.no_grad()
    def old_log_probs(self, sequences: Sequences) -> OldLogProbs:
        """Log-probs under the present parameters, in the pieces that the update will use, so that the two agree exactly."""
        size = self.config.update.micro_batch_sequences
        outputs = []
        for rows in self._mini_batches(len(sequences.tokens)):
            part = sequences.rows(rows)
            step = size or len(part.tokens)
            for start in range(0, len(part.tokens), step):
                piece = part.rows(slice(start, start + step))
                outputs.append(self.model(piece, self._temperature, self._reaches[:1]))
        main = torch.cat([output.log_probs for output in outputs])
        if not self._reaches:
            return OldLogProbs(main, main.new_zeros(0, *main.shape))
        return OldLogProbs(main, torch.cat([output.mtp_log_probs[self._reaches[0]] for output in outputs], dim=1))

    def run(self, experience: Experience, old: OldLogProbs) -> Iterator[Metrics]:
        """Make every optimiser step of the phase, yielding each one's metrics.

        Raises:
            TrainingError: a loss or a gradient is not finite; the parameters are those before that step.
        """
        sequences = experience.sequences
        advantages = experience.advantages.to(sequences.tokens.device)
        for epoch in range(self.config.update.epochs):
            for index, rows in enumerate(self._mini_batches(len(sequences.tokens))):
                batch = MiniBatch.of(
                    sequences.rows(rows),
                    advantages[rows],
                    OldLogProbs(old.main[rows], old.mtp[:, rows]),
                    self._joint,
                    ALGORITHMS[self.config.algorithm.kind].reduction,
                )
                yield self._step(batch, first_of_phase=epoch == index == 0)

    def _mini_batches(self, sequences: int) -> Iterator[slice]:
        size = sequences // self.config.update.mini_batches
        return (slice(start, start + size) for start in range(0, sequences, size))

    def _step(self, batch: MiniBatch, *, first_of_phase: bool) -> Metrics:
        pieces = list(batch.pieces(self.config.update.micro_batch_sequences))
        if self.tracker.needs_sums_before_backward and len(pieces) > 1 and not first_of_phase:
            coefficients = self.tracker.coefficients(self._measure(pieces), first_of_phase=False)
        elif self.tracker.needs_sums_before_backward or self.tracker.per_micro_batch:
            coefficients = None  # from the micro-batch's own forward pass
        else:
            coefficients = self.tracker.coefficients(None, first_of_phase=first_of_phase)
        metrics: Metrics = {}
        sums, used = None, []
        for piece in pieces:
            predictions = self.model(piece.sequences, self._temperature, self._reaches)
            lambdas = coefficients
            if self._reaches:
                measured = self._references.measure(
                    piece, predictions.log_probs, predictions.mtp_log_probs[self._reaches[0]]
                )
                sums = add_sums(sums, measured)
                if lambdas is None:
                    own = measured[self._references.used]
                    lambdas = self.tracker.coefficients(own, first_of_phase=first_of_phase)
                used.append(lambdas)
            parts = self._losses(piece, predictions, lambdas)
            self.accelerator.backward(parts.total)
            for name, value in share(self._losses, piece, predictions, parts).items():
                metrics[name] = metrics.get(name, 0.0) + value
        if sums is not None:
            # Where every micro-batch has its own coefficient, their mean is what is logged.
            values = torch.stack(used).mean(dim=0).tolist() if self.tracker.has_coefficient else None
            metrics |= self._references.metrics(sums, values)
            self.tracker.observe(sums[self._references.used], first_of_phase=first_of_phase)
        return metrics | self._optimise(metrics)

    def _measure(self, pieces: list[MiniBatch]) -> list:
        """Calibration sums of a mini-batch before its backward pass: one forward pass more, without gradients."""
        sums = None
        for piece in pieces:
            with torch.no_grad():
                predictions = self.model(piece.sequences, self._temperature, self._reaches[:1])
            mtp = predictions.mtp_log_probs[self._reaches[0]]
            sums = add_sums(sums, self._references.measure(piece, predictions.log_probs, mtp))
        assert sums is not None
        return sums[self._references.used]

    def _optimise(self, metrics: Metrics) -> Metrics:
        """Clip trunk and heads each by itself, step, and say how large the gradients were."""
        norms = {"policy/loss": metrics["policy/loss"]}
        for name, part in (("trunk", self._joint.trunk), ("head", self._joint.mtp)):
            parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
            if parameters:
                norm = self.accelerator.clip_grad_norm_(parameters, self.config.optimizer.grad_clip)
                norms[f"optim/grad_norm_{name}"] = float(norm)
        for name, value in norms.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} became {value} in optimiser step {self.updates + 1}; "
                    "lower optimizer.lr or the coefficient and resume from the last checkpoint"
                )
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
