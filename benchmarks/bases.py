"""Tasks with one short right response to each problem, and tiny base models that know them by half.

Because the right response is unique, a model's accuracy is known exactly: it is the probability of that response, and no sample has
to be drawn. A base is a Qwen3 of about 0.2 M parameters with one MTP head, warmed up by cross-entropy until it is right about
two times in five.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from trainer.errors import TrainingError
from trainer.models.demo_base import character_tokenizer, new_model
from trainer.models.joint import JointModel, Sequences
from trainer.models.storage import save_joint
from trainer.seeds import derive

TRAIN_PROBLEMS, TEST_PROBLEMS = 8_000, 256
RL_PROBLEMS = 4_000
"""Of those that the warm-up has seen; more than a run has prompts, so that none comes twice."""
BATCH, MOST_STEPS, LR, WARMUP = 64, 6_000, 1e-3, 50
TARGET_ACCURACY = (0.36, 0.46)
CLOSE, CHECK_EVERY = 0.2, 20
SORTED_DIGITS = 6


class Pair(NamedTuple):
    """A problem and its answer, as text."""

    problem: str
    answer: str

    @property
    def response(self) -> str:
        """The one right response."""
        return f"Answer:{self.answer}"


def _sorting(generator: random.Random) -> Pair:
    # No 0: in front of a number the grader, which compares numbers, would let it be left out.
    digits = [generator.choice("123456789") for _ in range(SORTED_DIGITS)]
    return Pair(f"{''.join(digits)}=", "".join(sorted(digits)))


def _addition(generator: random.Random) -> Pair:
    a, b = generator.randint(100, 999), generator.randint(100, 999)
    return Pair(f"{a}+{b}=", str(a + b))


TASKS: dict[str, Callable[[random.Random], Pair]] = {"sorting": _sorting, "addition": _addition}
"""Sort the digits of a number; add two 3-digit numbers at once, most significant digit first."""


def draw(task: str, count: int, seed: int) -> list[Pair]:
    """`count` different problems of a task."""
    generator = random.Random(seed)
    pairs: dict[Pair, None] = {}
    while len(pairs) < count:
        pairs[TASKS[task](generator)] = None
    return list(pairs)


def base_folder(out: Path, task: str) -> Path:
    """Where a base and its data stand."""
    return out / "bases" / task


def read_pairs(path: Path) -> list[Pair]:
    """The problems of a file that `make_base` wrote."""
    items = map(json.loads, path.read_text().splitlines())
    return [Pair(item["problem"], item["answer"]) for item in items]


def teacher_forced(tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> Sequences:
    """Each problem followed by its right response and the end of the text."""
    prompts = [tokenizer(pair.problem)["input_ids"] for pair in pairs]
    responses = [[*tokenizer(pair.response)["input_ids"], tokenizer.eos_token_id] for pair in pairs]
    rows = [torch.tensor(prompt + response) for prompt, response in zip(prompts, responses, strict=True)]
    lengths = torch.tensor([len(response) for response in responses])
    return Sequences(
        tokens=pad_sequence(rows, batch_first=True),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]),
        mask=torch.arange(int(lengths.max())) < lengths[:, None],
    )


@torch.no_grad()
def exact_accuracy(joint: JointModel, batch: Sequences) -> float:
    """Mean probability of the right responses at temperature 1: what avg@k would be with k without end."""
    return float(joint(batch, 1.0).log_probs.double().sum(dim=1).exp().mean())


def make_base(out: Path, task: str, seed: int = 0, tell: Callable[[str], None] = lambda line: None) -> Path:
    """Train and save the base of a task and its data, unless they are there already.

    Raises:
        TrainingError: the target accuracy was not reached.
    """
    final = base_folder(out, task)
    if (final / "made.json").is_file():
        return final
    partial = final.with_name(f".{task}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pairs = draw(task, TRAIN_PROBLEMS + TEST_PROBLEMS, derive(seed, "problems"))
    train, test = pairs[:TRAIN_PROBLEMS], pairs[TRAIN_PROBLEMS:]
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "base"))
        joint, tokenizer = new_model(), character_tokenizer()
        made = _warm_up(joint, tokenizer, train, test, seed, tell)
    save_joint(joint, tokenizer, partial / "model")
    for name, part in {"train": train[:RL_PROBLEMS], "test": test}.items():
        lines = (json.dumps({"id": str(index), **pair._asdict()}) + "\n" for index, pair in enumerate(part))
        (partial / f"{name}.jsonl").write_text("".join(lines))
    (partial / "made.json").write_text(json.dumps({"task": task, "seed": seed, **made}) + "\n")
    partial.rename(final)
    return final


def _warm_up(
    joint: JointModel,
    tokenizer: PreTrainedTokenizerBase,
    train: list[Pair],
    test: list[Pair],
    seed: int,
    tell: Callable[[str], None],
) -> dict[str, float]:
    """Next-token and MTP cross-entropy until the exact accuracy reaches the target; steps and accuracy."""
    optimizer = torch.optim.AdamW(joint.parameters(), lr=LR, weight_decay=0.01)
    generator = torch.Generator().manual_seed(derive(seed, "batches"))
    everything, held_out = teacher_forced(tokenizer, train), teacher_forced(tokenizer, test)
    accuracy = 0.0
    for step in range(1, MOST_STEPS + 1):
        batch = everything.rows(torch.randint(len(train), (BATCH,), generator=generator))
        predictions = joint(batch, 1.0, ("all",))
        loss = -(predictions.log_probs.sum() + predictions.mtp_log_probs["all"].sum()) / batch.mask.sum()
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, step / WARMUP)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(joint.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if accuracy >= CLOSE or step % CHECK_EVERY == 0:
            accuracy = exact_accuracy(joint, held_out)
            if step % CHECK_EVERY == 0:
                tell(f"step {step}: accuracy {accuracy:.3f}, loss {loss.item():.3f}")
            if TARGET_ACCURACY[0] <= accuracy <= TARGET_ACCURACY[1]:
                return {"steps": step, "accuracy": accuracy}
    raise TrainingError(
        f"the base model reached accuracy {accuracy:.2f} in {MOST_STEPS} steps, "
        f"not {TARGET_ACCURACY[0]} to {TARGET_ACCURACY[1]}; try another seed"
    )
