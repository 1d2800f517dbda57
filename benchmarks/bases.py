"""Tasks with one short right response to each problem, and tiny base models that know them by half.

Because the right response is unique, a model's accuracy is known exactly: it is the probability of that response, and no sample has
to be drawn. A base is a Qwen3 of about 0.2 M parameters (a larger one where it is asked for) with one MTP head, warmed up by cross-entropy until it is
right about two times in five.
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
from trainer.tasks.addition import worked_response

SORTED_DIGITS, LONG_DIGITS = 6, 6


class Pair(NamedTuple):
    """A problem and its answer, as text."""

    problem: str
    answer: str
    work: str = ""
    """What is written before the answer."""

    @property
    def response(self) -> str:
        """The one right response."""
        return f"{self.work}Answer:{self.answer}"


def _sorting(generator: random.Random) -> Pair:
    # No 0: in front of a number the grader, which compares numbers, would let it be left out.
    digits = [generator.choice("123456789") for _ in range(SORTED_DIGITS)]
    return Pair(f"{''.join(digits)}=", "".join(sorted(digits)))


def _addition(generator: random.Random) -> Pair:
    a, b = generator.randint(100, 999), generator.randint(100, 999)
    return Pair(f"{a}+{b}=", str(a + b))


def _long_addition(generator: random.Random) -> Pair:
    a, b = (generator.randint(10 ** (LONG_DIGITS - 1), 10**LONG_DIGITS - 1) for _ in range(2))
    work, _, _ = worked_response(a, b, LONG_DIGITS).rpartition("Answer:")
    return Pair(f"{a}+{b}=", str(a + b), work)


TASKS: dict[str, Callable[[random.Random], Pair]] = {
    "sorting": _sorting,
    "addition": _addition,
    "long-addition": _long_addition,
}
"""Sort the digits of a number; add two 3-digit numbers at once, most significant digit first; add two 6-digit numbers in writing, where another
way to the answer would be right, too, but none else is taught."""


class Making(NamedTuple):
    """How a base is made."""

    model: Callable[[], JointModel] = new_model
    device: str = "cpu"
    train_problems: int = 8_000
    test_problems: int = 256
    rl_problems: int = 4_000
    """Of those that the warm-up has seen; more than a run has prompts, so that none comes twice."""
    batch: int = 64
    most_steps: int = 6_000
    lr: float = 1e-3
    warmup: int = 50
    target: tuple[float, float] = (0.36, 0.46)
    """Exact accuracy at which the warm-up ends."""
    check_every: int = 20
    close: float = 0.2
    """Accuracy from which on every step is checked."""


SMALL = Making()


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
    return [Pair(item["problem"], item["answer"], item.get("work", "")) for item in items]


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
    return float(joint(_on(joint, batch), 1.0).log_probs.double().sum(dim=1).exp().mean())


def _on(joint: JointModel, batch: Sequences) -> Sequences:
    return Sequences(*(part.to(joint.trunk.device) for part in batch))


def make_base(
    out: Path, task: str, seed: int = 0, tell: Callable[[str], None] = lambda line: None, making: Making = SMALL
) -> Path:
    """Train and save the base of a task and its data, unless they are there already.

    Raises:
        TrainingError: the target accuracy was not reached.
    """
    final = base_folder(out, task)
    if (final / "made.json").is_file():
        return final
    partial = final.with_name(f".{task}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    pairs = draw(task, making.train_problems + making.test_problems, derive(seed, "problems"))
    train, test = pairs[: making.train_problems], pairs[making.train_problems :]
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "base"))
        joint, tokenizer = making.model().to(making.device), character_tokenizer()
        made = _warm_up(joint, tokenizer, train, test, seed, tell, making)
    save_joint(joint, tokenizer, partial / "model")
    for name, part in {"train": train[: making.rl_problems], "test": test}.items():
        lines = (json.dumps({"id": str(index), **_fields(pair)}) + "\n" for index, pair in enumerate(part))
        (partial / f"{name}.jsonl").write_text("".join(lines))
    (partial / "made.json").write_text(json.dumps({"task": task, "seed": seed, **made}) + "\n")
    partial.rename(final)
    return final


def _fields(pair: Pair) -> dict[str, str]:
    return {name: value for name, value in pair._asdict().items() if value}


def _warm_up(
    joint: JointModel,
    tokenizer: PreTrainedTokenizerBase,
    train: list[Pair],
    test: list[Pair],
    seed: int,
    tell: Callable[[str], None],
    making: Making,
) -> dict[str, float]:
    """Next-token and MTP cross-entropy until the exact accuracy reaches the target; steps and accuracy."""
    optimizer = torch.optim.AdamW(joint.parameters(), lr=making.lr, weight_decay=0.01)
    generator = torch.Generator().manual_seed(derive(seed, "batches"))
    everything, held_out = teacher_forced(tokenizer, train), teacher_forced(tokenizer, test)
    accuracy, (low, high) = 0.0, making.target
    for step in range(1, making.most_steps + 1):
        batch = _on(joint, everything.rows(torch.randint(len(train), (making.batch,), generator=generator)))
        predictions = joint(batch, 1.0, ("all",))
        loss = -(predictions.log_probs.sum() + predictions.mtp_log_probs["all"].sum()) / batch.mask.sum()
        for group in optimizer.param_groups:
            group["lr"] = making.lr * min(1.0, step / making.warmup)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(joint.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if accuracy >= making.close or step % making.check_every == 0:
            accuracy = exact_accuracy(joint, held_out)
            if step % making.check_every == 0:
                tell(f"step {step}: accuracy {accuracy:.3f}, loss {loss.item():.3f}")
            if low <= accuracy <= high:
                return {"steps": step, "accuracy": accuracy}
    raise TrainingError(
        f"the base model reached accuracy {accuracy:.2f} in {making.most_steps} steps, not {low} to {high}; try another seed"
    )
