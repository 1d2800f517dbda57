"""The update phase of one step: for each mini-batch, log-probs -> c_hat, v2_hat -> lambda -> losses -> AdamW."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from trainer.config import Oracle, RunConfig
from trainer.errors import NotFiniteError
from trainer.launch.sharding import local
from trainer.launch.world import World
from trainer.models.joint import JointModel, Predictions, Reach, Sequences
from trainer.models.log_probs import Acceptance
from trainer.objectives.algorithms import ALGORITHMS
from trainer.objectives.coefficient import Sums
from trainer.objectives.tracker import CoefficientTracker
from trainer.rollout.collect import Experience
from trainer.update.exact import Gradients, dot_in, exact_sums, shared_gradients, trained
from trainer.update.finite import check_gradients, check_losses, check_trained
from trainer.update.losses import Losses, LossParts, reaches
from trainer.update.measure import Metrics, References, ReferenceSums, add_metrics, share, total_sums
from trainer.update.minibatch import MiniBatch, OldLogProbs
from trainer.update.pieces import Piece, cut, sizes_of


class _Measured(NamedTuple):
    """What one process measured of its share of a mini-batch."""

    metrics: Metrics
    sums: list[ReferenceSums]
    """Per piece."""
    used: list[Tensor]
    """[K] lambda of each piece."""
    depths: list[Tensor]
    """[K] the regime's loss of each depth, weighed with them."""


class _Ahead(NamedTuple):
    """What is known of a mini-batch before its losses are formed."""

    coefficients: Tensor | None
    """[K] lambda; None: every piece's own forward pass gives it."""
    predictions: Sequence[Predictions] = ()
    """Of every piece, with gradient; empty: they are still to be made."""


