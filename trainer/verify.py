"""Whether a model's MTP heads do what heads do, measured on what the model itself writes.

The main head's loss on its own samples is its entropy. A head that was read rightly is a little worse; one that was never trained, or was
put together wrongly, is near or above ln V. A projection whose halves are stored in the other order shows in that it does better when
they are exchanged, so that both orders are measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.errors import TrainingError
from trainer.models.joint import JointModel, Sequences
from trainer.models.mtp import MtpDepth
from trainer.models.published import published_tensors
from trainer.models.storage import load_joint, load_tokenizer, stored_depths
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.collect import pack
from trainer.rollout.engine import Sampling
from trainer.rollout.prompts import tokenize
from trainer.tasks import Item

PROMPTS = (
    "Question: What is 17 * 24? Answer:",
    "The sum of the first ten odd numbers is",
    "To solve the equation 3x + 5 = 20, we first",
    "def fibonacci(n):",
    "Once upon a time there was a",
    "The capital of France is",
)
SAMPLES, LONGEST, LONGEST_PROMPT = 4, 64, 1024
NEAR_CHANCE = 0.9
"""Of ln V: a loss above it is that of a guess."""
BETTER = 0.1
"""Nats by which the exchanged halves must do better: less is noise."""


class DepthFound(NamedTuple):
    """One MTP depth on the model's samples."""

    loss: float
    """Nats per token."""
    exchanged_loss: float
    """With the halves of its projection exchanged."""
    greedy: float
    """Share of tokens on which it and the main head agree."""
    sampled: float
    """Acceptance of its drafts under exact rejection sampling."""


class Verdict(NamedTuple):
    """What was measured, and what is wrong."""

    tokens: int
    """That the model wrote."""
    chance: float
    """ln V: the loss of a guess."""
    loss: float
    """Of the main head, nats per token."""
    depths: tuple[DepthFound, ...]
    new: bool
    """Whether the model has no heads, so that those measured are new ones, started from its last block."""
    alarms: tuple[str, ...]
    """Empty where nothing is wrong."""


def usual_device() -> str:
    """A GPU where there is one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def verify(path: str, prompts: Sequence[str] = PROMPTS, *, device: str = "cpu", seed: int = 0) -> Verdict:
    """Load a model with all its heads, have it write, and judge them.

    Args:
        path: folder, or name on the Hugging Face hub.
        prompts: what it continues.
        device: where, as torch calls it.
        seed: of the samples.

    Raises:
        ModelError: it cannot be loaded, such as for a tensor that is missing.
        DataError: no prompt is short enough.
        TrainingError: it wrote nothing that a head could be measured on.
    """
    count = stored_depths(path)
    joint = load_joint(path, max(count, 1)).to(device).eval()
    chance = math.log(joint.trunk.get_output_embeddings().weight.shape[0])
    if broken := [name for name, tensor in published_tensors(joint) if not tensor.isfinite().all()]:
        alarm = f"there are NaN or infinite numbers in {_first(broken)}; fetch the model again"
        return Verdict(0, chance, math.nan, (), count == 0, (alarm,))
    batch = _written(joint, load_tokenizer(path), prompts, device, seed)
    with torch.no_grad():
        found = joint(batch, 1.0, ("all",))
        acceptance = joint.draft_acceptance(batch, 1.0)
        with _exchanged(joint):
            exchanged = joint(batch, 1.0, ("all",)).mtp
    masks = joint.depth_masks(batch)
    depths = [
        DepthFound(_loss(mtp, mask), _loss(other, mask), taken.greedy.item(), taken.sampled.item())
        for mtp, other, mask, taken in zip(found.mtp, exchanged, masks, acceptance, strict=True)
    ]
    loss = _loss(found.log_probs, batch.mask)
    alarms = [*_of_trunk(loss, chance), *(() if count == 0 else _of_heads(depths, chance))]
    return Verdict(int(batch.mask.sum()), chance, loss, tuple(depths), count == 0, tuple(alarms))


def _of_trunk(loss: float, chance: float) -> Iterator[str]:
    if not loss < NEAR_CHANCE * chance:
        yield (
            f"the main head's loss on its own samples is {loss:.2f}, near ln V = {chance:.2f}: it guesses; "
            "the trunk was never trained, or was read wrongly"
        )


def _of_heads(depths: Sequence[DepthFound], chance: float) -> Iterator[str]:
    for number, depth in enumerate(depths, 1):
        if depth.exchanged_loss < min(depth.loss - BETTER, NEAR_CHANCE * chance):
            yield (
                f"depth {number}: its loss is {depth.loss:.2f}, and {depth.exchanged_loss:.2f} with the halves of its projection exchanged: "
                "they are stored in the other order than the layout says; exchange them in the file"
            )
        elif not depth.loss < NEAR_CHANCE * chance:
            yield (
                f"depth {number}: its loss is {depth.loss:.2f}, near or above ln V = {chance:.2f}: it guesses; "
                "it was never trained, or its tensors are others; fetch the model again, or warm its heads up"
            )


def _written(
    joint: JointModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], device: str, seed: int
) -> Sequences:
    """What the model writes behind the prompts."""
    items = [Item(str(place), text, "", text) for place, text in enumerate(prompts)]
    asked = tokenize(items, tokenizer, LONGEST_PROMPT, "prompt").kept
    engine = BuiltinEngine(joint.trunk, tokenizer.eos_token_id)
    sampling = Sampling(samples=SAMPLES, max_tokens=LONGEST, temperature=1.0, top_p=1.0, seed=seed)
    groups = engine.generate([prompt.tokens for prompt in asked], sampling)
    batch, _ = pack(asked, [response for group in groups for response in group], torch.device(device))
    if not joint.depth_masks(batch).flatten(1).any(dim=1).all():
        raise TrainingError(
            "the model ends every response at once, so that no head can be measured; give other prompts"
        )
    return batch


@contextmanager
def _exchanged(joint: JointModel) -> Iterator[None]:
    """With the halves of every projection in the other order."""
    heads: list[MtpDepth] = list(joint.mtp)
    for head in heads:
        head.hidden_first = not head.hidden_first
    try:
        yield
    finally:
        for head in heads:
            head.hidden_first = not head.hidden_first


def _first(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} other tensors" if len(names) > 1 else "")


def _loss(log_probs: Tensor, mask: Tensor) -> float:
    return -log_probs[mask].mean().item()
