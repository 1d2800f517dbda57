"""The built-in engine: batched sampling from the model that is being trained, with a key-value cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.errors import ModelError, NotFiniteError
from trainer.models.joint import JointModel
from trainer.models.log_probs import full_logits
from trainer.rollout.attention import products_in
from trainer.rollout.decoding import Decoder, GrowingDecoder, Padded, Way, decoder_of, way_of
from trainer.rollout.drafting import Drafter
from trainer.rollout.drawing import allowed, draw, log_probs_of, uniform
from trainer.rollout.engine import Drafted, Response, Sampling, drafted_in_all
from trainer.rollout.history import History, costs_of
from trainer.rollout.responses import FULL_ENOUGH, Responses
from trainer.rollout.speculation import pays
from trainer.rollout.stopping import StopStrings


class BuiltinEngine:
    """Samples with the trunk's own parameters, so that there is nothing to keep in step.

    Prompts are padded on the left; every prompt is read once and its cache repeated for its samples. Rows that have ended are
    taken out of the batch. Every prompt has random numbers of its own, so that its responses are the same (but
    for rounding) however the prompts are divided among batches and processes.

    A model all of whose layers have plain attention is read with a cache that is laid out ahead and attention made of products of matrices, and
    one made of plain blocks without transformers' work around every block, which is faster; whether that gives the model's own hidden states is
    tried once. Any other model is read as transformers reads it.
    """

    def __init__(
        self,
        trunk: PreTrainedModel,
        end_token: int,
        precision: Callable[[], AbstractContextManager[None]] = nullcontext,
        tokenizer: PreTrainedTokenizerBase | None = None,
        drafter: JointModel | None = None,
        drafts_always: bool = False,
    ):
        """Sample from `trunk`.

        Args:
            trunk: the model.
            end_token: what ends a response.
            precision: the context of forward passes, such as `Accelerator.autocast`.
            tokenizer: what stop strings are looked for with; not needed where there are none.
            drafter: `trunk` with the MTP heads that draft for it; None: tokens are drawn one by one.
            drafts_always: draft for every token behind the first, and not only where `pays` expects it to be faster.
        """
        self.trunk = trunk
        self.end_token = end_token
        self._tokenizer = tokenizer
        self._joint = drafter
        self._always = drafts_always
        self._drafted: list[Drafted] = []
        self._precision = precision
        self.way: Way | None = None
        """How the model is read; None: not yet tried."""
        self._stops: StopStrings | None = None

    @torch.inference_mode()
    def generate(self, prompts: list[list[int]], sampling: Sampling) -> list[list[Response]]:
        """Sample `sampling.samples` responses to each prompt.

        Raises:
            NotFiniteError: the model predicts no distribution.
        """
        was_training = self.trunk.training
        self.trunk.eval()
        try:
            with self._precision():
                if self.way is None:
                    self.way = way_of(self.trunk, prompts)
                    if self._joint and self._always and self.way is Way.OWN:
                        raise ModelError(
                            f"rollout.speculative: {type(self.trunk).__name__} has special attention, for which no drafts can be verified here; "
                            "set it to auto or off"
                        )
                with nullcontext() if self.way is Way.OWN else products_in(self._joint or self.trunk):
                    rows = self._sample(prompts, sampling, self.way)
        finally:
            self.trunk.train(was_training)
        return [rows[start : start + sampling.samples] for start in range(0, len(rows), sampling.samples)]

    def finish(self) -> Drafted:
        """Nothing is held but the model itself."""
        drafted = drafted_in_all(self._drafted)
        self._drafted.clear()
        return drafted

    def _sample(self, prompts: list[list[int]], sampling: Sampling, way: Way) -> list[Response]:
        device = self.trunk.device

        def numbers_of(stream: str) -> Tensor:
            return uniform(len(prompts), sampling, stream=stream).to(device)

        joint = None if way is Way.OWN or not self._may_draft(sampling) else self._joint
        padded = Padded(prompts, device, Drafter.looks_back(joint.depths) if joint else 1)
        most = padded.width + sampling.max_tokens + (joint.depths if joint else 0)
        decoder: Decoder
        history = None
        if way is Way.OWN:
            decoder = GrowingDecoder(self.trunk)
        else:
            decoder = plain = decoder_of(self.trunk, way, most)
            history = History(joint, plain, sampling, most) if joint else None
        logits = self._logits(history.read(padded) if history else decoder.read(padded))
        logits = logits.repeat_interleave(sampling.samples, dim=0)
        if not logits.isfinite().all():  # drawing from such a distribution would end in an error of the device
            raise NotFiniteError("the sampler's logits", "NaN" if logits.isnan().any() else "infinite")
        decoder.repeat(sampling.samples)
        if history:
            history.repeat(sampling.samples)
        numbers = numbers_of("prompt")
        responses = Responses(len(numbers), sampling.max_tokens, self.end_token, self._stop(sampling), device)
        while True:
            log_probs = log_probs_of(logits, sampling)
            picked = draw(allowed(log_probs, sampling), numbers[responses.rows, responses.place])
            responses.add(picked, log_probs.gather(-1, picked[:, None]).squeeze(-1))
            if not responses.running:
                return responses.all()
            if responses.running <= len(picked) * FULL_ENOUGH:
                kept = responses.drop_ended()
                decoder.select(kept)
                picked = picked[kept]
                if history:
                    history.select(kept)
            if history and (self._always or history.may_pay()):
                self._drafted.append(history.speculate(picked, responses, numbers_of, always=self._always))
                return responses.all()
            hidden = decoder.step(picked)
            if history:
                history.add(picked, hidden)
            logits = self._logits(hidden)

    def _may_draft(self, sampling: Sampling) -> bool:
        """Whether drafts can pay with however few rows; where not, nothing need be kept for them."""
        if self._joint is None or self._always or not sampling.acceptance:
            return self._joint is not None
        return pays(1, sampling.acceptance, costs_of(self._joint))

    def _logits(self, hidden: Tensor) -> Tensor:
        return full_logits(hidden, self.trunk.get_output_embeddings().weight)

    def _stop(self, sampling: Sampling) -> StopStrings | None:
        if not sampling.stop:
            return None
        if self._stops is None or self._stops.stop != sampling.stop:
            if self._tokenizer is None:
                raise ValueError("stop strings need the tokenizer")
            vocabulary = self.trunk.get_output_embeddings().weight.shape[0]
            self._stops = StopStrings(self._tokenizer, sampling.stop, vocabulary)
        return self._stops