class Updater:
    """Model, optimiser, learning-rate schedule and coefficient: what lives across phases.

    Each process has its share of every mini-batch's sequences; gradients and measurements are those of the whole.
    """

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
        self.world = World(accelerator, is_sharded=config.launch.sharding == "full")
        self.updates = 0
        """Optimiser steps made so far."""
        self.joint: JointModel = accelerator.unwrap_model(model)
        """The model without what accelerate wraps around it."""
        self._reaches = reaches(config)
        self._losses = Losses(config)
        self._references = References(config, is_exact=tracker.is_exact)
        self._temperature = config.rollout.temperature

    @torch.no_grad()
    def old_log_probs(
        self, sequences: Sequences, mtp: tuple[Reach, ...] | None = None, *, drafting: bool = False
    ) -> OldLogProbs:
        """Log-probs under the present parameters, in the pieces that the update will use, so that the two agree exactly.

        Args:
            sequences: what the phase trains on.
            mtp: the MTP forward pass to make; None: the one that the regime trains with, which is none in regime off.
            drafting: measure draft acceptance on the first mini-batch, too. A sample is enough, and the passes are made anyway.
        """
        mtp = self._reaches[:1] if mtp is None else mtp
        accepted: list[list[Acceptance]] = []

        def measure(piece: Sequences, *, drafting: bool) -> Tensor:
            predictions = self.model(piece, self._temperature, mtp, drafting=drafting)
            if predictions.accepted is not None:
                accepted.append([head.cpu() for head in predictions.accepted])
            return torch.cat([predictions.log_probs[None], predictions.mtp])

        rows = self._mini_batches(len(sequences.tokens))
        tables = 1 + (self.joint.depths if mtp else 0)
        found = [
            self.by_token(sequences.rows(part), partial(measure, drafting=drafting and index == 0), tables)
            for index, part in enumerate(rows)
        ]
        whole = torch.cat(found, dim=1)
        return OldLogProbs(whole[0], whole[1:], accepted)

    @torch.no_grad()
    def by_token(self, sequences: Sequences, measure: Callable[[Sequences], Tensor], tables: int) -> Tensor:
        """[tables, N, T] of what `measure` makes of every piece, [tables, n, t]; 0 beyond a piece. All processes learn all of it."""
        whole = torch.zeros(tables, *sequences.mask.shape, device=sequences.mask.device)
        for piece in self._cut(sequences)[self.world.rank]:
            found = measure(piece.of(sequences))
            if not piece.is_idle:
                whole[:, piece.rows, : piece.responses] = found
        self.world.add_up([whole])  # what belongs to the others is 0 here
        return whole

    def sequences_of(self, sequences: Sequences) -> Iterator[Sequences]:
        """This process's share of some sequences, in the pieces of its forward passes."""
        return (piece.of(sequences) for piece in self._cut(sequences)[self.world.rank])

    def pieces(self, batch: MiniBatch) -> list[MiniBatch]:
        """This process's share of a mini-batch, or of a part of it, in the pieces of its forward passes; none where there are too few sequences."""
        return [batch.piece(piece) for piece in self._cut(batch.sequences)[self.world.rank]]

    def _cut(self, sequences: Sequences) -> list[list[Piece]]:
        """The pieces of every process: the same wherever it is asked."""
        return cut(sizes_of(sequences), self.config.update, self.world.size, in_step=self.world.is_sharded)

    @torch.no_grad()
    def calibration(self, batch: MiniBatch, mtp: tuple[Reach, ...]) -> ReferenceSums:
        """The calibration sums of a whole mini-batch, at the price of a forward pass."""
        predictions = (self.model(piece.sequences, self._temperature, mtp) for piece in self.pieces(batch))
        return self._of_all(map(self._references.measure, self.pieces(batch), predictions))

    def _of_all(self, sums: Iterable[ReferenceSums]) -> ReferenceSums:
        """The sum over the pieces of all processes."""
        return total_sums([one for part in self.world.gather(list(sums)) for one in part])

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
            TrainingError: a parameter that should train has no gradient on a phase's first mini-batch.
        """
        pieces = self.pieces(batch)
        if isinstance(self.config.regime, Oracle):
            return self._step_from_parts(pieces, first_of_phase=first_of_phase)
        exact = self._exact_sums(pieces) if self.tracker.needs_exact else None
        if exact is not None:
            self.tracker.take_exact(exact)
        ahead = self._ahead(batch, pieces, first_of_phase)
        with self.world.together():
            mine = self._accumulate(pieces, ahead, first_of_phase, lambda parts: self.accelerator.backward(parts.total))
        of_all = self.world.gather(mine)
        self._add_up_gradients()
        # Where every micro-batch has its own coefficient, their mean is what is logged.
        used = torch.stack([one for part in of_all for one in part.used]).mean(dim=0)
        return self._finish(of_all, exact, used, first_of_phase=first_of_phase)

    def _step_from_parts(self, pieces: list[MiniBatch], *, first_of_phase: bool) -> Metrics:
        """The oracle's: the gradient of every loss by itself gives lambda, and their sum, weighed with it, is the update's gradient."""
        trunk = trained(self.joint.trunk)
        gradients = Gradients([*trunk, *trained(self.joint.mtp)], self.world)
        ahead = _Ahead(torch.ones(self.joint.depths, dtype=torch.float64))
        with self.world.together():
            mine = self._accumulate(
                pieces, ahead, first_of_phase, lambda parts: gradients.add([parts.policy + parts.heads, *parts.depths])
            )
        of_all = self.world.gather(mine)
        gradients.add_up()
        rl, *mtp = gradients.of(len(trunk))
        exact = [exact_sums(rl, depth, dot_in(self.world)) for depth in mtp]
        self.tracker.take_exact(exact)
        used = self.tracker.coefficients(None, first_of_phase=first_of_phase)
        # Where lambda is not finite, some gradient is not; weighed with 0 it alone stays so, and is named.
        gradients.weigh([1.0, *(used / len(used)).nan_to_num(0.0, 0.0, 0.0).tolist()])
        losses = sum((one for part in of_all for one in part.depths), torch.zeros_like(used))
        metrics = self._finish(of_all, exact, used, first_of_phase=first_of_phase)
        return {**metrics, "mtp/trunk_loss": float((used * losses).mean())}

    def _finish(
        self, of_all: list[_Measured], exact: list[Sums] | None, used: Tensor, *, first_of_phase: bool
    ) -> Metrics:
        """Make the optimiser step with the gradients that there are, and say what was measured.

        Args:
            of_all: of every process.
            exact: c and v2 per depth, where they were measured.
            used: [K] lambda.
            first_of_phase: whether this is the phase's first mini-batch.
        """
        sums = total_sums([one for part in of_all for one in part.sums])
        metrics = add_metrics([part.metrics for part in of_all])
        self.tracker.observe(sums[self._references.used], first_of_phase=first_of_phase)
        logged = used.tolist() if self.tracker.has_coefficient else None
        measured = self._references.metrics(sums, exact, logged)
        return {**metrics, **measured, **self._optimise(first_of_phase=first_of_phase)}

    def _accumulate(
        self, pieces: list[MiniBatch], ahead: _Ahead, first_of_phase: bool, backward: Callable[[LossParts], None]
    ) -> _Measured:
        """Make this process's part of the gradients, piece by piece."""
        metrics: Metrics = defaultdict(float)
        sums, used, depths = [], [], []
        not_finite: NotFiniteError | None = None
        for index, piece in enumerate(pieces):
            predictions = ahead.predictions[index] if ahead.predictions else self._predict(piece)
            measured = self._references.measure(piece, predictions)
            lambdas = ahead.coefficients
            if lambdas is None:
                lambdas = self.tracker.coefficients(measured[self._references.used], first_of_phase=first_of_phase)
            parts = self._losses(piece, predictions, lambdas)
            backward(parts)
            shares = share(self._losses, piece, predictions, parts)
            try:
                check_losses(shares.values(), self.joint, predictions, parts)
            except NotFiniteError as error:
                not_finite = not_finite or error
                if not self.world.is_sharded:  # else the others wait for this process's further passes
                    break
            for name, value in shares.items():
                metrics[name] += value
            sums.append(measured)
            depths.append(parts.depths.detach().cpu())
            if not piece.is_idle:
                used.append(lambdas)
        if not_finite is not None:
            raise not_finite
        return _Measured(dict(metrics), sums, used, depths)

    def _predict(self, piece: MiniBatch) -> Predictions:
        return self.model(piece.sequences, self._temperature, self._reaches, diverging=self._losses.distils)

    def _exact_sums(self, pieces: list[MiniBatch]) -> list[Sums]:
        """c and v2 per depth from the gradients of a whole mini-batch."""
        rl, *mtp = shared_gradients(
            self.model, self.joint, pieces, self._temperature, self._losses.exact_terms, self.world
        )
        return [exact_sums(rl, depth, dot_in(self.world)) for depth in mtp]

    def _ahead(self, batch: MiniBatch, pieces: list[MiniBatch], first_of_phase: bool) -> _Ahead:
        """lambda where it is known before the losses are formed.

        The sums of a whole mini-batch need a forward pass over all of it. Where no process has more than one piece, that pass is the
        update's own; else it is one more, without gradients.
        """
        if self.tracker.per_micro_batch:
            return _Ahead(None)
        if first_of_phase or not self.tracker.needs_sums_before_backward:
            return _Ahead(self.tracker.coefficients(None, first_of_phase=first_of_phase))
        predictions: list[Predictions] = []
        if all(len(of_process) <= 1 for of_process in self._cut(batch.sequences)):
            predictions = [self._predict(piece) for piece in pieces]
            sums = self._of_all(map(self._references.measure, pieces, predictions))
        else:
            sums = self.calibration(batch, self._reaches[:1])
        return _Ahead(self.tracker.coefficients(sums[self._references.used], first_of_phase=False), predictions)

    def _optimise(self, *, first_of_phase: bool) -> Metrics:
        """Clip trunk and heads each by itself, step, and say how large the gradients were."""
        if first_of_phase:
            check_trained(self.joint)
        norms = {}
        for name, part in (("trunk", self.joint.trunk), ("head", self.joint.mtp)):
            parameters = [parameter for parameter in part.parameters() if parameter.requires_grad]
            if parameters:
                # In two halves, because clipping by a norm that is NaN would spoil every gradient before one can be named.
                norm = self._norm([parameter.grad for parameter in parameters if parameter.grad is not None])
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

    def _norm(self, gradients: list[Tensor]) -> Tensor:
        norm = get_total_norm([local(gradient) for gradient in gradients])
        if self.world.is_sharded:
            norm = norm.new_tensor(self.world.over_shards(float(norm) ** 2) ** 0.5)
        return norm

    def _add_up_gradients(self) -> None:
        """The gradients of the whole mini-batch in every process, where they are not summed and divided in the backward pass."""
        if self.world.size == 1 or self.world.is_sharded:
            return
        parameters = [parameter for parameter in self.joint.parameters() if parameter.requires_grad]
        device = self.accelerator.device
        having = torch.tensor(
            [parameter.grad is not None for parameter in parameters], dtype=torch.int32, device=device
        )
        self.world.add_up([having])
        # One that has no gradient anywhere stays without, for the optimiser leaves it alone.
        reached = [parameter for parameter, count in zip(parameters, having.tolist(), strict=True) if count]
        for parameter in reached:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.world.add_up([parameter.grad for parameter in reached if parameter.grad is not None])


def warm_up(lr: float, warmup_steps: int, updates: int) -> float:
    """Learning rate of the optimiser step after `updates` others: linear from lr / warmup_steps to lr, then constant."""
    return lr * min(1.0, (updates + 1) / warmup_steps) if warmup_steps else lr
